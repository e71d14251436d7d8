"""The whole curve of a layer is what evaluating it says, or there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import slsgu
from slsgu.evaluation.along import along
from slsgu.evaluation.proof import evaluate
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.compute import compute_gradients
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.search.curve import Known, find_reach, trace
from slsgu.search.goal import Goal
from slsgu.search.ray import Ray
from slsgu.utils.statistics import wilson

INNER = ("visual.transformer.resblocks.1.mlp.c_proj.weight",
         "transformer.resblocks.0.mlp.c_fc.weight")  # fmt: skip


@pytest.fixture
def plan(taught: Clip, photos: Path) -> slsgu.Plan:
    where: dict[str, Any] = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    settings = slsgu.Settings(force=True, thorough=True, goal="suppress", workers=0)
    return slsgu.make_plan(taught, ["beagle"], settings=settings, **where)


@pytest.fixture
def prepared(plan: slsgu.Plan) -> tuple[slsgu.Gradients, SearchSet]:
    ledger = plan.task.ledger()
    return compute_gradients(plan, ledger), SearchSet.read(plan, ledger)


@pytest.fixture
def known_of(
    plan: slsgu.Plan, prepared: tuple[slsgu.Gradients, SearchSet]
) -> Callable[[str], Known]:
    gradients, images = prepared

    def known(name: str) -> Known:
        layer = next(x for x in inventory(plan.task.clip.model) if x.name == name)
        images.replay.prepare(layer)
        return Known(images, Ray.of(replace_direction(plan), layer, gradients))

    return known


def replace_direction(plan: slsgu.Plan) -> slsgu.Plan:
    """The raw gradient needs nothing else to be known."""
    return replace(plan, settings=replace(plan.settings, direction="gradient"))


@pytest.mark.parametrize("name", INNER)
def test_what_is_known_is_what_evaluating_gives(
    known_of: Callable[[str], Known], name: str
) -> None:
    known = known_of(name)
    ray, images = known.ray, known.search_set
    steps = [ray.first * factor for factor in (0.5, 2.0, 5.0)]
    for step in steps:
        assert known.measure(step) == images.measure(ray.layer, ray.at(step))
    assert known.steps == (0.0, *steps)
    told = known.path(steps[-1])
    for step in steps:
        assert torch.equal(told.at(step), images.replay.features(ray.layer, ray.at(step)))
    assert not torch.equal(known.at(steps[0]), known.at(steps[-1]))  # control


def test_a_step_is_measured_once(
    known_of: Callable[[str], Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, counted = known_of(INNER[0]), []
    measure = SearchSet.measure_features

    def count(images: SearchSet, tower: str, features: Tensor) -> Any:
        counted.append(tower)
        return measure(images, tower, features)

    monkeypatch.setattr(SearchSet, "measure_features", count)
    step = known.ray.first
    measures = known.measure(step)
    assert known.measure(step) is measures and known.measured() == [(step, measures)]
    assert len(counted) == 1
    known.measure(2 * step)  # control: another step is another measurement
    assert len(counted) == 2


@pytest.mark.parametrize("name", INNER)
def test_a_curve_is_within_its_stated_error(known_of: Callable[[str], Known], name: str) -> None:
    known = known_of(name)
    ray, images = known.ray, known.search_set
    reach = find_reach(known, Goal.of(slsgu.Settings(confidence=0)), 10)
    traced = trace(known, reach)
    assert traced is not None and traced.path.steps[-1] == reach
    steps = reach * np.arange(1, 21) / 20
    told = known.answers(traced.path, steps)
    true = np.stack([
        images.answers(ray.layer.tower, images.replay.features(ray.layer, ray.at(float(step))))
        .predicted
        for step in steps
    ])  # fmt: skip
    differ = (told != true).any(axis=2).sum(axis=1)
    assert (differ <= wilson(traced.differs, traced.images)[1] * traced.images).mean() >= 0.9
    assert (true != true[:1]).any()  # control: answers do change along the way
    accuracies = along(images, ray.layer.tower, traced.path, steps).forget_accuracy
    assert accuracies[-1] == known.measure(reach).forget_accuracy


def test_a_layer_that_does_not_interpolate_is_noticed(
    known_of: Callable[[str], Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_of(INNER[0])
    ray, images = known.ray, known.search_set
    assert trace(known_of(INNER[0]), ray.first) is not None  # control
    features = images.replay.features

    def torn(layer: Any, weight: Tensor) -> Tensor:
        """Turned another way at every step."""
        found = features(layer, weight)
        turn = torch.Generator().manual_seed(int(1e9 * float(weight.double().norm()) % 2**31))
        return found + 20 * found.norm() * torch.randn(found.shape, generator=turn)

    monkeypatch.setattr(images.replay, "features", torn)
    assert trace(known, ray.first) is None


def test_the_concept_s_own_images_say_where_it_is_gone(
    known_of: Callable[[str], Known],
) -> None:
    known = known_of(INNER[0])
    goal, alone = Goal.of(slsgu.Settings(confidence=0)), known.search_set.concept
    assert 0 < len(alone.exam.leaves) < len(known.search_set.exam.leaves)
    alone.replay.prepare(known.ray.layer)
    few = Known(alone, known.ray)
    reach = find_reach(few, goal, 8)
    assert reach == find_reach(known, goal, 8)
    assert few.measure(reach).forget_accuracy == known.measure(reach).forget_accuracy
    assert goal.lasts(known.measure(reach)) and not goal.lasts(known.measure(reach / 2))


@pytest.mark.parametrize("name", INNER)
def test_what_is_reported_of_a_step_was_evaluated(plan: slsgu.Plan, name: str) -> None:
    """The measures of the chosen step are those of the whole model with the patch applied."""
    settings = replace(plan.settings, layer=name)
    outcome = slsgu.run_plan(replace(plan, settings=settings))
    task, trace_ = outcome.task, outcome.trace
    assert trace_ is not None
    (candidate,) = trace_.candidates
    assert candidate.curve is not None and candidate.curve.evaluations and not candidate.exact
    whole = evaluate(
        task.clip, task.splits.search, task.taxonomy, task.templates, reading=task.reading,
        seed=task.seed, request=task.request, patch=outcome.edit.patch,
    )  # fmt: skip
    for key in ("after", "kept_ratios", "q_u", "forget_accuracy"):
        assert getattr(outcome.measures, key) == getattr(whole.measures, key)
    others = [trial for trial in candidate.trials if trial is not trace_.chosen]
    assert any(trial.measures.after != whole.measures.after for trial in others)  # control
