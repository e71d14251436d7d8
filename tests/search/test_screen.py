"""Layers that lose on a part of the images are not searched on all; the choice stays the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.trials import measures_of

import slsgu
from slsgu.evaluation.exam import Exam
from slsgu.evaluation.found import Change, Found
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.search_set import SearchSet
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.search import screen
from slsgu.search.choice import Trial
from slsgu.search.goal import Goal
from slsgu.search.screen import at_best, may_win, part_of
from slsgu.task.settings import NEVER_KNEW

GOAL = Goal(0.05, {"retain_fine": 0.85}, name="suppress")


def trial(kept: float, q_u: float, *, count: int = 100, layer: str = "inner") -> Trial:
    """One step that forgets everything and keeps a share of what it was measured on."""
    measures = replace(
        measures_of(0.0, kept, q_u),
        counts={"retain_fine": count, "retain_coarse": 0},
        kept_ratios={"forget_coarse": None, "retain_fine": kept, "retain_coarse": None},
    )
    return Trial(layer, 1.0, 0.3, measures)


# -- what a part can say -----------------------------------------------------------------------


def test_the_best_that_may_be_is_no_worse_and_comes_closer_with_more_images() -> None:
    ratios = []
    for count in (50, 500, 5000):
        best = at_best(trial(0.9, 2 * 0.9 / 1.9, count=count), GOAL).measures
        ratio = best.kept_ratios["retain_fine"]
        assert ratio is not None and best.utility == ratio and 0.9 < ratio <= 1
        assert best.q_u == pytest.approx(2 * ratio / (1 + ratio))
        ratios.append(ratio)
    assert ratios == sorted(ratios, reverse=True) and ratios[-1] < 0.91
    whole = at_best(trial(1.0, 1.0), GOAL)
    assert whole.measures.q_u == 1.0  # nothing lost: nothing to add


def test_at_its_best_no_class_of_several_is_easier_to_find() -> None:
    each = (Change(0.8, 0.7, 0.02), Change(0.8, 0.95, 0.02))
    found = Found(before=0.8, after=0.82, count=20, chance=0.1, error=0.05, each=each)
    one = trial(0.9, 0.95)
    measured = replace(one, measures=replace(one.measures, found=found))
    best = at_best(measured, replace(GOAL, name="remove")).measures.found
    assert found.risen and not found.fallen  # control
    assert best is not None and best.fallen and not best.risen


@pytest.mark.parametrize("chance", [0.1, 0.6])
def test_at_its_best_a_concept_is_found_as_what_was_never_known(chance: float) -> None:
    """No less often than by a guess."""
    never = replace(GOAL, name="remove", never_knew=0.0)
    one = trial(0.9, 0.95)
    found = Found(before=0.9, after=0.8, count=100, chance=chance)
    measured = replace(one, measures=replace(one.measures, found=found))
    assert never.distance(at_best(measured, never).measures) == 0.0
    assert never.distance(measured.measures) == pytest.approx(0.8 - chance)  # control


def test_a_layer_may_win_if_the_interval_reaches_the_best() -> None:
    known = [trial(0.98, 0.99, layer="proj")]
    assert may_win(trial(0.97, 0.985), known, GOAL)
    assert not may_win(trial(0.97, 0.985, count=100_000), known, GOAL)  # control: sure of it
    assert not may_win(trial(0.5, 0.66), known, GOAL)
    assert may_win(trial(0.5, 0.66), [], GOAL)


def test_to_remove_a_concept_it_must_also_come_as_close_to_one_never_known() -> None:
    remove = replace(GOAL, name="remove", never_knew=NEVER_KNEW)
    found = Found(before=1.0, after=NEVER_KNEW, count=100, chance=0.01)

    def merged(q_u: float, merge: float) -> Trial:
        base = trial(q_u, q_u, layer="proj")
        return replace(base, merge=merge, measures=replace(base.measures, found=found))

    inner = trial(1.0, 1.0)
    assert not may_win(inner, [merged(0.99, 0.2)], remove)  # as good, and where most concepts end
    assert may_win(inner, [merged(0.99, 0.8)], remove)
    assert may_win(inner, [merged(0.9, 0.2)], remove)  # control: far better


def test_a_part_has_all_of_the_concept_and_a_quarter_of_each_other_class() -> None:
    tree = slsgu.Taxonomy.parse({"these": ["a", "b", "c"], "those": ["d", "e"]})
    exam = Exam([tree.leaves[i % 5] for i in range(400)], tree, slsgu.Request.of(tree, ["a"]))
    rows = part_of(exam)
    assert rows is not None and (np.diff(rows) > 0).all()
    counts = {leaf.name: 0 for leaf in tree.leaves}
    for row in rows:
        leaf = exam.leaves[row]
        assert leaf is not None
        counts[leaf.name] += 1
    assert counts == {"a": 80, "b": 20, "c": 20, "d": 20, "e": 20}
    part = exam.part(rows)
    assert [g.mask.sum() for g in part.groups if g.images == "forget"] == [80, 80]
    few = Exam(exam.leaves[:100], tree, exam.request)
    assert part_of(few) is None


# -- a search ----------------------------------------------------------------------------------


def search(
    monkeypatch: pytest.MonkeyPatch, taught: Clip, photos: Path, fewest: int
) -> tuple[slsgu.Outcome, list[tuple[str, int]]]:
    """A thorough search of the image side, and the layers evaluated on each number of images."""
    monkeypatch.setattr(screen, "FEWEST", fewest)
    evaluated: list[tuple[str, int]] = []
    measure = SearchSet.measure_features

    def watched(self: SearchSet, tower: str, features: Any) -> Measures:
        evaluated.append((tower, len(self.exam.leaves)))
        return measure(self, tower, features)

    monkeypatch.setattr(SearchSet, "measure_features", watched)
    settings = slsgu.Settings(
        force=True, thorough=True, tower="vision", workers=0, confidence=0, trials=8,
        goal="suppress",  # few images say nothing sure of what is found again
    )  # fmt: skip
    plan = slsgu.make_plan(
        taught, ["beagle"], data=photos / "images", taxonomy=photos / "pets.yaml",
        settings=settings,
    )  # fmt: skip
    return slsgu.run_plan(plan), evaluated


def test_screening_finds_the_same_patch_with_fewer_evaluations(
    monkeypatch: pytest.MonkeyPatch, taught: Clip, photos: Path
) -> None:
    whole, _ = search(monkeypatch, taught, photos, 10_000)
    screened, evaluated = search(monkeypatch, taught, photos, 1)
    assert whole.trace is not None and screened.trace is not None
    assert screened.trace.chosen == whole.trace.chosen
    assert screened.edit.patch.file_sha256 == whole.edit.patch.file_sha256
    lost = [each for each in screened.trace.candidates if each.part is not None]
    assert lost and all(each.trials and not each.final for each in lost)
    assert all(each.part is None for each in whole.trace.candidates)  # control
    assert all(each.curve_part is None for each in whole.trace.candidates)
    images = max(count for _, count in evaluated)
    for each in screened.trace.candidates:
        if each.curve is not None and each.curve_part is None:
            assert each.curve.images in (0, images), each.score.layer
        if each.curve_part is not None:
            assert each.curve is not None and each.curve_part < images
    assert all(each.part is not None and each.part < images for each in lost)
    assert screened.trace.chosen.layer not in {each.score.layer for each in lost}


def test_a_part_says_of_its_images_what_all_of_them_say(taught: Clip, photos: Path) -> None:
    plan = slsgu.make_plan(
        taught, ["beagle"], data=photos / "images", taxonomy=photos / "pets.yaml",
        settings=slsgu.Settings(force=True, workers=0),
    )  # fmt: skip
    images = SearchSet.read(plan, plan.task.ledger())
    rows = np.arange(0, len(images.exam.leaves), 2)
    part = images.part(rows)
    name = "visual.transformer.resblocks.1.mlp.c_proj.weight"
    layer = next(x for x in inventory(plan.task.clip.model) if x.name == name)
    weight = 3 * images.replay.parameters[layer.name].detach()
    for each in (images, part):
        each.replay.prepare(layer)
    expected = images.replay.features(layer, weight)[rows]
    assert np.allclose(part.replay.features(layer, weight), expected, atol=1e-5)
    assert part.before.correct.tolist() == images.before.correct[rows].tolist()
    assert part.measure(layer, weight).counts["retain_fine"] == int((~part.exam.forget).sum())
