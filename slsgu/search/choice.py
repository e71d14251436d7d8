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
    """

    layer: str
    step: float
    relative_step: float
    measures: Measures

    def to_json(self) -> dict[str, Any]:
        return {
            "step_size": self.step,
            "relative_step": self.relative_step,
            **self.measures.summary(),
        }


def choose(trials: Sequence[Trial], goal: Goal) -> Trial:
    """The default choice, among all layers and steps.

    Of each layer the smallest step counts that meets the goal and whose target holds on unseen
    images (`Goal.holds`): a longer one moves the concept to a place of its own, where a few
    photographs find it more easily. Of these the highest Q-U is taken; ties go to the smaller
    relative step. If no step holds, the one that is most likely to is taken among those that meet
    the goal; if none meets it, the best trade-off among all.

    Where nothing is known of other images, as without a retain set, what a step does to them is
    not seen: then the smallest relative step that holds is taken.
    """
    assert trials
    holding = [trial for trial in trials if goal.holds(trial.measures)]
    if holding and goal.is_blind(holding[0].measures):
        return min(holding, key=lambda trial: trial.relative_step)
    smallest: dict[str, Trial] = {}
    for trial in sorted(holding, key=lambda trial: trial.step):
        smallest.setdefault(trial.layer, trial)
    if smallest:
        return max(smallest.values(), key=_by_q_u)
    if met := [trial for trial in trials if goal.met(trial.measures)]:
        return max(met, key=lambda trial: (goal.probability(trial.measures) or 0, *_by_q_u(trial)))
    return max(trials, key=_by_q_u)


def _by_q_u(trial: Trial) -> tuple[float, float]:
    return round(trial.measures.q_u or 0.0, 3), -trial.relative_step


def choose_paper(trials: Sequence[Trial], goal: Goal) -> Trial:
    """Algorithm 1, lines 13 to 15: the least forget accuracy over all layers and steps, ties
    broken by the highest retained accuracy. Floors play no part."""
    assert trials
    return min(
        trials,
        key=lambda t: (t.measures.forget_fine_after, -(t.measures.after["retain_fine"] or 0.0)),
    )
