"""The proof by texts: names stand in for pictures, and each figure says what it says it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import slsgu
from slsgu.concepts.request import Request
from slsgu.evaluation.embedded import Embedded
from slsgu.evaluation.text_proof import LEAST_KEPT, TextProof, prove_by_text
from slsgu.evaluation.text_rows import TextRow
from slsgu.models.clip import Clip
from slsgu.task.text_task import TextTask

PETS = {
    "dog": {"beagle": {"$aliases": ["hound"], "$definition": "it barks"}, "pug": None},
    "cat": ["tabby", "siamese"],
}


@pytest.fixture
def task(tiny: Clip, tmp_path: Path) -> TextTask:
    file = tmp_path / "keep.txt"
    file.write_text("a red truck\nthree trees\n")
    request = Request.of(slsgu.Taxonomy.parse(PETS, name="pets"), ["beagle"])
    return TextTask.make(tiny, request, ["a photo of a {}"], file)


def directions(task: TextTask) -> tuple[dict[str, int], Tensor]:
    """Embeddings without a model: each concept, and each other text, in a direction of its own."""
    places = {text: at for at, text in enumerate(task.texts)}
    axes = [*task.forgotten, *task.kept]
    rows = torch.zeros(len(places), len(axes) + len(task.others) + 1, dtype=torch.float64)
    rows[:, -1] = 4.0  # what all texts have in common
    for each in task.wordings:
        for prompt in each.prompts:
            rows[places[prompt], axes.index(each.concept)] = 1.0
            if each.concept.parent is not None:  # siblings are alike
                rows[places[prompt], axes.index(each.concept.parent)] = 1.0
    for at, text in enumerate(task.others):
        rows[places[text], len(axes) + at] = 1.0
    return places, functional.normalize(rows, dim=1)


def with_moved(task: TextTask, words: str, *to: str) -> TextProof:
    """The proof where every text with some words goes to the mean of other texts."""
    places, before = directions(task)
    after = before.clone()
    for text, at in places.items():
        if words in text:
            after[at] = before[[places[each] for each in to]].mean(dim=0)
    after = functional.normalize(after, dim=1)
    return prove_by_text(task, Embedded(places, before, after))


def test_where_nothing_moves_everything_is_found_and_named_as_before(task: TextTask) -> None:
    proof = with_moved(task, "no such text", "a red truck")
    assert all(row.moved < 1e-12 and row.rank_before == row.rank_after == 1 for row in proof.rows)
    assert all(each.before == each.after == each.concept for each in proof.stand_ins)
    assert proof.still_named == ["dog/beagle"] and proof.misses() == [
        "dog/beagle is still called so"
    ]
    assert proof.kept("above", "sibling", "other name", "other text") == 1


def test_a_name_that_goes_to_its_sibling_is_no_longer_called_or_found(task: TextTask) -> None:
    proof = with_moved(task, "beagle", "pug", "tabby")
    (stand_in,) = [each for each in proof.stand_ins if each.group == "forgotten"]
    assert stand_in.before == "dog/beagle" and stand_in.after != "dog/beagle"
    name = next(row for row in proof.of("forgotten") if row.kind == "name")
    assert (name.rank_before, name.finds, name.found_before, name.found_after) == (
        1, "dog/pug", 2, 0
    )  # fmt: skip
    assert proof.still_named == [] and proof.misses() == []
    # An alias that stayed behind still finds the place, and is told.
    assert [row.words for row in proof.still_found] == ["hound", "it barks"]


def test_a_sibling_that_is_lost_is_a_miss(task: TextTask) -> None:
    proof = with_moved(task, "pug", "tabby")
    assert proof.kept("sibling") == 0 < LEAST_KEPT
    (lost,) = [miss for miss in proof.misses() if "names that are kept" in miss]
    assert "still find their place" in lost
    assert proof.worst(1)[0].words == "pug" and proof.worst(1)[0].finds == "cat/tabby"


def test_other_texts_count_only_where_the_model_knows_them(task: TextTask) -> None:
    lost = with_moved(task, "red truck", "three trees")
    assert lost.knows_others and any("other texts" in miss for miss in lost.misses())
    places, before = directions(task)
    for text in task.others:  # the model takes both for one thing that is neither
        before[places[text]] = before[places["pug"]]
    unknown = prove_by_text(task, Embedded(places, before, before))
    others = [replace(row, rank_before=2) for row in unknown.of("other text")]
    proof = TextProof((*unknown.rows[: -len(others)], *others), unknown.stand_ins)
    assert not proof.knows_others
    assert not any("other texts" in miss for miss in proof.misses())


def test_what_is_common_to_all_texts_is_no_part_of_a_stand_in(task: TextTask) -> None:
    """A name that goes to what all texts have in common is close to all of them, and wins nowhere:
    as on pictures, which have no part along it."""
    places, before = directions(task)
    after = before.clone()
    for text, at in places.items():
        if "beagle" in text:
            after[at] = 0
            after[at, -1] = 1
    proof = prove_by_text(task, Embedded(places, before, after))
    assert proof.still_named == []
    assert float((before @ after[places["beagle"]]).min()) > 0.9  # control: close to every text


def test_an_edit_of_the_image_side_moves_the_stand_ins(task: TextTask) -> None:
    places, before = directions(task)
    size = before.shape[1]
    axis = torch.zeros(size, size, dtype=torch.float64)
    axis[0, 0] = -1.5  # images of a beagle look like the opposite of one
    proof = prove_by_text(task, Embedded(places, before, before, axis))
    (stand_in,) = [each for each in proof.stand_ins if each.group == "forgotten"]
    assert stand_in.after != "dog/beagle"
    assert all(row.moved == 0 for row in proof.rows)
    still = prove_by_text(task, Embedded(places, before, before, 0 * axis))  # control
    assert still.still_named == ["dog/beagle"]


def test_json_says_what_the_proof_says(task: TextTask) -> None:
    value = with_moved(task, "beagle", "pug", "tabby").to_json()
    assert value["groups"]["forgotten"] | {"moved": None} == {
        "texts": 3, "found_before": 3, "found_after": 2, "moved": None
    }  # fmt: skip
    assert value["still_found"] == ["hound", "it barks"] and value["still_named"] == []
    assert len(value["rows"]) == 3 + 5 + 2 and value["groups"]["other text"]["texts"] == 2


def test_a_name_that_the_model_takes_for_a_kept_one_is_a_miss(task: TextTask) -> None:
    proof = with_moved(task, "beagle", "pug", "tabby")
    assert proof.mistaken == []  # control
    (gone,) = [each for each in proof.stand_ins if each.group == "forgotten"]
    others = [each for each in proof.stand_ins if each is not gone]
    same = replace(proof, stand_ins=(*others, replace(gone, before="dog/pug")))
    assert same.misses() == ["the model cannot tell dog/beagle from dog/pug"]


def test_where_one_name_stands_beside_the_concept_the_concept_may_take_its_place(
    tiny: Clip, task: TextTask
) -> None:
    """Of two names the one that is left may lose to the one that moved: what lies at its place is
    called by the forgotten name, though its own texts still find it."""
    request = Request.of(slsgu.Taxonomy.parse({"dog": None, "cat": None}, name="two"), ["cat"])
    two = TextTask(tiny, request, task.templates, task.others, task.others_title)
    beyond = {"dog": 0.5, "cat": 1.0}  # along the direction in which the two differ
    places, before = directions(two)
    after = before.clone()
    for each in two.wordings:
        rows = [places[prompt] for prompt in each.prompts]
        after[rows] = 0
        after[rows, 1] = beyond[each.concept.name]  # the axis of what is kept
        after[rows, -1] = 1.0
    proof = prove_by_text(two, Embedded(places, before, functional.normalize(after, dim=1)))
    assert [(x.concept, x.after) for x in proof.renamed] == [("dog", "cat")]
    assert proof.kept("sibling") == 1  # its own texts find it all the same
    assert proof.misses() == ["dog is called cat, though it is kept"]
    assert proof.to_json()["renamed"] == {"dog": "cat"}
    # Control: the same where the one that moved stays behind what is kept.
    moved = [places[x] for each in two.wordings if each.concept.name == "cat" for x in each.prompts]
    after[moved, 1] = 0.2
    fine = prove_by_text(two, Embedded(places, before, functional.normalize(after, dim=1)))
    assert fine.renamed == []


def test_names_that_count_and_are_lost_stand_before_texts_that_do_not_count(task: TextTask) -> None:
    proof = with_moved(task, "pug", "tabby")
    rows = [
        replace(row, rank_before=1 + at, rank_after=40) if row.group == "other text" else row
        for at, row in enumerate(proof.rows)
    ]
    first = next(at for at, row in enumerate(rows) if row.group == "other text")
    rows[first] = replace(rows[first], rank_before=1)  # one of the texts found its place
    rows.append(replace(rows[first], words="one more", rank_before=7))
    loose = TextProof(tuple(rows), proof.stand_ins)
    assert not loose.knows_others and loose.worst(1)[0].words == "pug"
    assert [row.words for row in loose.lost] == ["pug"]
    known = [replace(row, rank_before=1) for row in rows]  # control: now they count, and lost more
    assert TextProof(tuple(known), proof.stand_ins).worst(1)[0].group == "other text"


def test_what_moved_furthest_is_told_in_order_whatever_it_found_before(task: TextTask) -> None:
    proof = with_moved(task, "beagle", "pug", "tabby")
    moved = {"siamese": 0.1, "three trees": 0.9, "pug": 0.5, "beagle": 1.4}
    rows = tuple(
        replace(row, moved=moved.get(row.words, 0.0), rank_before=3 if row.words == "pug" else 1)
        for row in proof.rows
    )
    told = TextProof(rows, proof.stand_ins)
    assert [row.words for row in told.furthest(2)] == ["three trees", "pug"]
    assert [row.words for row in told.furthest(9)] == ["three trees", "pug", "siamese"]
    assert "pug" not in [row.words for row in told.worst(9)]  # control: another list


def test_misses_that_are_alike_are_counted(task: TextTask) -> None:
    proof = with_moved(task, "no such text", "a red truck")
    (one,) = proof.requested
    many = tuple(
        replace(one, concept=f"dog/{n}", after=f"dog/{n}", before="dog/pug") for n in range(9)
    )
    misses = TextProof(proof.rows, (*proof.stand_ins, *many)).misses()
    assert len([x for x in misses if "still called so" in x]) == 3
    assert "the same of 7 more" in misses and "the same of 6 more" in misses
    assert not any("more" in x for x in proof.misses())  # control


def test_a_proof_of_many_texts_is_judged_in_one_pass(task: TextTask) -> None:
    proof = with_moved(task, "beagle", "pug", "tabby")
    asked = 0

    class Counted(TextProof):
        def of(self, group: str) -> list[TextRow]:  # type: ignore[override]
            nonlocal asked
            asked += 1
            return super().of(group)  # type: ignore[arg-type]

    counted = Counted(proof.rows, proof.stand_ins)
    assert [counted.lost, counted.worst(3)] == [proof.lost, proof.worst(3)]
    assert asked <= 1 < len(proof.rows)
