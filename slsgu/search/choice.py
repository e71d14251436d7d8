"""The choice of layer and step among all that were tried (Algorithm 1, lines 13 to 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slsgu.evaluation.metrics import Measures
from slsgu.search.goal import Goal


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
        return {
            "step_size": self.step,
            "relative_step": self.relative_step,
            **self.measures.summary(),
            "q_u_around": self.steady,
        }


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
