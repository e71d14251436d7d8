"""From where to where along the step axis the goal is met."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from slsgu.search.choice import Trial
from slsgu.search.goal import Goal


def met_ranges(trials: Sequence[Trial], goal: Goal) -> list[tuple[float, float]]:
    """The runs of neighbouring steps that all meet the goal, each as its first and last step.

    No more is claimed than was measured: a run ends at the last step that met the goal, not
    somewhere between it and the next one. A run of one step begins and ends there.

    Args:
        trials: of one layer, in any order.
        goal: what counts as success.
    """
    ordered = sorted(trials, key=lambda trial: trial.step)
    ranges = []
    for met, group in itertools.groupby(ordered, key=lambda trial: goal.met(trial.measures)):
        if met:
            run = [trial.step for trial in group]
            ranges.append((run[0], run[-1]))
    return ranges


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
        parts[-1] += ", the longest step tried"
    return " and ".join(parts)
