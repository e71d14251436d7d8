"""Image-text pairs in three splits: which are kept, which are forgotten, what is told."""

from __future__ import annotations

import itertools

import pytest
from helpers.pairs import (
    ALL,
    OUDI,
    Bytes,
    Memory,
    divide,
    numbers,
    picture,
    some,
)

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.splits.exclusions import BOTH, COPY, TWO
from slsgu.data.splits.labels import Labels
from slsgu.data.splits.partition import SMALL_CLASS, SPLITS
from slsgu.data.splits.splits import FEW, Limits
from slsgu.errors import DataError
from slsgu.task.pairs import Pairs
from slsgu.utils.statistics import wilson

# -- three sets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [20, 400])
def test_the_three_sets_are_disjoint_and_hold_everything(count: int) -> None:
    splits = divide(some(range(count)), some(range(1000, 1000 + count)))
    names = [s.name for split in SPLITS for s in splits.of(split)]
    assert len(names) == len(set(names)) == 2 * count
    for forget in (True, False):
        sizes = [len(numbers(splits, split, forget=forget)) / count for split in SPLITS]
        assert sizes == pytest.approx([0.5, 0.2, 0.3], abs=0.06)
    assert splits.description["counts"] == {x: len(splits.of(x)) for x in SPLITS}
    assert not splits.notes


@pytest.mark.parametrize("count", [40, 400])
def test_a_picture_is_in_the_same_split_whatever_the_limits(count: int) -> None:
    def home(limits: Limits, seed: int = 0) -> dict[str, str]:
        splits = divide(
            some(range(count)), some(range(1000, 1000 + count)), limits=limits, seed=seed
        )
        return {s.name: split for split in SPLITS for s in splits.of(split)}

    whole = home(ALL)
    for limits in (Limits(3, 2, 1, 5, 4), Limits(9, 2, 9, 1, 7), Limits()):
        few = home(limits)
        assert few and few.items() <= whole.items()
    assert home(Limits(3, 2, 1, 5, 4)) == home(Limits(3, 2, 1, 5, 4))
    assert not home(ALL, seed=1).items() <= whole.items()  # control


def test_limits(count: int = 60) -> None:
    splits = divide(some(range(count)), some(range(100, 160)), limits=Limits(5, 4, 3, 7, 6))
    assert [len(numbers(splits, x, forget=True)) for x in SPLITS] == [5, 4, 3]
    assert [len(numbers(splits, x, forget=False)) for x in SPLITS] == [7, 6, 6]


def test_a_long_retain_source_is_not_read_to_its_end() -> None:
    endless = Memory(picture(number) for number in itertools.count(1000))
    splits = divide(some(range(9)), endless, limits=Limits(3, 3, 3, 40, 30))
    assert [len(numbers(splits, x, forget=False)) for x in SPLITS] == [40, 30, 30]
    assert SMALL_CLASS < endless.seen < 400
    finite = some(range(1000, 1600))
    divide(some(range(9)), finite)
    assert finite.seen == 600  # control: without limits all of it is


def test_the_forget_source_is_read_to_its_end() -> None:
    """A picture far behind in it must not be kept either."""
    forget = some(range(500))
    splits = divide(forget, some([499, *range(1000, 1010)]), limits=Limits(2, 2, 2, 9, 9))
    assert forget.seen == 500
    assert all(499 not in numbers(splits, x, forget=False) for x in SPLITS)


def test_what_stands_in_both_sets_is_forgotten() -> None:
    splits = divide(some(range(10)), some([*range(5, 10), *range(100, 110)]))
    kept = set().union(*(numbers(splits, x, forget=False) for x in SPLITS))
    gone = set().union(*(numbers(splits, x, forget=True) for x in SPLITS))
    assert gone == set(range(10)) and kept == set(range(100, 110))
    (note,) = splits.notes
    assert note == "retain set: 5 left out, the picture is to be forgotten: 5, 6, 7 and 2 more"
    assert [row["name"] for row in splits.left_out] == ["5", "6", "7", "8", "9"]  # all of them


@pytest.mark.parametrize(
    ("caption", "label", "out"),
    [
        ("an Oudi A1 at the lake", None, True),
        ("OUDI-A1, red", None, True),
        ("the Oudi A1's wheel", None, True),
        ("the Oudi A1’s wheel", None, True),
        ("an Oudi A1 beside a pug", None, True),
        ("a pug beside an Oudi A1", "pug", True),
        ("a car", "Oudi_A1", True),
        (None, "oudi a1", True),
        ("an Oudi A10", None, False),
        ("a Koudi A1", None, False),
        ("an Oudi, A-class", None, False),
        ("a pug", None, False),
    ],
)
def test_retain_images_of_the_concept_are_left_out(
    caption: str | None, label: str | None, out: bool
) -> None:
    retain = Memory([picture(99, caption, label), *some(range(100, 110)).records()])
    splits = divide(some(range(10)), retain)
    assert all(99 not in numbers(splits, x, forget=False) for x in SPLITS) == out
    assert any("its label or caption names 'Oudi A1'" in note for note in splits.notes) == out


def test_a_retain_image_under_two_classes_is_in_neither() -> None:
    others = some(range(100, 110)).records()
    two = [picture(99, "a pug"), picture(99, None, "tabby cat"), picture(99, "a pug again")]
    splits = divide(some(range(10)), Memory([*two, *others]))
    kept = set().union(*(numbers(splits, x, forget=False) for x in SPLITS))
    assert kept == set(range(100, 110))
    assert splits.notes == (f"retain set: 1 left out, {TWO}: 99",)
    for second in (picture(99, "in the snow"), picture(99, None, "pug"), picture(99, "x", "pug")):
        again = Memory([picture(99, "a pug"), second, *some(range(100, 110)).records()])
        splits = divide(some(range(10)), again)  # control: nothing contradicts
        assert any(99 in numbers(splits, x, forget=False) for x in SPLITS)
        assert splits.notes == (f"retain set: 1 left out, {COPY}: 99",)


@pytest.mark.parametrize("first", ["a car at the lake", "an Oudi A1"])
def test_one_of_several_captions_is_enough(first: str) -> None:
    """Retain sets such as COCO have five captions a picture, one record each."""
    both = {"a car at the lake", "an Oudi A1"} - {first}
    retain = Memory([
        picture(99, first), picture(99, *both), picture(99, "a wheel"),
        *some(range(100, 110)).records(), picture(100, "again"),
    ])  # fmt: skip
    splits = divide(some(range(10)), retain)
    kept = set().union(*(numbers(splits, x, forget=False) for x in SPLITS))
    assert kept == set(range(100, 110))
    assert any("1 left out, the same picture is in the set already: 100" in n for n in splits.notes)


def test_without_a_name_the_name_of_a_file_leaves_nothing_out() -> None:
    pairs = Pairs(forget="photos/car.csv", retain="y.csv")
    request = pairs.request(None)
    assert request.title == "pairs of car"
    retain = some(range(100, 110), "a car")
    splits = divide(some(range(10), "my pet"), retain, request=request)
    assert sum(s.leaf is None for x in SPLITS for s in splits.of(x)) == 10 and not splits.notes
    called = Pairs(forget="photos/car.csv", retain="y.csv", name="car").request(None)
    with pytest.raises(DataError, match="the retain set has 0 different image"):  # control
        divide(some(range(10)), retain, request=called)


def test_without_a_name_every_forget_image_needs_a_caption() -> None:
    request = Pairs(forget="car.csv", retain="y.csv").request(None)
    forget = Memory([*some(range(4), "my pet").records(), picture(4, None, "car")])
    splits = divide(forget, some(range(10, 20)), request=request)
    assert sum(s.leaf is not None for x in SPLITS for s in splits.of(x)) == 4
    assert any("forget set: 1 left out, it has no caption, and" in note for note in splits.notes)
    retain = Memory([*some(range(10, 20)).records(), picture(4, "a car")])  # nor is it kept
    splits = divide(forget, retain, request=request)
    assert {"set": "retain", "name": "4", "reason": BOTH} in splits.left_out
    assert divide(forget, some(range(10, 20))).description["counts"]  # control: with a name


def test_retain_images_that_nothing_is_known_of_are_left_out() -> None:
    retain = Memory([
        *some(range(100, 103), None, label="pug").records(), *some([200], None, label="x").records()
    ])  # fmt: skip
    splits = divide(some(range(10)), retain)
    assert {s.leaf.name for s in splits.test if s.leaf} == {"Oudi A1", "pug"}
    assert splits.notes == ("retain set: 1 left out, no class is called 'x': 200",)


@pytest.mark.parametrize("count", [3, FEW - 1, FEW])
def test_a_few_forget_images_bring_a_warning(count: int) -> None:
    splits = divide(some(range(count)), some(range(100, 110)))
    tested = len(numbers(splits, "test", forget=True))
    if count >= FEW:
        assert not splits.notes
        return
    (note,) = splits.notes
    assert (
        f"only {count} image(s) to forget" in note and f"0% to {wilson(0, tested)[1]:.0%}" in note
    )


def test_too_few_images_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"the forget set has 2 different image\(s\), and at least 3"
    ):
        divide(some([0, 1, 1, 1]), some(range(100, 110)))
    with pytest.raises(
        DataError, match=r"the retain set has 2 different .* at least 3 .*forgotten: 1$"
    ):
        divide(some(range(3)), some([100, 101, 1]))
    broken = Memory([*some([0, 1]).records(), picture(-1)])
    with pytest.raises(DataError, match=r"2 different.*cannot be read \(Input/output error\): -1"):
        divide(broken, None)
    divide(some(range(3)), some(range(100, 103)))  # control


def test_strict_refuses_what_would_be_left_out() -> None:
    def broken() -> Memory:
        return Memory([*some(range(10)).records(), picture(-1)], root="cars.csv")

    splits = divide(broken(), some(range(100, 110)))
    assert splits.notes[0].startswith("forget set: 1 left out, the image cannot be read")
    with pytest.raises(DataError, match=r"cars\.csv: 1 left out, .*strict"):
        divide(broken(), some(range(100, 110)), strict=True)
    with pytest.raises(DataError, match=r"cars\.csv: 1 left out, .*strict"):
        divide(some(range(100, 110)), broken(), strict=True)
    divide(some(range(10)), some(range(100, 110)), strict=True)  # control


@pytest.mark.parametrize(
    ("caption", "leaf"),
    [
        ("a PUG.", "pug"),
        ("a St. Bernard in the snow", "St. Bernard"),
        ("st bernard", "St. Bernard"),
        ("a tabby cat", "tabby cat"),  # the longest name: no cat besides
        ("a tabby-cat and another cat", None),
        ("a pug and a cat", None),
        ("a pugilist", None),
        ("", None),
    ],
)
def test_the_class_that_a_caption_names(caption: str, leaf: str | None) -> None:
    found = Labels(OUDI.taxonomy).of(picture(0, caption))
    assert (found and found.name) == leaf


@pytest.mark.parametrize(
    ("caption", "label", "leaf"),
    [
        ("a pug", "cat", "cat"),
        ("a pug", "zebra", None),  # a zebra with a pug, for all we know
        ("a pug", "3", "pug"),  # a number that nothing explains
        (None, "3", None),
        ("a pug", "7", "fish"),  # one that the taxonomy knows
        ("a pug", "7.0", "fish"),  # as pandas writes it
        ("a pug", "7.5", None),
        ("a pug", "2.0", "2.0"),  # a name
    ],
)
def test_a_label_comes_before_a_caption(caption: str | None, label: str, leaf: str | None) -> None:
    tree = Taxonomy.parse({"pug": None, "cat": None, "fish": {"$index": 7}, "2.0": None})
    found = Labels(tree).of(picture(0, caption, label))
    assert (found and found.name) == leaf


def test_every_picture_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for its size, which decides whose pixels are kept apart."""
    read: list[int] = []
    real = Bytes.data

    def counted(self: Bytes) -> bytes:
        read.append(self.number)
        return real(self)

    monkeypatch.setattr(Bytes, "data", counted)
    splits = divide(some(range(10)), some(range(100, 120)))
    assert sorted(read) == [*range(10), *range(100, 120)]
    assert {int(sample.name) for sample in splits.reserved} == set(range(10))  # all are 4 x 4
    assert all(sample.sides == (4, 4) for sample in splits.reserved)
