"""The choice of layer and step among all that were tried (Algorithm 1, lines 13 to 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slsgu.evaluation.metrics import Measures
from slsgu.search.goal import Goal
from slsgu.task.settings import NEVER_KNEW, MergeOnto

NEAR = 0.02  # Q-U that may be given up for what it does not see
# The merge that most concepts end at, where many images say how far.
USUAL_DIAL: Mapping[MergeOnto, float] = {"siblings": 0.2, "nearest": 0.8}
PRIOR = 0.5  # a merge that is 0.1 from it must come closer by 5 points of what is found
# What is asked of steps, in place of a higher confidence, where all that hold make a concept surely
# easier to find: of a few images only long steps hold, which move it to a place of its own.
EASED = (0.9, 0.75, 0.5, 0.25)
MANY = 50  # search images of the concept that are believed when they find it nearly as before


@dataclass(frozen=True)
class Trial:
    """One step size tried on one layer, with what the search split said.

    Attributes:
        relative_step: length of the whole change as a share of the norm of the layer.
        merge: how far the concept was merged with its siblings before the step.
        onto: with the mean of its siblings, or with the nearest of them.
        unnamed: how much of its name was taken before the step.
    """

    layer: str
    step: float
    relative_step: float
    measures: Measures
    merge: float = 0.0
    onto: MergeOnto = "siblings"
    unnamed: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "step_size": self.step,
            "relative_step": self.relative_step,
            "merge": self.merge,
            "merge_onto": self.onto,
            "unnamed": self.unnamed,
            **self.measures.summary(),
        }


def choose(trials: Sequence[Trial], goal: Goal) -> Trial:
    """The default choice, among all layers, starts and steps.

    From each start of each layer the smallest step counts that meets the goal and whose target
    holds on unseen images (`Goal.holds`): a longer one moves the concept to a place of its own,
    where a few photographs find it more easily. Of these the highest Q-U is taken. But among those
    whose Q-U is within `NEAR` of the highest, what ruins no class that must be kept comes first
    (`Lost.ruined`). Of the rest, an edit for a larger system takes the one that moves
    what this reads of the concept farthest in proportion to everything else; to *remove* a concept,
    what leaves it surely easier to find is taken only where nothing else is likely to hold, and of
    those that leave it harder to find, the one that leaves it closest to what the model never
    knew (`_removal`). Ties go to the smaller relative step. If no step holds, the best product
    of Q-U and the probability that it does (within `NEAR`, as above) decides among those that meet
    the goal; if none meets it, the best trade-off among all.

    Where nothing is known of other images, as without a retain set, what a step does to them is
    not seen: then the smallest relative step that holds is taken.
    """
    assert trials
    holding = [trial for trial in trials if goal.holds(trial.measures)]
    if holding and goal.is_blind(holding[0].measures):
        return min(holding, key=lambda trial: trial.relative_step)
    met = [trial for trial in trials if goal.met(trial.measures)]
    if goal.name == "remove":
        holding, met = _no_easier(holding, met, goal)
    if holding:
        found = _smallest(holding)
        least = max(trial.measures.q_u or 0 for trial in found) - NEAR
        near = _sparing([trial for trial in found if (trial.measures.q_u or 0) >= least])
        if all(trial.measures.moved is not None for trial in near):
            return max(near, key=lambda trial: (_selectivity(trial), *_best(trial)))
        if goal.name == "remove":
            return max(near, key=lambda trial: _removal(trial, goal))
        return max(near, key=_best)
    if met:
        least = max(_prospect(trial, goal) for trial in met) - NEAR
        near = _smallest([trial for trial in met if _prospect(trial, goal) >= least])
        near = _sparing(near)
        if goal.name == "remove":
            return max(near, key=lambda trial: _removal(trial, goal))
        return max(near, key=_best)
    return max(trials, key=_best)


def _smallest(trials: Sequence[Trial]) -> list[Trial]:
    """The smallest step from each start of each layer."""
    smallest: dict[tuple[str, float, str, float], Trial] = {}
    for trial in sorted(trials, key=lambda trial: trial.step):
        smallest.setdefault((trial.layer, trial.merge, trial.onto, trial.unnamed), trial)
    return list(smallest.values())


def _sparing(trials: list[Trial]) -> list[Trial]:
    """Trials that spare every class that must be kept (`Lost.ruined`), where there are any."""
    return [trial for trial in trials if not ruins(trial.measures)] or trials


def ruins(measures: Measures) -> bool:
    """Whether a class loses more than half of its images that were right, at a level that must be
    kept."""
    return measures.lost is not None and measures.lost.ruined


def _selectivity(trial: Trial) -> float:
    """How many times as far as everything else what a system reads of the concept moves."""
    moved = trial.measures.moved
    return 0.0 if moved is None or moved.times is None else round(moved.times, 2)


def harder_to_find(measures: Measures, goal: Goal) -> bool:
    """Whether a few images find the concept less often than before, beyond what chance would do
    (`Found.fallen`), and, where they are many, rather as what the model never knew than as before
    (`Goal.still_found`). True where that cannot be measured, unless it is easier to find."""
    found = measures.found
    if found is None or not found.measurable:
        return not easier_to_find(measures)
    return found.fallen and not (found.count >= MANY and goal.still_found(measures))


def _prospect(trial: Trial, goal: Goal) -> float:
    """Q-U times the probability that the target holds on unseen images. A few images cannot make
    any step likely enough, and the longest step, which is likeliest, breaks everything else."""
    return (trial.measures.q_u or 0.0) * (goal.probability(trial.measures) or 0.0)


def _no_easier(
    holding: list[Trial], met: list[Trial], goal: Goal
) -> tuple[list[Trial], list[Trial]]:
    """Trials that hold, and that meet the goal, less those after which a few images surely find the
    concept more often than before (`Found.risen`); where none that holds is left, those that are
    less likely to hold (`EASED`) are preferred to them."""
    quiet = [trial for trial in holding if not easier_to_find(trial.measures)]
    likely = [
        trial for trial in met if not easier_to_find(trial.measures)
        and (goal.probability(trial.measures) or 0.0) >= EASED[-1]
    ]  # fmt: skip
    if quiet:
        return quiet, met
    return ([], likely) if likely else (holding, met)


def easier_to_find(measures: Measures) -> bool:
    """Whether a few images surely find the concept more often than before (`Found.risen`)."""
    return measures.found is not None and measures.found.risen


def _removal(trial: Trial, goal: Goal) -> tuple[float, ...]:
    """How well a concept is removed, to be compared: what leaves it harder to find comes first,
    the rest by how surely it is no easier to find; then what leaves it closest to what the model
    never knew."""
    found, harder = trial.measures.found, harder_to_find(trial.measures, goal)
    risk = 0.0 if harder or found is None else found.after + found.error - found.before
    return harder, -round(risk, 3), -_strangeness(trial, goal), *_best(trial)


def _strangeness(trial: Trial, goal: Goal) -> float:
    """How far a concept is from what the model never knew: by how often a few search images find
    it, and, since these are few, by how far the merge is from the usual one, where the share that
    it is found by then is the usual one, too."""
    distance = goal.distance(trial.measures)
    if distance is None:
        distance = 0.0
    elif goal.never_knew != NEVER_KNEW:  # what is usual is known of no other share
        return round(distance, 3)
    return round(distance + PRIOR * abs(trial.merge - USUAL_DIAL[trial.onto]), 3)


def _best(trial: Trial) -> tuple[float, float]:
    return round(trial.measures.q_u or 0.0, 3), -trial.relative_step


def choose_paper(trials: Sequence[Trial], goal: Goal) -> Trial:
    """Algorithm 1, lines 13 to 15: the least forget accuracy over all layers and steps, ties
    broken by the highest retained accuracy. Floors play no part."""
    assert trials
    return min(
        trials,
        key=lambda t: (t.measures.forget_fine_after, -(t.measures.after["retain_fine"] or 0.0)),
    )
