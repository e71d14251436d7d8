"""Braces in names: what they stand for, and what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slsgu.data.sources.braces import MOST, expand_braces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.tar", "a.tar"),
        ("{a,b}", "a b"),
        ("{a,b}{1,2}", "a1 a2 b1 b2"),
        ("{a,b{1,2{x,y}}}", "a b1 b2x b2y"),
        ("s-{8..11}", "s-8 s-9 s-10 s-11"),
        ("s-{08..11}", "s-08 s-09 s-10 s-11"),
        ("{000..2}", "000 001 002"),
        ("{3..1}", "3 2 1"),
        ("{0..10..5}", "0 5 10"),
        ("{10..0..-5}", "10 5 0"),
        ("{-1..1}", "-1 0 1"),
        ("{-01..1}", "-01 000 001"),
        ("{a..e..2}", "a c e"),
        ("{c..A}", "c b a Z Y X W V U T S R Q P O N M L K J I H G F E D C B A"),
        ("x{,y}", "x xy"),
        ("{a}", "{a}"),
        ("{a{1,2}}", "{a1} {a2}"),
        ("{}", "{}"),
        (r"\{a,b\}", "{a,b}"),
        (r"{a\,b,c}", "a,b c"),
        ("{1..2}{1..2}", "11 12 21 22"),
    ],
)
def test_what_braces_stand_for(text: str, expected: str) -> None:
    assert expand_braces(text) == expected.split(" ")


def test_they_stand_for_the_same_as_in_webdataset() -> None:
    """Against the library that it uses, which takes `}{` for balanced: so only balanced ones."""
    braceexpand = pytest.importorskip("braceexpand").braceexpand
    words = st.text("ab01.-,", max_size=4)
    inner = st.sampled_from(["1..3", "01..10", "a..d", "5..1..2", "-2..2", "x..", "1..b"]) | words
    texts = st.recursive(
        inner,
        lambda part: (
            st.lists(part, min_size=1, max_size=3).map(lambda parts: f"{{{','.join(parts)}}}")
            | st.tuples(part, part).map("".join)
        ),
        max_leaves=6,
    )

    @given(texts)
    @settings(max_examples=300, deadline=None)
    def check(text: str) -> None:
        found = list(itertools.islice(braceexpand(text), 10_000))
        assert expand_braces(text)[:10_000] == found

    check()


@pytest.mark.parametrize("text", ["{a", "a}", "}{", "{a,{b}", "{a}}", "{1..3", r"{a\}"])
def test_braces_that_are_not_balanced_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'\}' without a|'\{' without a"):
        expand_braces(text)


@pytest.mark.parametrize(
    "text",
    [
        "{0..999999999}",
        "{0..999999999999999999}{0..999999999999999999}",
        "{0..999}{0..999}{0..1}",
        "{a,b}" * 40,
        f"{{0..{MOST}}}",
    ],
)
def test_absurdly_many_are_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="more than 1,000,000"):
        expand_braces(text)


def test_bounds() -> None:
    assert len(expand_braces(f"{{1..{MOST}}}")) == MOST
    assert expand_braces("{0.." + "9" * 5000 + "}") == ["{0.." + "9" * 5000 + "}"]  # no number
    assert expand_braces("{" * 50 + "}" * 50) == ["{" * 50 + "}" * 50]
    for text in ("{" * 51 + "}" * 51, "{" * 100_000):
        with pytest.raises(ValueError, match="nested more than 50 deep"):
            expand_braces(text)
