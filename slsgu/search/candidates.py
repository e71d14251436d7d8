"""Candidate layers, and the step search on each: the glue between gradients, replay and search."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from slsgu.direction.direction import DIRECTIONS
from slsgu.direction.kfac import KroneckerFisher
from slsgu.errors import SlsguError
from slsgu.evaluation.closed_form import Line, exact_curve
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.gradients import Gradients
from slsgu.models.layers import Layer, inventory
from slsgu.search.choice import Trial
from slsgu.search.curvature import kept_fisher
from slsgu.search.goal import Goal
from slsgu.search.pareto import LayerScore
from slsgu.search.pooled import whole_merge
from slsgu.search.ray import Ray
from slsgu.search.readable import check_readable
from slsgu.search.step import search_step
from slsgu.task.plan import Plan
from slsgu.task.settings import MethodSettings
from slsgu.utils.progress import Advance

SATISFIED = 0.995  # Q-U on the search split that counts as near-perfect
DRAWN = 25  # points at which an exact curve is drawn
TRIED = 240  # steps at which it is asked whether the target holds on unseen images: 6 % apart
SHORTEST = 1 / 32  # of the first step that doubling would try


@dataclass(frozen=True)
class Candidate:
    """A layer that was searched: its scores, its trials, or why it was passed over.

    Attributes:
        exact: whether the curve was known in closed form, so that `trials` only sample it.
    """

    score: LayerScore
    trials: tuple[Trial, ...] = ()
    passed_over: str | None = None
    exact: bool = False

    def to_json(self, best: Trial | None) -> dict[str, Any]:
        row = self.score.to_json() | {
            "trials": len(self.trials),
            "passed_over": self.passed_over,
            "exact": self.exact,
            "curve": [trial.to_json() for trial in sorted(self.trials, key=lambda t: t.step)],
        }
        return row | ({"step_size": None} if best is None else best.to_json())


def pick_candidates(plan: Plan, scores: Sequence[LayerScore]) -> list[tuple[Layer, LayerScore]]:
    """The layers to search: the fronts of both towers and, by default, their last projections; or
    what an expert fixed. Last projections, which cost least, come first, then shallow to deep.

    Raises:
        SlsguError: the named layer does not exist, or cannot be edited.
    """
    layers = {layer.name: layer for layer in inventory(plan.task.clip.model, norms=True)}
    by_name = {score.layer: score for score in scores}
    settings = plan.settings
    paper = settings.search == "paper"
    fixed = check_choice(plan)
    if fixed is not None:
        chosen = [fixed]
    else:
        chosen = [
            layers[score.layer]
            for score in scores
            if settings.tower in (None, score.tower)
            and (score.on_front or (not paper and layers[score.layer].last))
        ]
    position = {name: index for index, name in enumerate(layers)}

    def place(layer: Layer) -> tuple[bool, bool, int, int]:
        block = -1 if layer.block is None else layer.block
        return not layer.last, layer.tower == "language", block, position[layer.name]

    return [(layer, by_name[layer.name]) for layer in sorted(chosen, key=place)]


def check_choice(plan: Plan) -> Layer | None:
    """The layer an expert fixed, if any. Cheap: a slip of the pen costs no pass over the images.

    Raises:
        SlsguError: the named layer does not exist, cannot be edited, is in the other tower, or is
            not read by the system that the patch is for.
    """
    settings = plan.settings
    check_readable(plan)
    if settings.layer is None:
        return None
    layers = {layer.name: layer for layer in inventory(plan.task.clip.model, norms=True)}
    chosen = find_layer(settings.layer, layers, f"--norms {plan.task.clip.typed}")
    if settings.tower not in (None, chosen.tower):
        raise SlsguError(
            f"layer {settings.layer} is in the {chosen.tower} tower, not {settings.tower}"
        )
    return chosen


def find_layer(name: str, layers: Mapping[str, Layer], typed: str = "") -> Layer:
    """A layer by its name in the model.

    Args:
        typed: the options that name the model on the command line.

    Raises:
        SlsguError: no such layer; close names are suggested.
    """
    if name in layers:
        return layers[name]
    matches = difflib.get_close_matches(name, layers, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    raise SlsguError(f"no editable layer {name!r}{hint}", see=f"slsgu layers {typed}".rstrip())


def search_candidates(
    plan: Plan,
    search_set: SearchSet,
    gradients: Gradients,
    picked: Sequence[tuple[Layer, LayerScore]],
    goal: Goal,
    advance: Advance,
) -> tuple[list[Candidate], dict[str, Ray]]:
    """Search every layer that was picked, in order.

    Once a last projection reaches a near-perfect Q-U, layers that cost more to search are passed
    over, unless the search is to be thorough. What the direction needs to know about layers
    is taken in one run for each tower, from where the shallowest of them was cut.

    Returns:
        The candidates, and the rays of those that were searched, by layer name.
    """
    settings = plan.settings
    candidates: list[Candidate] = []
    rays: dict[str, Ray] = {}
    blind = goal.is_blind(search_set.unchanged)
    may_stop = settings.search != "paper" and not settings.thorough and not blind
    for _, group in itertools.groupby(picked, key=lambda pair: (pair[0].last, pair[0].tower)):
        members = list(group)
        layers = [layer for layer, _ in members]
        trials = [trial for candidate in candidates for trial in candidate.trials]
        best = max((t.measures.q_u or 0.0 for t in trials if goal.holds(t.measures)), default=0.0)
        if may_stop and best >= SATISFIED and not layers[0].last:
            reason = f"a layer that is cheaper to search has a step that holds, with Q-U {best:.1%}"
            candidates += [Candidate(score, passed_over=reason) for _, score in members]
            advance(len(members))
            continue
        search_set.replay.prepare(layers[0])
        fishers: dict[str, KroneckerFisher] = {}
        if "curvature" in DIRECTIONS[settings.direction_used].needs:
            fishers = kept_fisher(search_set, layers, seed=plan.task.seed)
        for layer, score in members:
            fisher = fishers.get(layer.name)
            score = with_efficiency(score, gradients, fisher)
            dials = _dials(settings)
            merge = whole_merge(plan.task, layer, fisher) if any(dials) else None
            base = Ray.of(plan, layer, gradients, fisher)
            for dial in dials:
                ray = base if merge is None else base.from_merge(dial, merge)
                candidate = search_candidate(plan, search_set, ray, score, goal)
                if merge is None or any(goal.met(trial.measures) for trial in candidate.trials):
                    break
            rays[layer.name] = ray
            candidates.append(candidate)
            advance(1)
    return candidates, rays


def _dials(settings: MethodSettings) -> tuple[float, ...]:
    """How far to merge, in order: further only where no step from there meets the goal, and where
    nobody has said how far."""
    if settings.merge is not None or not settings.merge_used:
        return (settings.merge_used,)
    return settings.merge_used, 1.0


def with_efficiency(
    score: LayerScore, gradients: Gradients, fisher: KroneckerFisher | None
) -> LayerScore:
    """A score with the layer's forgetting per unit of harm, if its Fisher matrix is known."""
    if fisher is None:
        return score
    return replace(score, efficiency=fisher.efficiency(gradients.forget[score.layer]))


def search_candidate(
    plan: Plan, search_set: SearchSet, ray: Ray, score: LayerScore, goal: Goal
) -> Candidate:
    """Directional check and step search on one layer; every trial is kept."""
    settings = plan.settings
    if float(ray.direction.norm()) == 0:
        return Candidate(score, passed_over="its direction is zero")
    search_set.replay.prepare(ray.layer)
    if not ray.rises(search_set):
        return Candidate(score, passed_over="a small step does not raise the forget loss")
    line = ray.line(search_set)

    def evaluate(step: float) -> Measures:
        if line is not None:
            return search_set.measure_line(line, step)
        return search_set.measure(ray.layer, ray.at(step))

    if settings.step is not None:
        tried = [(settings.step, evaluate(settings.step))]
    elif settings.search == "paper":
        tried = search_step(
            evaluate,
            ray.first,
            reached=lambda m: m.forget_fine_after == 0,
            trials=settings.trials,
        )
    elif line is not None:
        return Candidate(score, _trials_on_line(settings, search_set, ray, line, goal), exact=True)
    else:
        tried = search_step(
            evaluate,
            ray.first,
            reached=goal.lasts,
            trials=settings.trials,
        )
    return Candidate(score, _trials(ray, sorted(tried, key=lambda pair: pair[0])))


def _trials_on_line(
    settings: MethodSettings, search_set: SearchSet, ray: Ray, line: Line, goal: Goal
) -> tuple[Trial, ...]:
    """The step to take on the exact curve, and some to draw it by."""
    limit = math.ldexp(ray.first, settings.trials - 1)  # as doubling would have come
    curve = exact_curve(line, search_set.exam, search_set.classes, search_set.before, limit)
    steps = np.geomspace(SHORTEST * ray.first, limit, TRIED)
    places = np.minimum(np.searchsorted(curve.edges, steps, side="right"), len(curve.steps)) - 1
    met, q_u = goal.met_along(curve.summary)[places], np.nan_to_num(curve.summary.q_u)[places]
    forget = line.rows(torch.from_numpy(search_set.exam.forget).to(line.base.device))
    estimates = [search_set.unseen(forget.at(step), search_set.classes) for step in steps[met]]
    likely = np.array([1.0 if x is None else x.probability(goal.target) for x in estimates])
    if not met.any():
        best = steps[np.argmax(q_u)]
    elif (likely >= goal.confidence).any():
        best = steps[met][np.argmax(likely >= goal.confidence)]  # the first
    else:
        best = steps[met][np.argmax(likely)]
    drawn = np.geomspace(ray.first / 4, limit, DRAWN)
    chosen = np.unique(np.append(drawn, best))
    return _trials(ray, [(float(x), search_set.measure_line(line, float(x))) for x in chosen])


def _trials(ray: Ray, tried: Sequence[tuple[float, Measures]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(ray.layer.name, step, ray.relative(step), measures) for step, measures in tried
    )
