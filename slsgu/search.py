"""Step-size search (Algorithm 3) and the choice of layer and step. Pure Python: a callable in,
trials out; nothing here knows what a model is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from slsgu.measures import Measures

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One step size tried on one layer, with what the search split said."""

    layer: str
    step: float
    relative_step: float
    measures: Measures

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
        }


def search_step(
    evaluate: Callable[[float], T],
    first: float,
    *,
    reached: Callable[[T], bool],
    hopeless: Callable[[T], bool] = lambda measures: False,
    trials: int = 10,
    resolution: float = 0.0,
) -> list[tuple[float, T]]:
    """Algorithm 3: double the step until the forget target is reached, then bisect.

    Args:
        evaluate: measures the model at a step size.
        first: the first step size tried, positive.
        reached: whether the forget target is reached; the paper's is a forget accuracy of 0.
        hopeless: whether, at a step that does not reach the target, too much is lost already for
            a longer one to be of use; the search on this layer then ends.
        trials: K, how many steps are tried at most.
        resolution: stop once the bracket is narrower than this share of its upper end
            (0: never, as in the paper).

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
            if hopeless(measures):
                break
        if high < math.inf and high - low <= resolution * high:
            break
        step = 2 * step if high == math.inf else (low + high) / 2
    return tried


@dataclass(frozen=True)
class Goal:
    """What counts as success on the search split.

    Attributes:
        target: highest accuracy allowed at any level that is to be forgotten.
        floors: for `forget_coarse`, `retain_fine` and `retain_coarse`, the least share of the
            accuracy before the edit that must remain.
    """

    target: float
    floors: dict[str, float]

    def reached(self, measures: Measures) -> bool:
        return measures.forget_accuracy <= self.target

    def broken_floors(self, measures: Measures) -> list[str]:
        """The names of floors that do not hold. What can not be measured is not broken here; the
        report names it as not measured."""
        kept = measures.kept_ratios
        return [
            name
            for name, floor in self.floors.items()
            if kept[name] is not None and kept[name] < floor  # type: ignore[operator]
        ]

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
                f"{name} falls to {ratio:.1%} of what it was (floor {self.floors[name]:.1%})"
            )
        return found

    def met(self, measures: Measures) -> bool:
        return self.reached(measures) and not self.broken_floors(measures)


def choose(trials: Sequence[Trial], goal: Goal) -> Trial:
    """The default choice: the highest Q-U among trials that meet the goal; if none does, the
    highest Q-U of all, as the best trade-off. Ties go to the smaller relative step."""
    assert trials
    met = [trial for trial in trials if goal.met(trial.measures)]
    return max(met or trials, key=lambda t: (t.measures.q_u or 0.0, -t.relative_step))


def choose_paper(trials: Sequence[Trial], goal: Goal) -> Trial:
    """Algorithm 1, lines 13 to 15: the least forget accuracy over all layers and steps, ties
    broken by the highest retained accuracy. Floors play no part."""
    assert trials
    return min(
        trials,
        key=lambda t: (t.measures.forget_fine_after, -(t.measures.after["retain_fine"] or 0.0)),
    )
