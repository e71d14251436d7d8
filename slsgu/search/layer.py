"""The search on one layer: its starts, the line along which it moves, and the steps tried on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from slsgu.evaluation.closed_form import Line, exact_curve
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.search_set import SearchSet
from slsgu.search.choice import Trial, choose
from slsgu.search.goal import Goal
from slsgu.search.pareto import LayerScore
from slsgu.search.ray import Ray, parallel_lines
from slsgu.search.start import DIALS, Start
from slsgu.search.step import search_step
from slsgu.task.plan import Plan
from slsgu.task.settings import MethodSettings

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


def search_layer(
    plan: Plan,
    search_set: SearchSet,
    base: Ray,
    start: Start | None,
    score: LayerScore,
    goal: Goal,
) -> tuple[Ray, Candidate]:
    """Search one layer from each start, and without one where no step from any meets the goal and
    nobody asked for a start.

    Returns:
        The ray whose best step is chosen, and what was found on it.
    """
    if float(base.direction.norm()) == 0:
        return base, Candidate(score, passed_over="its direction is zero")
    dials = () if start is None else dials_of(plan.settings, start)
    rays = [base.from_start(start, dial) for dial in dials if start is not None]
    lines = parallel_lines(search_set, rays) if rays else []
    tried = [
        (
            ray,
            line,
            search_candidate(plan, search_set, ray, line, score, goal, drawn=False),
        )
        for ray, line in zip(rays, lines, strict=True)
    ]
    met = any(goal.met(trial.measures) for *_, found in tried for trial in found.trials)
    asked = plan.settings.merge is not None or plan.settings.unname is not None
    if not rays or not (met or asked):
        line = base.line(search_set)
        tried.append((base, line, search_candidate(plan, search_set, base, line, score, goal)))
    best = {number: choose(x.trials, goal) for number, (*_, x) in enumerate(tried) if x.trials}
    if not best:
        return base, tried[-1][-1]
    chosen = choose(list(best.values()), goal)
    ray, line, candidate = tried[next(n for n, trial in best.items() if trial is chosen)]
    if line is not None and len(candidate.trials) == 1:  # now with the curve around its step
        candidate = search_candidate(plan, search_set, ray, line, score, goal)
    return ray, candidate


def dials_of(settings: MethodSettings, start: Start) -> tuple[float, ...]:
    """How far to merge: what was asked for, or else what is tried to remove a concept."""
    if start.whole is None:
        return (0.0,)
    return DIALS if settings.merge is None else (settings.merge,)


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
    search_set.replay.prepare(ray.layer)
    if not ray.rises(search_set, line):
        return Candidate(score, passed_over="a small step does not raise the forget loss")

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
        trials = _trials_on_line(settings, search_set, ray, line, goal, drawn)
        return Candidate(score, trials, exact=True)
    else:
        tried = search_step(
            evaluate,
            ray.first,
            reached=goal.lasts,
            trials=settings.trials,
        )
    return Candidate(score, _trials(ray, sorted(tried, key=lambda pair: pair[0])))


def _trials_on_line(
    settings: MethodSettings,
    search_set: SearchSet,
    ray: Ray,
    line: Line,
    goal: Goal,
    drawn: bool,
) -> tuple[Trial, ...]:
    """The step to take on the exact curve, and, if wanted, some to draw it by."""
    limit = math.ldexp(ray.first, settings.trials - 1)  # as doubling would have come
    curve = exact_curve(line, search_set.exam, search_set.classes, search_set.before, limit)
    steps = np.geomspace(SHORTEST * ray.first, limit, TRIED)
    places = np.minimum(np.searchsorted(curve.edges, steps, side="right"), len(curve.steps)) - 1
    met, q_u = goal.met_along(curve.summary)[places], np.nan_to_num(curve.summary.q_u)[places]
    forget = line.rows(torch.from_numpy(search_set.exam.forget).to(line.base.device))

    def likely(step: float) -> float:
        unseen = search_set.unseen(forget.at(step), search_set.classes)
        return 1.0 if unseen is None else unseen.probability(goal.target)

    best = _first_or_most(steps[met], likely, goal.confidence) if met.any() else steps[q_u.argmax()]
    others = np.geomspace(ray.first / 4, limit, DRAWN if drawn else 0)
    chosen = np.unique(np.append(others, best))
    return _trials(ray, [(float(x), search_set.measure_line(line, float(x))) for x in chosen])


def _first_or_most(
    steps: npt.NDArray[np.float64], likely: Callable[[float], float], enough: float
) -> float:
    """The first step that is likely enough; of all the likeliest where none is. Steps beyond the
    first are not asked about."""
    asked = []
    for step in steps:
        asked.append(likely(step))
        if asked[-1] >= enough:
            return float(step)
    return float(steps[np.argmax(asked)])


def _trials(ray: Ray, tried: Sequence[tuple[float, Measures]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(ray.layer.name, step, ray.relative(step), measures, ray.merge)
        for step, measures in tried
    )
