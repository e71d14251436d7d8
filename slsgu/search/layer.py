"""The search on one layer: its starts, the path along which its features move, and the steps tried
on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from slsgu.evaluation.closed_form import Line
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.search_set import SearchSet
from slsgu.evaluation.summary import Floats
from slsgu.search.choice import EASED, NEAR, Trial, choose, easier_to_find, harder_to_find, ruins
from slsgu.search.curve import Known, WholeCurve, choose_step, confirmed, find_reach, trace
from slsgu.search.goal import Goal
from slsgu.search.pareto import LayerScore
from slsgu.search.ray import Ray, parallel_lines
from slsgu.search.start import LESS, Start, dials_of
from slsgu.search.step import search_step
from slsgu.task.plan import Plan
from slsgu.task.settings import ONTO, MethodSettings

DRAWN = 25  # points at which an exact curve is measured
TRIED = 240  # steps at which it is asked whether the target holds on unseen images: 4 % apart
SHORTEST = 1 / 32  # of the first step that doubling would try
SHOWN = 48  # steps at which a whole curve is recorded


@dataclass(frozen=True)
class Candidate:
    """A layer that was searched: its scores, its trials, or why it was passed over.

    Attributes:
        trials: steps that were evaluated truly.
        exact: whether the curve was known in closed form, so that `trials` only sample it.
        curve: what the search images say of every step; None where that is not known.
        part: how many search images the trials were measured on, for a layer that lost on a part
            of them; None for all.
        curve_part: how many search images the curve was made from, where it is of a part of them;
            None for all.
    """

    score: LayerScore
    trials: tuple[Trial, ...] = ()
    passed_over: str | None = None
    exact: bool = False
    curve: WholeCurve | None = None
    part: int | None = None
    curve_part: int | None = None

    @property
    def final(self) -> tuple[Trial, ...]:
        """The trials among which the choice is made: those on all search images."""
        return self.trials if self.part is None else ()

    def to_json(self, best: Trial | None) -> dict[str, Any]:
        row = self.score.to_json() | {
            "trials": len(self.trials),
            "passed_over": self.passed_over,
            "exact": self.exact,
            "part": self.part,
            "curve_part": self.curve_part,
            "error": None if self.curve is None else self.curve.error,
            "curve": [trial.to_json() for trial in sorted(self.trials, key=lambda t: t.step)],
            "whole_curve": None if self.curve is None else self.curve.to_json(),
        }
        return row | ({"step_size": None} if best is None else best.to_json())


Tried: TypeAlias = tuple[Ray, Line | None, Candidate]


def search_layer(
    plan: Plan,
    search_set: SearchSet,
    base: Ray,
    start: Start | None,
    score: LayerScore,
    goal: Goal,
) -> tuple[Ray, Candidate]:
    """Search one layer from each start, and without one where none of these meets the goal. What
    was asked for is done as it was. The ray of the best step is returned, and what was found on it.
    """
    settings, tried, asked_of_steps = plan.settings, list[Tried](), goal
    if start is not None:
        sure = tried = _search_starts(plan, search_set, base, start, score, goal)
        eased = [replace(goal, confidence=x) for x in EASED if x < goal.confidence]
        while goal.name == "remove" and _all_easier(tried, asked_of_steps) and eased:
            asked_of_steps = eased.pop(0)
            tried = _search_starts(plan, search_set, base, start, score, asked_of_steps)
        if asked_of_steps is not goal and _all_easier(tried, asked_of_steps):
            tried, asked_of_steps = sure, goal
    asked = settings.merge is not None or settings.unname is not None
    if not tried or not (asked or _met(tried, goal)):
        line = base.line(search_set)
        tried.append((base, line, search_candidate(plan, search_set, base, line, score, goal)))
    best = {number: choose(x.trials, goal) for number, (*_, x) in enumerate(tried) if x.trials}
    if not best:
        return base, tried[-1][-1]
    chosen = choose(list(best.values()), goal)
    ray, line, candidate = tried[next(n for n, trial in best.items() if trial is chosen)]
    if line is not None and len(candidate.trials) == 1:  # now with the curve around its step
        candidate = search_candidate(plan, search_set, ray, line, score, asked_of_steps)
    return ray, candidate


def _search_starts(
    plan: Plan, search_set: SearchSet, base: Ray, start: Start, score: LayerScore, goal: Goal
) -> list[Tried]:
    """Search one layer from each dial of a start; where taking the name costs more than `NEAR` of
    Q-U, or ruins a class, also of starts that take a part of it, or leave it to the step."""
    tried = _search_from(plan, search_set, base, start, score, goal)
    asked = not (start.names and start.merges) or plan.settings.unname
    if asked or _any_spares(tried, goal):
        return tried
    for other in (replace(start, taken=LESS), replace(start, names=None)):
        tried = tried + _search_from(plan, search_set, base, other, score, goal)
        if _any_spares(tried, goal):
            break
    return tried


def _any_spares(tried: Sequence[Tried], goal: Goal) -> bool:
    """Whether a step holds that costs little of everything else, and ruins no class."""
    return any((x.q_u or 0.0) >= 1 - NEAR and not ruins(x) for x in _holding(tried, goal))


def _all_easier(tried: Sequence[Tried], goal: Goal) -> bool:
    """Whether steps hold, and after all of them a few images surely find the concept more easily
    than before."""
    holding = _holding(tried, goal)
    return bool(holding) and all(easier_to_find(measures) for measures in holding)


def _holding(tried: Sequence[Tried], goal: Goal) -> list[Measures]:
    """The measures of every step that holds."""
    return [x.measures for *_, c in tried for x in c.trials if goal.holds(x.measures)]


def _search_from(
    plan: Plan, search_set: SearchSet, base: Ray, start: Start, score: LayerScore, goal: Goal
) -> list[Tried]:
    """Search one layer from each dial of a start. A concept is merged with the mean of its
    siblings; where what is best among these does not make it harder to find, or no step holds at
    any dial, with the nearest of them. Where that does not either, all of them count."""
    every: list[Tried] = []
    for onto in start.merges or ONTO[:1]:
        rays = [base.from_start(start, dial, onto) for dial in dials_of(plan.settings, start)]
        lines = parallel_lines(search_set, rays)
        tried = [
            (ray, line, search_candidate(plan, search_set, ray, line, score, goal, drawn=False))
            for ray, line in zip(rays, lines, strict=True)
        ]
        every += tried
        holding = [x for *_, found in tried for x in found.trials if goal.holds(x.measures)]
        if holding and harder_to_find(choose(holding, goal).measures, goal):
            return tried
    return every


def _met(tried: Sequence[Tried], goal: Goal) -> bool:
    """Whether any step meets the goal."""
    return any(goal.met(trial.measures) for *_, found in tried for trial in found.trials)


def search_candidate(
    plan: Plan,
    search_set: SearchSet,
    ray: Ray,
    line: Line | None,
    score: LayerScore,
    goal: Goal,
    *,
    drawn: bool = True,
) -> Candidate:
    """Directional check and step search on one layer; every trial is kept.

    Args:
        line: on which features move along the ray, if they do.
        drawn: whether a curve that is known exactly gets steps to draw it by.
    """
    settings = plan.settings
    if not ray.moves:
        return Candidate(score, passed_over="its direction is zero")
    search_set.replay.prepare(ray.layer)
    if not ray.rises(search_set if line is not None else concept_images(search_set, ray), line):
        return Candidate(score, passed_over="a small step does not raise the forget loss")
    if settings.step is not None or settings.search == "paper":
        return Candidate(score, _trials(ray, _plain(settings, search_set, ray, line)))
    if line is not None:
        return _on_line(settings, search_set, ray, line, score, goal, drawn)
    if search_set.probe is not None:
        return _by_steps(settings, search_set, ray, score, goal)
    return _on_curve(settings, search_set, ray, score, goal)


def _plain(
    settings: MethodSettings, search_set: SearchSet, ray: Ray, line: Line | None
) -> list[tuple[float, Measures]]:
    """A step that is fixed, or those of the published search."""

    def evaluate(step: float) -> Measures:
        if line is not None:
            return search_set.measure_features(ray.layer.tower, line.at(step))
        return search_set.measure(ray.layer, ray.at(step))

    if settings.step is not None:
        return [(settings.step, evaluate(settings.step))]
    return search_step(
        evaluate, ray.first, reached=lambda m: m.forget_fine_after == 0, trials=settings.trials
    )


def _by_steps(
    settings: MethodSettings, search_set: SearchSet, ray: Ray, score: LayerScore, goal: Goal
) -> Candidate:
    """Doubled and bisected, each step evaluated truly: what a larger system reads is hidden states,
    which are not interpolated."""
    tried = search_step(
        lambda step: search_set.measure(ray.layer, ray.at(step)),
        ray.first,
        reached=goal.lasts,
        trials=settings.trials,
    )
    return Candidate(score, _trials(ray, sorted(tried, key=lambda pair: pair[0])))


def _on_line(
    settings: MethodSettings,
    search_set: SearchSet,
    ray: Ray,
    line: Line,
    score: LayerScore,
    goal: Goal,
    drawn: bool,
) -> Candidate:
    """The step to take on the exact curve, and, if wanted, some to draw it by."""
    tower, steps = ray.layer.tower, _steps(settings, ray)
    best = choose_step(search_set, tower, line, steps, goal)
    others = np.geomspace(ray.first / 4, steps[-1], DRAWN if drawn else 0)
    tried = [
        (float(step), search_set.measure_features(tower, line.at(float(step))))
        for step in np.unique(np.append(others, best.step))
    ]
    shown = WholeCurve.of(ray, steps, best.summary, SHOWN) if drawn else None
    return Candidate(score, _trials(ray, tried), exact=True, curve=shown)


def _on_curve(
    settings: MethodSettings, search_set: SearchSet, ray: Ray, score: LayerScore, goal: Goal
) -> Candidate:
    """The step to take on the interpolated curve, evaluated truly, and every other evaluation.
    Where the layer does not interpolate, the evaluations are all there is."""
    known = Known(search_set, ray)
    alone = concept_images(search_set, ray)
    concept = known if alone is search_set else Known(alone, ray)
    # Images of the concept are few, and cost little; prompts are run for all images alike.
    reach = find_reach(concept, goal, settings.trials, bisect=concept is not known)
    traced = trace(known, reach)
    if traced is None:
        if concept is known:  # only doubled so far
            find_reach(known, goal, settings.trials)
        return Candidate(score, _trials(ray, known.measured()))
    steps = _steps(settings, ray, reach)
    best = choose_step(search_set, ray.layer.tower, traced.path, steps, goal)
    longer = [float(step) for step in steps[steps >= best.step]]
    known.at(confirmed(concept, goal, longer) if best.holds else best.step)
    shown = WholeCurve.of(ray, steps, best.summary, SHOWN, traced)
    return Candidate(score, _trials(ray, known.measured()), curve=shown)


def concept_images(search_set: SearchSet, ray: Ray) -> SearchSet:
    """The images on which it is seen whether the target is reached: the concept's own, prepared for
    the layer, where images move and there are others."""
    if ray.layer.tower == "language" or search_set.exam.forget.all():
        return search_set
    search_set.concept.replay.prepare(ray.layer)
    return search_set.concept


def _steps(settings: MethodSettings, ray: Ray, reach: float | None = None) -> Floats:
    """Steps on a curve, ascending: as far as doubling would have come, or to a reach, the last."""
    limit = math.ldexp(ray.first, settings.trials - 1)
    steps = np.geomspace(SHORTEST * ray.first, limit, TRIED)
    return steps if reach is None else np.append(steps[steps < 0.99 * reach], reach)


def _trials(ray: Ray, tried: Sequence[tuple[float, Measures]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(ray.layer.name, step, ray.relative(step), measures, ray.merge, ray.onto, ray.unnamed)
        for step, measures in tried
    )
