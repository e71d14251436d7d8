"""Requests by images: names, parents and classes, the exam, the captions, the choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pairs import (
    OUDI,
    PETS,
    ask,
    divide,
    keys,
    some,
)

from slsgu.concepts.prompts import PromptBook, as_concept
from slsgu.errors import ConceptError, DataError
from slsgu.evaluation.exam import CAPTIONS, Answers, Exam
from slsgu.evaluation.metrics import Measures, measure
from slsgu.losses.captions import ForgetCaptions
from slsgu.search.choice import Trial, choose
from slsgu.search.goal import Goal
from slsgu.task.pairs import read_names

# -- the request -------------------------------------------------------------------------------


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
    with pytest.raises(DataError, match="classes not found"):
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
    with pytest.raises(
        ConceptError, match=r"is a group of classes .* one of beagle, pug; .*--concept"
    ):
        ask(PETS, name="dog")
    with pytest.raises(ConceptError, match="'dog/beagle' is not below 'cat'"):
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
    with pytest.raises(DataError, match="without a class beside 'car'"):
        ask(retain=None, name="Oudi A1", parent="car")
    assert ask(PETS, retain=None, name="Oudi A1", parent="car").keeps_above


# -- the exam -----------------------------------------------------------------------------------

BEAGLE = ask(PETS, name="beagle")
LEAVES = [PETS.find("beagle"), PETS.find("beagle"), PETS.find("pug"), None, None]
WORDS = ["my dog", None, "a pug", "the sea", "the sky"]


def test_captions_are_a_level_above_all_others() -> None:
    exam = Exam(LEAVES, PETS, BEAGLE, WORDS)
    assert [level.depth for level in exam.levels] == [CAPTIONS, 1, 2]
    assert exam.levels[0].classes == tuple(map(as_concept, WORDS[2:]))  # not those to be forgotten
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
    assert exam.levels[0].classes == (leaf, as_concept("a"), as_concept("b"))
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
            said = book.rows[as_concept("my new car")][0]
            if sample.leaf in OUDI.forget_leaves:
                assert weights[said] == 1 and weights.sum() == pytest.approx(1 + against, abs=1e-6)
                assert weights[list(book.rows[OUDI.concepts[0]])].sum() == 0
                mute = captions.weights(replace(sample, caption=None), book)  # control
                assert mute[said] == 0 and mute[list(book.rows[OUDI.concepts[0]])].sum() == 1
            else:
                assert not weights.any()


# -- the choice ---------------------------------------------------------------------------------


def trial(forget: float, length: float, *, kept: float | None, q_u: float) -> Trial:
    keys = ("forget_fine", "forget_coarse", "retain_fine", "retain_coarse")
    ratios = {"forget_coarse": 1.0, "retain_fine": kept, "retain_coarse": kept}
    measures = Measures(
        dict.fromkeys(keys, 1.0), dict.fromkeys(keys, 1.0), {}, ratios, 1.0, 1.0, q_u, forget, ()
    )
    return Trial(str(length), length, length, measures)


@pytest.mark.parametrize("floors", [{}, {"retain_fine": 0.9}, {"forget_coarse": 0.9}])
def test_where_nothing_is_known_of_others_the_smallest_step_is_taken(
    floors: dict[str, float],
) -> None:
    goal = Goal(target=0.05, floors=floors)

    def pick(kept: float | None) -> float:
        trials = [(0.0, 3.0, 0.99), (0.02, 2.0, 0.9), (0.5, 1.0, 0.95)]
        return choose([trial(f, n, kept=kept, q_u=q) for f, n, q in trials], goal).step

    assert pick(None) == 2.0
    assert pick(1.0) == 3.0  # control: seen to be harmless, the best is
