"""Step-size search (Algorithm 3) and the choice of layer and step. Pure Python: a callable in,
trials out; nothing here knows what a model is, or has one to ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from slsgu.evaluation.metrics import WORDS, Floats, Measures, Summary

T = TypeVar("T")
WINDOW = 1.5  # how far around a step its Q-U is averaged, as a factor
RESOLUTION = 0.25  # how close the steps tried come, so that what is averaged was measured


@dataclass(frozen=True)
class Trial:
    """One step size tried on one layer, with what the search split said.

    Attributes:
        relative_step: length of the step as a share of the norm of the layer.
        steady: Q-U around this step (`steadied`), which says more about unseen images than the
            Q-U at the step itself.
    """

    layer: str
    step: float
    relative_step: float
    measures: Measures
    steady: float

    def to_json(self) -> dict[str, Any]:
        m = self.measures
        return {
            "step_size": self.step,
            "relative_step": self.relative_step,
            "forget_accuracy": m.forget_accuracy,
            "retained_accuracy": m.after["retain_fine"],
            "quality": m.quality,
            "utility": m.utility,
            "q_u": m.q_u,
            "q_u_around": self.steady,
        }


def search_step(
    evaluate: Callable[[float], T],
    first: float,
    *,
    reached: Callable[[T], bool],
    trials: int = 10,
) -> list[tuple[float, T]]:
    """Algorithm 3: double the step until the forget target is reached, then bisect.

    Args:
        evaluate: measures the model at a step size.
        first: the first step size tried, positive.
        reached: whether the forget target is reached; the paper's is a forget accuracy of 0.
        trials: K, how many steps are tried.

    Returns:
        Every step tried, in order, with its measures.

    >>> steps = search_step(lambda x: x, 1.0, reached=lambda x: x >= 5, trials=6)
    >>> [step for step, _ in steps]
    [1.0, 2.0, 4.0, 8.0, 6.0, 5.0]
    """
    assert first > 0 and math.isfinite(first), first
    low, high, step = 0.0, math.inf, first
    tried: list[tuple[float, T]] = []
    while len(tried) < trials:
        measures = evaluate(step)
        tried.append((step, measures))
        if reached(measures):
            high = step
        else:
            low = step
        step = 2 * step if high == math.inf else (low + high) / 2
    return tried


def explore_step(
    evaluate: Callable[[float], T],
    first: float,
    *,
    enough: Callable[[T], bool],
    score: Callable[[T], Any],
    trials: int = 10,
    resolution: float = RESOLUTION,
) -> list[tuple[float, T]]:
    """The default search: double the step until there is enough of it, then close in on the best.

    Each step after the doubling lies halfway (geometrically) between the best one so far and its
    farther neighbour, so the bracket around the best shrinks from both sides.

    Args:
        evaluate: measures the model at a step size.
        first: the first step size tried, positive.
        enough: whether a longer step has nothing to offer: the target is reached, or too much is
            lost already.
        score: the higher, the better.
        trials: how many steps are tried at most.
        resolution: stop once both neighbours are within this share of the best step.

    Returns:
        Every step tried, in order, with its measures.

    >>> steps = explore_step(lambda x: x, 1.0, enough=lambda x: x >= 5, score=lambda x: -abs(x - 6),
    ...                      trials=6)
    >>> [round(step, 2) for step, _ in steps]
    [1.0, 2.0, 4.0, 8.0, 2.83, 5.66]
    """
    assert first > 0 and math.isfinite(first), first
    tried: list[tuple[float, T]] = []
    step = first
    while len(tried) < trials:
        tried.append((step, evaluate(step)))
        if enough(tried[-1][1]):
            break
        step *= 2
    while len(tried) < trials:
        best = max(tried, key=lambda pair: (score(pair[1]), -pair[0]))[0]
        below = max((s for s, _ in tried if s < best), default=best / 4)
        above = min((s for s, _ in tried if s > best), default=best * 4)
        farther = below if best / below >= above / best else above
        if max(best / farther, farther / best) <= 1 + resolution:
            break
        step = math.sqrt(best * farther)
        tried.append((step, evaluate(step)))
    return tried


def steadied(edges: Floats, values: Floats, steps: Floats) -> Floats:
    """The mean of a piecewise constant curve around each step: from `step / WINDOW` to
    `step * WINDOW`. Outside the edges the curve is 0.

    A step is chosen on few images. One in the middle of a wide plateau holds on others; one at
    the edge of a cliff does not, however high it stands.

    Args:
        edges: where the curve may change, ascending [E + 1].
        values: its height between them [E].
        steps: where to look [S].

    >>> steadied(np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0]), np.array([1.0, 2.0])).round(2)
    array([0.6, 1. ])
    """
    area = np.concatenate([[0.0], np.cumsum(values * np.diff(edges))])
    low, high = steps / WINDOW, steps * WINDOW
    between = np.interp(high, edges, area) - np.interp(low, edges, area)
    return np.asarray(between / (high - low))


def known_curve(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """A piecewise constant curve that claims no more than was measured at some steps.

    A value holds for a little around its step (by a factor `1 + RESOLUTION`, shared with its
    neighbour); in a wider gap the lower of the two neighbours counts, and beyond the ends 0.

    Args:
        steps: where it was measured, ascending [S].
        values: what was found [S].

    Returns:
        Edges [E + 1] and the heights between them [E].

    >>> edges, heights = known_curve(np.array([1.0, 4.0]), np.array([0.5, 1.0]))
    >>> edges.round(2).tolist(), heights.tolist()
    ([0.89, 1.12, 3.58, 4.47], [0.5, 0.5, 1.0])
    """
    reach = math.sqrt(1 + RESOLUTION)
    middle = np.sqrt(steps[1:] * steps[:-1])
    low = np.maximum(steps / reach, np.concatenate([[0.0], middle]))
    high = np.minimum(steps * reach, np.concatenate([middle, [math.inf]]))
    edges, heights = [float(low[0])], []
    for index, value in enumerate(values):
        if low[index] > edges[-1]:
            edges.append(float(low[index]))
            heights.append(float(min(values[index - 1], value)))
        edges.append(float(high[index]))
        heights.append(float(value))
    return np.array(edges), np.array(heights)


@dataclass(frozen=True)
class Goal:
    """What counts as success on the search split.

    Attributes:
        target: highest accuracy allowed at any level that is to be forgotten.
        floors: for `forget_coarse`, `retain_fine` and `retain_coarse`, the least share of the
            accuracy before the edit that must remain.
    """

    target: float
    floors: Mapping[str, float]

    def reached(self, measures: Measures) -> bool:
        return measures.forget_accuracy <= self.target

    def met_along(self, summary: Summary) -> npt.NDArray[np.bool_]:
        """`met` for each of R cases [R]."""
        met = summary.forget_accuracy <= self.target
        for name, floor in self.floors.items():
            met &= ~(summary.kept_ratios[name] < floor)  # NaN, not measurable, is not broken
        return met

    def broken_floors(self, measures: Measures) -> list[str]:
        """The names of floors that do not hold. What can not be measured is not broken here; the
        report names it as not measured."""
        kept = measures.kept_ratios
        return [
            name
            for name, floor in self.floors.items()
            if kept[name] is not None and kept[name] < floor  # type: ignore[operator]
        ]

    def unmeasured(self, measures: Measures) -> list[str]:
        """The names of floors of which nothing is known: there are no such images, or what the
        model said of them before was no better than chance. A floor that is not defined (nothing
        stands above what is forgotten, or there is one level) is not among them."""
        rows = measures.levels
        defined = {
            "forget_coarse": any(row.images == "forget" and not row.forgotten for row in rows),
            "retain_fine": True,
            "retain_coarse": any(not row.fine for row in rows),
        }
        kept = measures.kept_ratios
        return [name for name in self.floors if kept[name] is None and defined[name]]

    @staticmethod
    def is_blind(measures: Measures) -> bool:
        """Whether nothing is known of other images, as without a retain set."""
        kept = measures.kept_ratios
        return kept["retain_fine"] is None and kept["retain_coarse"] is None

    def misses(self, measures: Measures, what: str) -> list[str]:
        """What the goal lacks, in words; empty if it is met.

        Args:
            what: the name of what is to be forgotten.
        """
        found = []
        if not self.reached(measures):
            found.append(
                f"{what} is still recognised {measures.forget_accuracy:.1%} of the time "
                f"(target {self.target:.1%})"
            )
        for name in self.broken_floors(measures):
            ratio = measures.kept_ratios[name]
            found.append(
                f"accuracy on {WORDS[name]} falls to {ratio:.1%} of what it was "
                f"(floor {self.floors[name]:.1%})"
            )
        return found

    def met(self, measures: Measures) -> bool:
        return self.reached(measures) and not self.broken_floors(measures)


def choose(trials: Sequence[Trial], goal: Goal) -> Trial:
    """The default choice: the highest Q-U around the step among trials that meet the goal; if none
    does, among all, as the best trade-off. Ties go to the smaller relative step.

    Where nothing is known of other images, as without a retain set, what a step does to them is
    not seen: then the smallest relative step that meets the goal is taken.
    """
    assert trials
    met = [trial for trial in trials if goal.met(trial.measures)]
    if met and goal.is_blind(met[0].measures):
        return min(met, key=lambda trial: trial.relative_step)
    return max(met or trials, key=lambda t: (round(t.steady, 6), -t.relative_step))


def choose_paper(trials: Sequence[Trial], goal: Goal) -> Trial:
    """Algorithm 1, lines 13 to 15: the least forget accuracy over all layers and steps, ties
    broken by the highest retained accuracy. Floors play no part."""
    assert trials
    return min(
        trials,
        key=lambda t: (t.measures.forget_fine_after, -(t.measures.after["retain_fine"] or 0.0)),
    )
