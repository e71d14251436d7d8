"""What is said of the step that was taken: from where it started, from where to where the goal is
met, whether it holds on unseen images, and how often a few images find the concept again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.unseen import LEAST_TARGET
from slsgu.search.choice import Trial
from slsgu.search.goal import Goal
from slsgu.task.settings import MethodSettings


def met_ranges(trials: Sequence[Trial], goal: Goal) -> list[tuple[float, float]]:
    """The runs of neighbouring steps that all meet the goal, each as its first and last step.

    No more is claimed than was measured: a run ends at the last step that met the goal, not
    somewhere between it and the next one. A run of one step begins and ends there.

    Args:
        trials: of one layer, in any order.
        goal: what counts as success.
    """
    ordered = sorted(trials, key=lambda trial: trial.step)
    met = runs([goal.met(trial.measures) for trial in ordered])
    return [(ordered[first].step, ordered[last].step) for first, last in met]


def runs(met: Sequence[bool] | npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first and the last place of each run of what is true.

    >>> runs([True, False, True, True])
    [(0, 0), (2, 3)]
    """
    places = np.flatnonzero(met)
    parts = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []
    return [(int(part[0]), int(part[-1])) for part in parts]


def describe_met(trials: Sequence[Trial], goal: Goal) -> str:
    """The same in words, to follow "the goal is met".

    Args:
        trials: of one layer, at least one.
        goal: what counts as success.
    """
    ranges = met_ranges(trials, goal)
    if not ranges:
        return "at none of the steps tried"
    parts = [
        f"at step {first:.4g}" if first == last else f"from step {first:.4g} to step {last:.4g}"
        for first, last in ranges
    ]
    longest = max(trial.step for trial in trials)
    if len(trials) > 1 and ranges[-1][1] == longest:
        parts[-1] += ", the longest step measured"
    return " and ".join(parts)


def describe_unseen(measures: Measures, goal: Goal) -> str:
    """Whether the target holds on unseen images, in a sentence without its full stop.

    Args:
        measures: of the step, on the search split.
        goal: what counts as success.
    """
    unseen, probability = measures.unseen, goal.probability(measures)
    if unseen is None or probability is None:
        return (
            "there are too few search images of the concept to say whether the step holds on "
            "unseen ones"
        )
    target = max(goal.target, LEAST_TARGET)
    short = "" if probability >= goal.confidence else f" ({goal.confidence:.1%} was asked for)"
    return (
        f"{unseen.share:.1%} are expected to keep the name; the probability "
        f"that at most {target:.0%} do is {probability:.1%}{short}, by the margins of "
        f"{unseen.count} search images"
    )


def describe_taken(share: float) -> str:
    """How much of a name was taken, in words; empty if it was left.

    >>> describe_taken(1.0), describe_taken(0.6), describe_taken(0.0)
    ('name taken', '0.6 of the name taken', '')
    """
    if not share:
        return ""
    return "name taken" if share == 1 else f"{share:g} of the name taken"


def describe_left_undone(trial: Trial, settings: MethodSettings) -> str | None:
    """What was asked for and the edit does not have, in a sentence without its full stop; None
    where there is nothing of the kind."""
    asked = {"--merge": (settings.merge, trial.merge), "--unname": (settings.unname, trial.unnamed)}
    undone = [name for name, (wanted, done) in asked.items() if wanted and not done]
    if not undone:
        return None
    have, they = ("have", "they are") if len(undone) > 1 else ("has", "it is")
    return (
        f"{' and '.join(undone)} {have} changed nothing: {they} for the last projection of the "
        "image side, and where a concept has siblings. --layer chooses the layer"
    )


def describe_start(trial: Trial) -> str:
    """What was done to the layer before the step, to stand before "step"; empty if nothing was."""
    name = describe_taken(trial.unnamed)
    name = f"{name}, " if name else ""
    onto = " onto the nearest sibling" if trial.onto == "nearest" else ""
    return name + (f"merge {trial.merge:g}{onto}, " if trial.merge else "")
