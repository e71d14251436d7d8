"""What a figure draws of a layer that was searched: accuracies by step, from its whole curve where
that is known, or else from its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slsgu.evaluation.metrics import KEYS
from slsgu.search.met_ranges import runs

if TYPE_CHECKING:
    from slsgu.evaluation.metrics import Measures
    from slsgu.search.choice import Trial
    from slsgu.search.curve import WholeCurve
    from slsgu.search.goal import Goal
    from slsgu.search.layer import Candidate

FORGET = "forget"  # the highest accuracy left at any level that is to be forgotten


@dataclass(frozen=True)
class Drawn:
    """Accuracies of one layer on the search images.

    Attributes:
        steps, relative: step sizes, and the length of each change as a share of the layer's norm.
        before, after: accuracies by name, of the unedited model and at each step. What is not
            defined is left out.
        met: from where to where the goal is met, as places of steps.
    """

    steps: Sequence[float]
    relative: Sequence[float]
    before: Mapping[str, float]
    after: Mapping[str, Sequence[float]]
    met: Sequence[tuple[int, int]]

    @classmethod
    def of_trials(cls, trials: Sequence[Trial], goal: Goal) -> Drawn:
        """What was evaluated truly, at least one step."""
        ordered = sorted(trials, key=lambda trial: trial.step)
        measures = [trial.measures for trial in ordered]
        after = {key: [_value(m, key, after=True) for m in measures] for key in (FORGET, *KEYS)}
        return cls(
            [trial.step for trial in ordered],
            [trial.relative_step for trial in ordered],
            _before(measures[0]),
            {k: [v for v in row if v is not None] for k, row in after.items() if None not in row},
            runs([goal.met(each) for each in measures]),
        )

    @classmethod
    def of_curve(cls, curve: WholeCurve, unedited: Measures, goal: Goal) -> Drawn:
        """A whole curve.

        Args:
            unedited: any measures, for what they say of the unedited model where the curve does not
                say it. They may be on more images than the curve.
        """
        ends = {key: float(row[0]) for key, row in curve.summary.before.items()}
        known = {key: value for key, value in ends.items() if not np.isnan(value)}
        rows = {FORGET: curve.summary.forget_accuracy, **curve.summary.after}
        return cls(
            curve.steps.tolist(),
            curve.relative.tolist(),
            _before(unedited) | known,
            {key: row.tolist() for key, row in rows.items() if not np.isnan(row).any()},
            runs(goal.met_along(curve.summary)),
        )

    @classmethod
    def of(cls, candidate: Candidate, goal: Goal) -> Drawn:
        """A layer that was searched, with at least one trial."""
        if candidate.curve is None or candidate.exact:  # whose trials are as many
            return cls.of_trials(candidate.trials, goal)
        return cls.of_curve(candidate.curve, candidate.trials[0].measures, goal)


def _before(measures: Measures) -> dict[str, float]:
    values = {key: _value(measures, key, after=False) for key in (FORGET, *KEYS)}
    return {key: value for key, value in values.items() if value is not None}


def _value(measures: Measures, name: str, *, after: bool) -> float | None:
    if name != FORGET:
        return (measures.after if after else measures.before)[name]
    rows = [row for row in measures.levels if row.forgotten]
    rows = [row for row in rows if row.measurable] or rows
    if not rows:
        return None
    return measures.forget_accuracy if after else max(row.before for row in rows)
