"""Before a step: a concept is merged as far as asked, and its name scores as its siblings do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

import slsgu
import slsgu.search.start as start_module
from slsgu.direction.kfac import KroneckerFisher
from slsgu.evaluation.found import Found
from slsgu.evaluation.search_set import SearchSet
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.search import candidates as candidates_module
from slsgu.search import layer as layer_module
from slsgu.search.choice import choose
from slsgu.search.goal import Goal
from slsgu.search.pooled import LastProjection, PooledFeatures, mean_differences
from slsgu.search.ray import Ray
from slsgu.search.start import DIALS, Start, name_differences, whole_merges
from slsgu.task.plan import Plan
from slsgu.task.settings import ONTO, MergeOnto


@pytest.fixture
def make(taught: Clip, photos: Path) -> Callable[..., Plan]:
    """Plans on the taught model and the photographs."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}

    def plan(*concepts: str, **settings: Any) -> Plan:
        chosen = slsgu.Settings(layer="visual.proj", force=True, **settings)
        return slsgu.make_plan(taught, concepts, settings=chosen, **where)

    return plan


@pytest.fixture
def prepared(
    make: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, Start | None]]:
    """Runs a plan; returns its search set and the start that its search was given."""

    def run(*concepts: str, **settings: Any) -> tuple[Any, Start | None]:
        seen: list[tuple[Any, Start | None]] = []
        of = Start.of

        def watched(plan: Plan, layer: Any, fisher: Any, search_set: Any) -> Start | None:
            seen.append((search_set, of(plan, layer, fisher, search_set)))
            return seen[-1][1]

        monkeypatch.setattr(start_module.Start, "of", watched)
        slsgu.run_plan(make(*concepts, **settings))
        return seen[-1]

    return run


# -- the merge ------------------------------------------------------------------------------------


def moved(outcome: slsgu.Outcome) -> float:
    """How far the mean of the beagle's features is still from its siblings', after the patch."""
    task = outcome.task
    projection = LastProjection.of(task.clip)
    means = PooledFeatures.read(projection, task, task.ledger()).means
    apart = mean_differences(means, task.request).float()
    delta = outcome.edit.patch.delta["visual.proj"].T
    return float((projection.matrix.float() @ apart + delta @ apart).norm())


def test_the_search_begins_from_the_merged_projection(make: Callable[..., Plan]) -> None:
    """A fixed step of next to nothing shows the merge alone, and the patch says how far it was."""
    found = {}
    for dial in (0.0, 0.5, 1.0):
        outcome = slsgu.run_plan(make("beagle", step=1e-7, merge=dial))
        assert outcome.edit.patch.metadata["merge"] == dial
        assert outcome.edit.patch.metadata["unnamed"] == 0
        found[dial] = moved(outcome)
    assert found[0.5] == pytest.approx(found[0.0] / 2, rel=1e-3)
    assert found[1.0] < 1e-3 * found[0.0]


def test_only_the_last_projection_of_the_image_side_has_a_start(
    make: Callable[..., Plan], prepared: Callable[..., tuple[Any, Start | None]]
) -> None:
    search_set, _ = prepared("beagle")
    plan = make("beagle")
    projection = LastProjection.of(plan.task.clip)
    inputs = torch.eye(projection.layer.shape[0], dtype=torch.float64)
    outputs = torch.eye(projection.layer.shape[1], dtype=torch.float64)
    fisher = KroneckerFisher(inputs, outputs, transposed=True)
    text = next(x for x in inventory(plan.task.clip.model) if x.tower == "language" and x.last)
    inner = next(x for x in inventory(plan.task.clip.model) if x.tower == "vision" and not x.last)
    for layer, known in ((projection.layer, None), (text, fisher), (inner, fisher)):
        assert Start.of(plan, layer, known, search_set) is None
    start = Start.of(plan, projection.layer, fisher, search_set)  # control
    assert start is not None and start.at(0.5).shape == projection.layer.shape
    paper = make("beagle", search="paper")
    assert Start.of(paper, projection.layer, fisher, search_set) is None


def test_without_siblings_nothing_is_merged(make: Callable[..., Plan]) -> None:
    task = make("beagle").task
    projection = LastProjection.of(task.clip)
    inputs = torch.eye(projection.matrix.shape[1], dtype=torch.float64)
    fisher = KroneckerFisher(inputs, inputs, transposed=True)
    alone = replace(task, splits=replace(task.splits, gradient=task.forget_samples))
    assert whole_merges(alone, projection, fisher) == {}
    wholes = whole_merges(task, projection, fisher)  # control
    assert list(wholes) == ["siblings"] and wholes["siblings"].any()  # the pug is the only one


def test_onto_the_nearest_a_concept_is_seen_as_the_sibling_most_like_it(
    taught: Clip, photos: Path
) -> None:
    task = slsgu.make_plan(taught, ["beagle"], data=photos / "images").task  # all are siblings
    projection = LastProjection.of(task.clip)
    means = PooledFeatures.read(projection, task, task.ledger()).means
    beagle = task.request.forget_leaves[0]
    likeness = {
        other: float(
            cosine_similarity(*projection.embed(torch.stack([means[beagle], mean])), dim=0)
        )
        for other, mean in means.items()
        if other in task.request.siblings(beagle)
    }
    nearest = max(likeness, key=likeness.__getitem__)
    assert len(likeness) > 1
    inputs = torch.eye(projection.matrix.shape[1], dtype=torch.float64)
    wholes = whole_merges(task, projection, KroneckerFisher(inputs, inputs, transposed=True))
    apart = means[beagle] - means[nearest]
    there = {onto: (projection.matrix + whole) @ apart for onto, whole in wholes.items()}
    scale = float((projection.matrix @ apart).norm())
    assert float(there["nearest"].norm()) < 1e-9 * scale
    assert float(there["siblings"].norm()) > 1e-3 * scale  # control: onto their mean is elsewhere


@pytest.mark.parametrize("onto", ONTO)
def test_whoever_says_what_to_merge_with_gets_it(make: Callable[..., Plan], onto: str) -> None:
    outcome = slsgu.run_plan(make("beagle", merge=0.5, merge_onto=onto))
    assert outcome.edit.patch.metadata["merge_onto"] == onto


def test_a_concept_found_at_the_mean_of_its_siblings_is_merged_with_the_nearest(
    taught: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How often a few images find it is set by hand, by what the concept was merged with."""
    settings = slsgu.Settings(layer="visual.proj", force=True)
    share = {"siblings": 1.0, "nearest": 0.5}

    now = {}
    from_start = Ray.from_start

    def watched(ray: Ray, start: Start, dial: float, onto: MergeOnto = "siblings") -> Ray:
        now["found"] = share[onto]
        return from_start(ray, start, dial, onto)

    monkeypatch.setattr(Ray, "from_start", watched)
    monkeypatch.setattr(Goal, "holds", lambda goal, measures: True)
    found = Found(1.0, 1.0, 20, 0.1)
    monkeypatch.setattr(SearchSet, "found", lambda *_: replace(found, after=now["found"]))

    def merged_onto() -> object:
        plan = slsgu.make_plan(taught, ["beagle"], data=photos / "images", settings=settings)
        return slsgu.run_plan(plan).edit.patch.metadata["merge_onto"]

    assert merged_onto() == "nearest"
    share["siblings"] = 0.5  # control
    assert merged_onto() == "siblings"


def test_a_merge_that_is_not_asked_for_reads_no_images(
    make: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    found = start_module.whole_merges
    monkeypatch.setattr(
        start_module, "whole_merges", lambda *given: read.append(1) or found(*given)
    )
    for settings, times in (({"merge": 0.0}, 0), ({"goal": "suppress"}, 0), ({}, 1)):
        outcome = slsgu.run_plan(make("beagle", **settings))
        assert len(read) == times, settings
        if not times:
            assert outcome.edit.patch.metadata["merge"] == 0


# -- the name -------------------------------------------------------------------------------------


def scores(start: Start, differences: Tensor, inputs: Tensor, dial: float) -> Tensor:
    """U'(W h + b) of features h [n, i] after a start."""
    delta = start.at(dial)
    weight = start.projection.matrix + (delta.T if start.projection.transposed else delta)
    embeddings = inputs @ weight.T
    if start.projection.bias is not None:
        embeddings = embeddings + start.projection.bias
    return embeddings @ differences


def test_a_name_scores_what_its_siblings_score_on_average_for_every_image(
    prepared: Callable[..., tuple[Any, Start | None]],
) -> None:
    _, start = prepared("beagle")
    assert start is not None and start.names is not None and start.projection.bias is None
    differences = start.names.differences
    inputs = torch.randn(20, start.projection.matrix.shape[1], dtype=torch.float64)
    for dial in DIALS:
        assert float(scores(start, differences, inputs, dial).abs().max()) < 1e-9
    kept = replace(start, names=None)  # control
    assert float(scores(kept, differences, inputs, 0.5).abs().max()) > 1e-3


def test_the_names_of_a_group_and_of_all_below_it_are_taken(
    prepared: Callable[..., tuple[Any, Start | None]],
) -> None:
    search_set, _ = prepared("dog")
    differences = name_differences(search_set)
    forgotten = [int(x.sum()) for x in search_set.exam.forgotten_classes]
    assert differences is not None and min(forgotten) > 0
    assert differences.shape[1] == sum(forgotten)
    search_set, _ = prepared("beagle")  # control: the level above keeps its names
    alone = name_differences(search_set)
    assert alone is not None and alone.shape[1] == 1


def test_no_name_is_taken_where_nobody_asks(
    prepared: Callable[..., tuple[Any, Start | None]],
) -> None:
    _, start = prepared("beagle", unname=False)
    assert start is not None and start.names is None
    _, start = prepared("beagle", unname=False, goal="suppress")
    assert start is None


@pytest.mark.parametrize("cheap", [False, True])
def test_where_taking_the_name_costs_much_starts_that_leave_it_are_searched_too(
    taught: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch, cheap: bool
) -> None:
    """What taking the name costs is set by hand."""
    begun: list[Ray] = []
    from_start = Ray.from_start

    def watched(ray: Ray, start: Start, *args: Any) -> Ray:
        begun.append(from_start(ray, start, *args))
        return begun[-1]

    monkeypatch.setattr(Ray, "from_start", watched)
    monkeypatch.setattr(layer_module, "_any_spares", lambda *tried: cheap)
    settings = slsgu.Settings(layer="visual.proj")
    plan = slsgu.make_plan(taught, ["beagle"], data=photos / "images", settings=settings)
    assert slsgu.run_plan(plan).edit.patch is not None
    assert any(ray.unnamed for ray in begun)
    assert any(0 < ray.unnamed < 1 for ray in begun) is not cheap
    assert any(not ray.unnamed for ray in begun) is not cheap


@pytest.mark.parametrize("chosen_ruins", [False, True])
def test_no_layer_is_passed_over_while_the_choice_so_far_ruins_a_class(
    taught: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch, chosen_ruins: bool
) -> None:
    """Another step may spare all classes: it is the choice that counts. What ruins is set by
    hand."""
    chosen: list[Any] = []

    def watched(trials: Any, goal: Any) -> Any:
        chosen.append(choose(trials, goal).measures)
        return choose(trials, goal)

    monkeypatch.setattr(candidates_module, "choose", watched)
    monkeypatch.setattr(
        candidates_module, "ruins", lambda found: chosen_ruins and any(found is x for x in chosen)
    )
    plan = slsgu.make_plan(taught, ["beagle"], data=photos / "images")
    trace = slsgu.run_plan(plan).trace
    assert trace is not None and chosen
    passed = [x for x in trace.candidates if "cheaper to search" in (x.passed_over or "")]
    assert bool(passed) is not chosen_ruins
