"""Shards and tables with labels for class folders: which class, which split, what is told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from helpers.pairs import ALL, Bytes, Memory, fingerprint, picture

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.sources.records import Record
from slsgu.data.splits.exclusions import BOTH, COPY, NO_CLASS, TWO
from slsgu.data.splits.labelled_splits import labelled_splits
from slsgu.data.splits.partition import SPLITS
from slsgu.data.splits.splits import Limits, Splits
from slsgu.errors import DataError

TREE = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["tabby", "siamese"]})
BEAGLE = Request.of(TREE, ["beagle"])


def data(**changed: int) -> list[Any]:
    """Twenty pictures of each class, or another number; by caption and label in turns."""
    counts = {leaf.name: 20 for leaf in TREE.leaves} | changed
    return [
        picture(
            100 * place + number,
            f"a {name} outside" if number % 2 else None,
            None if number % 2 else name,
        )
        for place, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]


def divide(records: list[Any], **options: Any) -> Splits:
    options = {"taxonomy": TREE, "request": BEAGLE, "limits": ALL, **options}
    return labelled_splits(Memory(records), **options)


def of(splits: Splits, name: str) -> set[int]:
    (leaf,) = (leaf for leaf in TREE.leaves if leaf.name == name)
    return {int(s.name) for split in SPLITS for s in splits.of(split) if s.leaf is leaf}


def test_every_picture_is_of_its_class_in_one_split() -> None:
    splits = divide(data())
    for place, leaf in enumerate(TREE.leaves):
        assert of(splits, leaf.name) == set(range(100 * place, 100 * place + 20))
    names = [s.name for split in SPLITS for s in splits.of(split)]
    assert len(names) == len(set(names)) == 80 and not splits.notes and not splits.left_out
    assert splits.description["counts"] == {"gradient": 40, "search": 16, "test": 24}
    few = divide(data(), limits=Limits(4, 3, 2))
    assert [len(few.of(split)) for split in SPLITS] == [16, 12, 8]
    assert {s.name for s in few.test} <= {s.name for s in splits.test}


@pytest.mark.parametrize("first", ["beagle", "pug"])
def test_what_is_to_be_forgotten_wins_whatever_comes_first(first: str) -> None:
    second = {"beagle": "pug", "pug": "beagle"}[first]
    twice = [picture(900, None, first), picture(900, None, second)]
    splits = divide([*twice, *data()])
    assert 900 in of(splits, "beagle") and 900 not in of(splits, "pug")
    assert splits.left_out == ({"set": "data", "name": "900", "reason": BOTH},)
    assert splits.notes == (f"data: 1 left out, {BOTH}: 900",)


@pytest.mark.parametrize("names", list(itertools.permutations(["tabby", "pug", "siamese"])))
def test_between_two_classes_that_are_kept_neither_has_it(names: tuple[str, ...]) -> None:
    """However often it stands there; unless it is to be forgotten after all."""
    for count in (2, 3):
        records = [
            Record(f"{name} 900", Bytes(900), None, name) for name in names[:count] + names[:1]
        ]
        splits = divide([*records, *data()])
        used = {s.fingerprint for split in SPLITS for s in splits.of(split)}
        assert fingerprint(900) not in used and len(used) == 80
        assert {row["name"] for row in splits.left_out} == {f"{n} 900" for n in names[:count]}
        assert {row["reason"] for row in splits.left_out} == {TWO}
        splits = divide([*records, picture(900, None, "beagle"), *data()])
        assert 900 in of(splits, "beagle")
    # Control: twice under one class is a copy.
    splits = divide([picture(900, None, "tabby"), picture(900, "a tabby"), *data()])
    assert 900 in of(splits, "tabby") and splits.left_out[0]["reason"] == COPY


def test_two_classes_that_are_forgotten_leave_it_with_the_first() -> None:
    request = Request.of(TREE, ["dog"])
    for names in (("beagle", "pug"), ("pug", "beagle")):
        records = [picture(900, None, name) for name in names]
        splits = divide([*records, *data()], request=request)
        assert 900 in of(splits, names[0]) and splits.left_out[0]["reason"] == COPY


def test_what_names_no_one_class_is_left_out_and_told() -> None:
    odd = [picture(900, "a fox"), picture(901, "a pug and a tabby"), picture(902, None, "zebra")]
    splits = divide([*odd, *data()])
    assert splits.notes == (f"data: 3 left out, {NO_CLASS}: 900, 901, 902",)
    with pytest.raises(DataError, match=r"3 left out, .*strict"):
        divide([*odd, *data()], strict=True)
    divide(data(), strict=True)  # control


def test_too_few_images() -> None:
    with pytest.raises(DataError, match=r"'dog/beagle' is to be forgotten but has 2 different"):
        divide(data(beagle=2))
    splits = divide(data(pug=2))
    assert of(splits, "pug") == set() and "left out: dog/pug (2)" in splits.notes[0]
    with pytest.raises(DataError, match="no image of another class is left to keep"):
        divide(data(pug=2, tabby=0, siamese=0))


def test_beagles_alone_can_be_kept_as_dogs() -> None:
    splits = divide(data(pug=0, tabby=0, siamese=0))
    assert len(of(splits, "beagle")) == 20
    flat = Taxonomy.parse(["beagle", "pug", "tabby", "siamese"])
    with pytest.raises(
        DataError, match="no image of another class is left to keep"
    ):  # control: as nothing
        divide(
            data(pug=0, tabby=0, siamese=0),
            taxonomy=flat,
            request=Request.of(flat, ["beagle"]),
        )
