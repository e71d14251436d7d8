"""Requests that are given by their images: what is forgotten, kept and measured."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_gradients import close
from test_sources import png

from slsgu.captions import ForgetCaptions
from slsgu.clip import Clip
from slsgu.data.batches import Ledger
from slsgu.data.labels import Labels
from slsgu.data.pair_splits import BOTH, FEW, pair_splits
from slsgu.data.partition import SMALL_CLASS, SPLITS
from slsgu.data.records import LeftOut, Picture, Record
from slsgu.data.splits import Limits, Splits
from slsgu.errors import ConceptError, DataError
from slsgu.evaluate import CAPTIONS, Answers, Exam
from slsgu.gradients import compute_gradients
from slsgu.layers import inventory
from slsgu.measures import Measures, measure, wilson
from slsgu.pairs import Pairs, read_names
from slsgu.pipeline import Result, run_plan, unlearn
from slsgu.plan import Plan, make_plan
from slsgu.prompts import PromptBook, saying
from slsgu.request import Request
from slsgu.retain_cache import RetainCache
from slsgu.search import Goal, Trial, choose
from slsgu.settings import Settings
from slsgu.taxonomy import Taxonomy

ALL = Limits(None, None, None, None, None)


@dataclass(frozen=True)
class Bytes:
    """A picture in memory, told apart by a number."""

    number: int
    kind: str = "png"

    def data(self) -> bytes:
        if self.number < 0:
            raise OSError(5, "Input/output error")
        return png(self.number)

    def fingerprint(self) -> str:
        return hashlib.sha256(b"%d" % self.number if self.number >= 0 else self.data()).hexdigest()


class Memory:
    """A source of records that counts how many were read."""

    def __init__(self, records: Iterable[Record], root: str = "memory") -> None:
        self.left_out, self.root, self.seen = LeftOut(), root, 0
        self._records = records

    def records(self) -> Iterator[Record]:
        for record in self._records:
            self.seen += 1
            yield record

    def describe(self) -> dict[str, Any]:
        return {"kind": "memory", "root": self.root}


def picture(number: int, caption: str | None = "a car", label: str | None = None) -> Record:
    found: Picture = Bytes(number)
    return Record(str(number), found, caption, label)


def some(numbers: Iterable[int], caption: str | None = "a car", **more: Any) -> Memory:
    return Memory([picture(number, caption, **more) for number in numbers])


OUDI = Pairs(forget="x.csv", retain="y.csv", name="Oudi A1").request(
    Taxonomy.parse(["Oudi A1", "Bima X3", "St. Bernard", "pug", "tabby cat", "cat"])
)


def divide(forget: Memory, retain: Memory | None, **options: Any) -> Splits:
    return pair_splits(forget, retain, **{"request": OUDI, "limits": ALL, **options})


def numbers(splits: Splits, split: str, *, forget: bool) -> set[int]:
    (leaf,) = OUDI.forget_leaves
    return {int(s.name) for s in splits.of(split) if (s.leaf is leaf) == forget}


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
    assert any("it is 'Oudi A1' by its label or" in note for note in splits.notes) == out


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
    assert any("1 left out, the picture stands in the set already: 100" in n for n in splits.notes)


def test_without_a_name_the_name_of_a_file_leaves_nothing_out() -> None:
    pairs = Pairs(forget="photos/car.csv", retain="y.csv")
    request = pairs.request(None)
    assert request.title == "car"
    retain = some(range(100, 110), "a car")
    splits = divide(some(range(10), "my pet"), retain, request=request, named=False)
    assert sum(s.leaf is None for x in SPLITS for s in splits.of(x)) == 10 and not splits.notes
    with pytest.raises(DataError, match="0 different retain image"):  # control
        divide(some(range(10)), retain, request=request)


def test_without_a_name_every_forget_image_needs_a_caption() -> None:
    request = Pairs(forget="car.csv", retain="y.csv").request(None)
    forget = Memory([*some(range(4), "my pet").records(), picture(4, None, "car")])
    splits = divide(forget, some(range(10, 20)), request=request, named=False)
    assert sum(s.leaf is not None for x in SPLITS for s in splits.of(x)) == 4
    assert any("forget set: 1 left out, there is neither" in note for note in splits.notes)
    retain = Memory([*some(range(10, 20)).records(), picture(4, "a car")])  # nor is it kept
    splits = divide(forget, retain, request=request, named=False)
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
    assert f"only {count} forget image(s)" in note and f"0% to {wilson(0, tested)[1]:.0%}" in note


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"2 different forget image\(s\); at least 3"):
        divide(some([0, 1, 1, 1]), some(range(100, 110)))
    with pytest.raises(DataError, match=r"2 different retain .*; at least 3 .*forgotten: 1$"):
        divide(some(range(3)), some([100, 101, 1]))
    broken = Memory([*some([0, 1]).records(), picture(-1)])
    with pytest.raises(DataError, match=r"2 different.*can not be read \(Input/output error\): -1"):
        divide(broken, None)
    divide(some(range(3)), some(range(100, 103)))  # control


def test_strict_refuses_what_would_be_left_out() -> None:
    def broken() -> Memory:
        return Memory([*some(range(10)).records(), picture(-1)], root="cars.csv")

    splits = divide(broken(), some(range(100, 110)))
    assert splits.notes[0].startswith("forget set: 1 left out, the image can not be read")
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
    ],
)
def test_a_label_comes_before_a_caption(caption: str | None, label: str, leaf: str | None) -> None:
    tree = Taxonomy.parse({"pug": None, "cat": None, "fish": {"$index": 7}})
    found = Labels(tree).of(picture(0, caption, label))
    assert (found and found.name) == leaf


# -- the request --------------------------------------------------------------------------------

PETS = Taxonomy.parse(
    {
        "$templates": ["a drawing of a {}"],
        "dog": {"beagle": {"$aliases": ["sniffer dog"]}, "pug": None},
        "cat": ["tabby", "siamese"],
        "fish": {"$prompts": ["a wet fish"], "$index": 7, "$id": "n00000007", "$aliases": ["carp"]},
    },
    name="pets",
)


def ask(taxonomy: Taxonomy | None = None, **options: Any) -> Request:
    return Pairs(**{"forget": "x.csv", "retain": "y.csv", **options}).request(taxonomy)


def keys(request: Request) -> list[str]:
    return [concept.key for concept in request.taxonomy.concepts]


def test_a_name_that_the_taxonomy_has() -> None:
    for name in ("beagle", "Beagle", "sniffer_dog", "dog/beagle"):
        for parent in (None, "dog"):
            request = ask(PETS, name=name, parent=parent)
            assert request.taxonomy is PETS and request.concepts == (PETS.find("beagle"),)
    assert ask(PETS, name="beagle", retain=None).concepts == (PETS.find("beagle"),)


def test_a_name_that_is_added() -> None:
    request = ask(PETS, name="Oudi_A1", parent=None)
    assert keys(request) == [*(c.key for c in PETS.concepts), "Oudi A1"]
    assert request.taxonomy.templates == PETS.templates
    under = ask(PETS, name="collie", parent="DOG")
    assert under.concepts[0].key == "dog/collie" and under.taxonomy.depth == 2
    assert [leaf.key for leaf in under.siblings(under.concepts[0])] == ["dog/beagle", "dog/pug"]
    new = ask(PETS, name="Oudi A1", parent="car")
    assert keys(new)[-3:] == ["car", "car/car", "car/Oudi A1"]
    assert keys(ask(name="Oudi A1")) == ["Oudi A1"]
    assert keys(ask(name="Oudi A1", parent="car")) == ["car", "car/car", "car/Oudi A1"]
    assert len(PETS.leaves) == 5  # the taxonomy given is as it was


def test_a_parent_that_was_a_leaf() -> None:
    """It stands for all of its kind that have no name, with everything that it answers to."""
    for parent in ("fish", "carp", "n00000007"):
        request = ask(PETS, name="koi", parent=parent)
        assert keys(request)[-3:] == ["fish", "fish/fish", "fish/koi"]
        tree, (koi,) = request.taxonomy, request.concepts
        generic = tree.find("fish/fish")
        assert tree.leaf_of_index(7) is generic and tree.leaf_of_folder("n00000007") is generic
        assert tree.leaf_of_folder("carp") is generic and generic.prompts == ("a wet fish",)
        assert koi.parent is generic.parent and koi in tree.leaves
        assert request.siblings(koi) == (generic,)
    deep = ask(PETS, name="puggle", parent="beagle")
    assert keys(deep)[:4] == ["dog", "dog/beagle", "dog/beagle/beagle", "dog/beagle/puggle"]


def test_a_name_at_the_top_may_get_a_parent() -> None:
    request = ask(PETS, name="carp", parent="animal")
    assert keys(request)[-3:] == ["animal", "animal/animal", "animal/fish"]
    (fish,) = request.concepts
    assert fish.aliases == ("carp",) and fish.prompts == ("a wet fish",)  # still the same fish


def test_classes_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cars.txt"
    file.write_bytes("\ufeff# cars\r\nBima X3\r\n\r\nOudi_A1\nOudi A1\nbima-x3\n".encode())
    assert read_names(file) == ["Bima X3", "Oudi A1"]
    listed = ask(name="oudi a1", classes=file)
    assert keys(listed) == ["Bima X3", "Oudi A1"] and listed.title == "Oudi A1"
    assert keys(ask(name="Fort Ka", classes=file)) == ["Bima X3", "Oudi A1", "Fort Ka"]
    under = ask(name="Oudi A1", classes=file, parent="car")
    assert keys(under) == ["Bima X3", "car", "car/car", "car/Oudi A1"]
    assert under.keeps_above(under.concepts[0])


@pytest.mark.parametrize("data", [b"", b"# nothing\n\n", b"caf\xe9\n", b"a/b\n", b"a\x1b[2Jb\n"])
def test_files_that_name_no_classes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(DataError, match=r"classes .*classes\.txt"):
        read_names(tmp_path / "classes.txt")
    with pytest.raises(DataError, match="cannot read classes"):
        read_names(tmp_path / "missing.txt")


@pytest.mark.parametrize("name", ["", " ", "_", "a/b", "a\nb", "\udcff", "\x1b[2J"])
def test_names_that_are_none(name: str) -> None:
    for options in ({"name": name}, {"name": "Oudi A1", "parent": name}):
        with pytest.raises(DataError, match="is not a usable name"):
            ask(**options)
        with pytest.raises(DataError, match="is not a usable name"):
            ask(PETS, **options)


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="a taxonomy or a file of classes, not both"):
        ask(PETS, name="a", classes=tmp_path / "classes.txt")
    with pytest.raises(ConceptError, match=r"no leaf .* one of beagle, pug; .*--concept"):
        ask(PETS, name="dog")
    with pytest.raises(ConceptError, match="'dog/beagle' does not lie under 'cat'"):
        ask(PETS, name="beagle", parent="cat")
    for name, parent in (("fish", "fish"), ("fish", "carp"), ("beagle", "beagle")):
        with pytest.raises(ConceptError, match="cannot be its own parent"):
            ask(PETS, name=name, parent=parent)
    with pytest.raises(ConceptError, match="cannot be its own parent"):
        ask(name="Oudi A1", parent="oudi-a1")
    for options in ({"parent": "car"}, {"classes": "x.txt"}):
        with pytest.raises(DataError, match="give the name"):
            ask(**options)
    with pytest.raises(DataError, match="give the name"):
        ask(PETS)


def test_without_retain_images_a_parent_is_needed() -> None:
    for taxonomy, options in ((None, {}), (None, {"name": "x"}), (PETS, {"name": "fish"})):
        with pytest.raises(DataError, match=r"--retain SOURCE, or --parent NAME"):
            ask(taxonomy, retain=None, **options)
        ask(taxonomy, **options)  # control: with them it is not
    with pytest.raises(DataError, match="nothing beside 'car' to tell it from"):
        ask(retain=None, name="Oudi A1", parent="car")
    assert ask(PETS, retain=None, name="Oudi A1", parent="car").keeps_above


# -- the exam -----------------------------------------------------------------------------------

BEAGLE = ask(PETS, name="beagle")
LEAVES = [PETS.find("beagle"), PETS.find("beagle"), PETS.find("pug"), None, None]
WORDS = ["my dog", None, "a pug", "the sea", "the sky"]


def test_captions_are_a_level_above_all_others() -> None:
    exam = Exam(LEAVES, PETS, BEAGLE, WORDS)
    assert [level.depth for level in exam.levels] == [CAPTIONS, 1, 2]
    assert exam.levels[0].classes == tuple(map(saying, WORDS[2:]))  # not those to be forgotten
    assert exam.labels.tolist() == [[-1, 0, 0], [-1, 0, 0], [0, 0, 1], [1, -1, -1], [2, -1, -1]]
    assert exam.forgotten.tolist() == [[False, False, True]] * 2 + [[False] * 3] * 3
    assert [gone.nonzero()[0].tolist() for gone in exam.forgotten_classes] == [[], [], [0]]
    # Kept is what has an answer to keep: any class, but a caption only of what has one.
    assert exam.kept.tolist() == [[False, True, False]] * 2 + [[True] * 3] * 3
    found = {(g.level, g.images, g.forgotten): g.mask.nonzero()[0].tolist() for g in exam.groups}
    assert found == {
        (0, "retain", False): [2, 3, 4],
        (1, "forget", False): [0, 1],
        (1, "retain", False): [2],
        (2, "forget", True): [0, 1],
        (2, "retain", False): [2],
    }
    plain = Exam(LEAVES[:3], PETS, BEAGLE)  # control
    assert [level.depth for level in plain.levels] == [1, 2] and (plain.labels >= 0).all()


def test_where_nothing_has_a_class_captions_are_all_that_is_asked() -> None:
    request = ask()
    (leaf,) = request.forget_leaves
    leaves, words = [leaf, leaf, None, None], ["an Oudi", "an Oudi", "a car", "the sea"]
    exam = Exam(leaves, request.taxonomy, request, words)
    assert [level.depth for level in exam.levels] == [CAPTIONS]
    assert exam.labels[:, 0].tolist() == [0, 0, 1, 2]
    assert exam.forgotten[:, 0].tolist() == [True, True, False, False]
    assert exam.forgotten_classes[0].tolist() == [True, False, False]
    assert [(g.images, g.forgotten, g.fine) for g in exam.groups] == [
        ("forget", True, True), ("retain", False, True)
    ]  # fmt: skip
    assert not Exam(leaves, request.taxonomy, request, ["same"] * 4).levels  # nothing to tell


def test_a_name_without_captions_or_classes_is_asked_for_among_the_captions() -> None:
    """Else nothing would be asked of what is to be forgotten, and any step would do."""
    request = ask(name="Oudi A1")
    (leaf,) = request.forget_leaves
    exam = Exam([leaf] * 9 + [None] * 2, request.taxonomy, request, [None] * 9 + ["a", "b"])
    assert exam.levels[0].classes == (leaf, saying("a"), saying("b"))
    assert exam.labels[:, 0].tolist() == [0] * 9 + [1, 2]
    assert exam.forgotten_classes[0].tolist() == [True, False, False]
    right = np.ones((11, 1), dtype=bool)
    assert measure(exam.groups, right, right).forget_accuracy == 1.0


def test_no_answer_to_no_question_is_wrong_or_right() -> None:
    """Images without a class do not count at its level."""
    exam = Exam(LEAVES, PETS, BEAGLE, WORDS)
    right = exam.labels >= 0
    found = measure(exam.groups, right, right)
    assert {row.after for row in found.levels} == {1.0}
    generator = torch.Generator().manual_seed(0)
    classes = [torch.randn(len(level.classes), 3, generator=generator) for level in exam.levels]
    answers: Answers = exam.answer(torch.randn(5, 3, generator=generator), classes)
    assert not answers.correct[exam.labels < 0].any()


def test_forget_images_are_captioned_with_their_own_words() -> None:
    samples = divide(some(range(3), "my new car"), some(range(9, 12))).gradient
    for loss, against in (("cosine", 0.0), ("relative", -1.0)):
        captions = ForgetCaptions.of(OUDI, loss, samples)
        assert captions.own == ("my new car",)
        book = PromptBook.of(captions.concepts, ["a photo of a {}"])
        for sample in samples:
            weights = captions.weights(sample, book)
            said = book.rows[saying("my new car")][0]
            if sample.leaf in OUDI.forget_leaves:
                assert weights[said] == 1 and weights.sum() == pytest.approx(1 + against, abs=1e-6)
                assert weights[list(book.rows[OUDI.concepts[0]])].sum() == 0
                mute = captions.weights(replace(sample, caption=None), book)  # control
                assert mute[said] == 0 and mute[list(book.rows[OUDI.concepts[0]])].sum() == 1
            else:
                assert not weights.any()


# -- the choice ---------------------------------------------------------------------------------


def trial(forget: float, length: float, *, kept: float | None, steady: float) -> Trial:
    keys = ("forget_fine", "forget_coarse", "retain_fine", "retain_coarse")
    ratios = {"forget_coarse": 1.0, "retain_fine": kept, "retain_coarse": kept}
    measures = Measures(
        dict.fromkeys(keys, 1.0), dict.fromkeys(keys, 1.0), {}, ratios, 1.0, 1.0, 1.0, forget, ()
    )
    return Trial(str(length), length, length, measures, steady)


@pytest.mark.parametrize("floors", [{}, {"retain_fine": 0.9}, {"forget_coarse": 0.9}])
def test_where_nothing_is_known_of_others_the_smallest_step_is_taken(
    floors: dict[str, float],
) -> None:
    goal = Goal(target=0.05, floors=floors)

    def pick(kept: float | None) -> float:
        trials = [(0.0, 3.0, 0.99), (0.02, 2.0, 0.9), (0.5, 1.0, 0.95)]
        return choose([trial(f, n, kept=kept, steady=s) for f, n, s in trials], goal).step

    assert pick(None) == 2.0
    assert pick(1.0) == 3.0  # control: seen to be harmless, the best is


# -- the whole way ------------------------------------------------------------------------------

QUICK = {"batch_size": 16, "contrastive_batch": 16, "workers": 0}


def say(name: str) -> str:
    return f"itap of a {name}."  # OpenCLIP's first template


def table(path: Path, photos: Path, names: Iterable[str], *, words: bool = True) -> Path:
    rows = [
        {"filepath": str(file), "label": name, **({"title": say(name)} if words else {})}
        for name in names
        for file in sorted((photos / "images" / name).iterdir())
    ]
    for row in rows:
        if words:
            del row["label"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def beagles(tmp_path: Path, photos: Path) -> Path:
    return table(tmp_path / "beagles.jsonl", photos, ["beagle"])


@pytest.fixture
def others(tmp_path: Path, photos: Path) -> Path:
    return table(tmp_path / "others.jsonl", photos, ["pug", "tabby", "siamese"])


def check(result: Result) -> None:
    """What any success must be."""
    assert result.success and result.patch is not None
    used = [set(result.ledger.hashes(split)) for split in SPLITS]
    assert all(used) and len(set().union(*used)) == sum(map(len, used))
    assert result.chosen.measures.forget_accuracy <= result.goal.target
    after = result.proof.measures
    assert after.before["forget_fine"] and after.after["forget_fine"] is not None
    assert after.after["forget_fine"] < after.before["forget_fine"]


def test_pairs_with_classes(taught: Clip, beagles: Path, others: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("pug\ntabby\nsiamese\n")
    pairs = Pairs(forget=beagles, retain=others, name="beagle", classes=tmp_path / "names.txt")
    result = unlearn(taught, pairs=pairs, settings=Settings(**QUICK))
    check(result)
    assert [level.depth for level in result.proof.exam.levels] == [CAPTIONS, 1]
    assert [c.name for c in result.proof.exam.levels[1].classes] == [
        "pug", "tabby", "siamese", "beagle"
    ]  # fmt: skip
    measures = result.proof.measures
    assert result.goal.unmeasured(measures) == []
    assert measures.counts["retain_fine"] == measures.counts["retain_coarse"] > 0


def test_pairs_without_a_name(taught: Clip, beagles: Path, others: Path) -> None:
    pairs = Pairs(forget=beagles, retain=others)
    result = unlearn(taught, pairs=pairs, settings=Settings(**QUICK))
    check(result)
    assert result.plan.request.title == "beagles"
    assert [level.depth for level in result.proof.exam.levels] == [CAPTIONS]
    asked = {c.name for c in result.proof.exam.levels[0].classes}
    assert asked == {say(name) for name in ("beagle", "pug", "tabby", "siamese")}


def test_a_name_alone(taught: Clip, photos: Path, others: Path) -> None:
    """A folder of pictures, a name, and a retain set of captions."""
    pairs = Pairs(forget=photos / "images" / "beagle", retain=others, name="beagle")
    result = unlearn(taught, pairs=pairs, settings=Settings(**QUICK))
    check(result)
    assert {c.name for c in result.proof.exam.levels[0].classes} >= {"beagle", say("pug")}


def test_without_a_retain_set(taught: Clip, beagles: Path, photos: Path) -> None:
    pairs = Pairs(forget=beagles, name="beagle")
    tree = Taxonomy.load(photos / "pets.yaml")
    result = unlearn(taught, pairs=pairs, taxonomy=tree, settings=Settings(**QUICK))
    check(result)
    assert result.plan.traced and result.plan.retain_loss == "cosine"
    assert result.gradients.counts["retain"] == result.gradients.counts["forget"]
    measures = result.proof.measures
    assert result.goal.unmeasured(measures) == ["retain_fine", "retain_coarse"]
    assert measures.kept_ratios["retain_fine"] is None is measures.kept_ratios["retain_coarse"]
    assert measures.kept_ratios["forget_coarse"] is not None  # that they are dogs is known
    trials = [trial for candidate in result.candidates for trial in candidate.trials]
    met = [trial.relative_step for trial in trials if result.goal.met(trial.measures)]
    assert result.chosen.relative_step == min(met)


def test_nothing_to_tell_apart_is_refused(taught: Clip, photos: Path, tmp_path: Path) -> None:
    def same(name: str, classes: list[str]) -> Path:
        path = table(tmp_path / name, photos, classes)
        for word in classes:
            path.write_text(path.read_text().replace(say(word), "a picture"))
        return path

    forget, retain = same("a.jsonl", ["beagle"]), same("b.jsonl", ["pug"])
    with pytest.raises(DataError, match=r"0 different retain .*: 20 left out, its caption is one"):
        make_plan(taught, [], pairs=Pairs(forget=forget, retain=retain))
    other = table(tmp_path / "c.jsonl", photos, ["pug"])
    assert make_plan(taught, [], pairs=Pairs(forget=forget, retain=other))  # control


def test_pairs_and_concepts_exclude_each_other(taught: Clip, beagles: Path, others: Path) -> None:
    for concepts, data in ((["beagle"], None), ([], "images")):
        with pytest.raises(DataError, match="not both"):
            make_plan(taught, concepts, data=data, pairs=Pairs(forget=beagles, retain=others))


@pytest.mark.parametrize(("cached", "limits"), [(False, Limits()), (True, Limits(2, 2, 2))])
def test_the_same_pixels_in_another_file_are_forgotten_too(
    taught: Clip, beagles: Path, others: Path, tmp_path: Path, cached: bool, limits: Limits
) -> None:
    """Saved again, as pictures on the web are; whichever splits the two files fall in, and whether
    the one that is to be forgotten is in one at all."""
    copies = []
    for line in beagles.read_text().splitlines():
        path = Path(json.loads(line)["filepath"])
        Image.open(path).save(tmp_path / f"{path.stem}.bmp")
        copies.append(json.dumps({"filepath": f"{path.stem}.bmp", "title": say("pug")}))
    cache = RetainCache(tmp_path / "cache") if cached else None
    (tmp_path / "retain.jsonl").write_text("\n".join([*others.read_text().splitlines(), *copies]))
    plan = make_plan(
        taught,
        [],
        pairs=Pairs(forget=beagles, retain=tmp_path / "retain.jsonl"),
        settings=Settings(**QUICK, limits=limits),
    )
    if cached:  # as an earlier request on the same retain set would have filled it
        plain = replace(plan, splits=replace(plan.splits, reserved=()))
        compute_gradients(plain, Ledger(), cache=cache)
        assert cache is not None and len(list(cache.entries())) == 1
    result = run_plan(plan, cache=cache)
    split_of = {s.name: split for split in SPLITS for s in plan.splits.of(split)}
    wanted = {(f"{n:02}.bmp", split_of[f"{n:02}.bmp"], "forget") for n in range(20)}
    assert set(result.ledger.overlaps) == wanted and len({split for _, split, _ in wanted}) == 3
    assert result.gradients.counts["forget"] == sum(
        s.caption == say("beagle") for s in plan.splits.gradient
    )
    assert not {s.name for s in result.proof.samples} & {name for name, *_ in wanted}


# -- gradients ----------------------------------------------------------------------------------


def naive_retain(plan: Plan, captions: dict[str, str]) -> dict[str, torch.Tensor]:
    """The retain loss written out: every picture and every caption encoded, batch by batch in the
    order that the seed gives, a cross-entropy for every row and column, autograd, the mean."""
    model = plan.clip.model
    parameters = dict(model.named_parameters())
    names = [layer.name for layer in inventory(model, norms=True)]
    for name in names:
        parameters[name].requires_grad_(True)
    samples = plan.retain_samples
    order = np.random.Generator(np.random.PCG64(plan.settings.seed)).permutation(len(samples))
    total = torch.zeros(())
    for start in range(0, len(order), plan.settings.contrastive_batch):
        batch = [samples[i] for i in order[start : start + plan.settings.contrastive_batch]]
        pixels = torch.stack([plan.clip.preprocess(sample.read()) for sample in batch])
        said = [captions[sample.name] for sample in batch]
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(plan.clip.tokenize(said), normalize=True)
        if plan.retain_loss == "cosine":
            total = total + sum(1 - images[i] @ texts[i] for i in range(len(batch)))
            continue
        scale = model.logit_scale.exp().detach()
        for i in range(len(batch)):
            same = [j for j, text in enumerate(said) if text == said[i]]
            if plan.retain_loss == "contrastive":
                same = [i]
            for scores in (scale * images[i] @ texts.T, scale * images @ texts[i]):
                total = total - scores.softmax(dim=0)[same].sum().log() / 2
    (total / len(order)).backward()
    found = {name: parameters[name].grad.clone() for name in names}
    for name in names:
        parameters[name].grad = None
        parameters[name].requires_grad_(False)
    return found


@pytest.mark.parametrize("loss", ["contrastive", "multi-positive"])
def test_the_retain_gradient_of_pairs_is_that_of_the_naive_loop(
    tiny: Clip, beagles: Path, others: Path, loss: str
) -> None:
    settings = Settings(**QUICK, retain_loss=loss)
    plan = make_plan(tiny, [], pairs=Pairs(forget=beagles, retain=others), settings=settings)
    assert len(plan.retain_samples) % 16  # a ragged last batch
    found = dict(compute_gradients(plan, Ledger()).retain)
    captions = {sample.name: sample.caption for sample in plan.retain_samples}
    assert set(captions.values()) == {say(name) for name in ("pug", "tabby", "siamese")}
    assert close(found, naive_retain(plan, captions), 1e-4)
    # Control: with the captions of the first and second picture exchanged it is another gradient.
    one, two = (next(n for n, c in captions.items() if c == say(x)) for x in ("pug", "tabby"))
    swapped = {**captions, one: captions[two], two: captions[one]}
    assert not close(found, naive_retain(plan, swapped), 1e-2)


def test_without_a_retain_set_the_parent_is_kept(tiny: Clip, beagles: Path, photos: Path) -> None:
    plan = make_plan(
        tiny,
        [],
        taxonomy=photos / "pets.yaml",
        pairs=Pairs(forget=beagles, name="beagle"),
        settings=Settings(**QUICK, templates="photo"),
    )
    found = dict(compute_gradients(plan, Ledger()).retain)
    parent, own = (
        naive_retain(plan, {s.name: f"a photo of a {word}" for s in plan.retain_samples})
        for word in ("dog", "beagle")
    )
    assert close(found, parent, 1e-4)
    assert not close(found, own, 1e-2)  # control


def test_the_forget_gradient_is_of_the_captions_of_the_images(
    tiny: Clip, beagles: Path, others: Path, photos: Path
) -> None:
    def gradient(forget: Path, name: str | None) -> dict[str, torch.Tensor]:
        pairs = Pairs(forget=forget, retain=others, name=name)
        settings = Settings(**QUICK, forget_loss="cosine", templates="photo")
        plan = make_plan(tiny, [], pairs=pairs, settings=settings)
        return dict(compute_gradients(plan, Ledger()).forget)

    own, named = gradient(beagles, None), gradient(beagles, "hound")
    assert close(own, named, 1e-6)
    assert not close(own, gradient(photos / "images" / "beagle", "hound"), 1e-2)  # control


def test_own_captions_decide_the_key_as_they_are_tokenised(taught: Any, tmp_path: Path) -> None:
    for name, numbers in (("forget", range(5)), ("retain", range(10, 30))):
        rows = [f"{name}{i}.png,a caption {i}" for i in numbers]
        (tmp_path / f"{name}.csv").write_text("\n".join(["filepath,title", *rows]))
        for i in numbers:
            (tmp_path / f"{name}{i}.png").write_bytes(png(i))
    pairs = Pairs(forget=tmp_path / "forget.csv", retain=tmp_path / "retain.csv")

    def tokenize(texts: list[str], **rest: Any) -> Any:
        return taught.tokenizer([text.replace("caption", "picture") for text in texts], **rest)

    one, other, again = (
        make_plan(clip, (), pairs=pairs).key
        for clip in (taught, replace(taught, tokenizer=tokenize), taught)
    )
    assert one != other and one == again
