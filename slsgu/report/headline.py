"""The headline of a report: what became of the concept, in a tone, a sentence and a few changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slsgu.report.values import level_names
from slsgu.search.found_again import describe_found, describe_tested, only_named, still_found_of
from slsgu.utils.wording import listed

if TYPE_CHECKING:
    from slsgu.evaluation.metrics import LevelAccuracy
    from slsgu.pipeline.result import Outcome
    from slsgu.search.goal import Goal


def verdict(result: Outcome) -> dict[str, Any]:
    """The headline: a tone, a sentence, and the few changes that carry it."""
    title = result.task.request.title
    goal, measures = result.goal, result.proof.measures
    searched, tested = goal.met(result.measures), goal.met(measures)
    detail = result.shortfall
    if searched and tested and result.success:
        tone, text = _gone(result)
        if result.measures.found is not None:
            detail = f"{_sentence(describe_found(result.measures, goal, result.task.request))} "
        if (seen := describe_tested(measures, goal, result.task.request)) is not None:
            detail += f"{_sentence(seen)} "
    elif searched and any(each.holds is False for each in result.also):
        tone, text = "bad", "forgotten, but more was lost elsewhere than the floors allow"
    elif searched:
        tone, text = "fair", "the goal was met on the search images, not on the test images"
        detail = f"On the test images, {listed(goal.misses(measures, title))}."
    elif goal.reached(result.measures) and goal.rests(result.measures):
        tone, text = "bad", "no longer named, but what the system reads of it hardly moves"
    elif goal.reached(result.measures):
        tone, text = "bad", "forgotten, but more was lost than the floors allow"
    else:
        tone, text = "bad", "not forgotten within the floors"
    if measures.lost is not None and (lost := measures.lost.describe()) is not None:
        detail = f"{detail} {_sentence(lost)}"
    return {
        "tone": tone,
        "text": f"{title}: {text}",
        "changes": _changes(result),
        "detail": " ".join((detail[:1].upper() + detail[1:]).split()),
    }


def _gone(result: Outcome) -> tuple[str, str]:
    """Tone and words for a concept whose name is forgotten within the floors: whether a few images
    find it, too."""
    both = (result.proof.measures, result.measures)
    seen = next((each for each in both if each.found is not None), None)
    if seen is not None and seen.found is not None and seen.found.risen:
        what = "it" if seen.found.after > seen.found.before else "some of it"
        return (
            "fair",
            f"the name is forgotten, but example images find {what} more easily than before",
        )
    request = result.task.request
    told = [name for each in both for name in still_found_of(each, result.goal, request)]
    if still := list(dict.fromkeys(told)):
        if len(still) < len(request.concepts):
            return "fair", f"forgotten, but {only_named(still, request)}"
        return "fair", f"only {'their names are' if len(still) > 1 else 'its name is'} forgotten"
    return "good", "forgotten"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _changes(result: Outcome) -> list[dict[str, Any]]:
    """The requested level, the level above it, and everything else."""
    exam, rows = result.proof.exam, result.proof.measures.levels
    request = result.task.request
    forgotten_rows = [row for row in rows if row.forgotten]
    # The word itself; of several, at different depths, the only level that all of them reach.
    forgotten_rows = forgotten_rows[:1] if len(request.concepts) == 1 else forgotten_rows[-1:]
    kept_rows = [row for row in rows if row.images == "forget" and not row.forgotten]
    other_rows = [row for row in rows if row.images == "retain" and row.fine]
    named_rows = [
        *((request.title, row) for row in forgotten_rows),
        *((f"{level_names(exam, row)} kept", row) for row in kept_rows[-1:]),
        *(("everything else kept", row) for row in other_rows),
    ]
    goal = result.goal
    broken = goal.broken_floors(result.proof.measures)
    return [
        {"name": name, "tone": _tone(row, goal, broken), "before": row.before, "after": row.after}
        for name, row in named_rows
    ]


def _tone(row: LevelAccuracy, goal: Goal, broken: Sequence[str]) -> str:
    """Whether a level is as it should be: `good`, `bad`, or `fair` where it falls below a floor
    that holds on average over its levels; empty where nothing can be said.

    Args:
        broken: the floors that do not hold.
    """
    if row.forgotten:
        return "good" if row.after <= goal.target else "bad"
    key = "retain_fine" if row.images == "retain" else "forget_coarse"
    if key not in goal.floors or not row.measurable:
        return ""
    if row.after / row.before >= goal.floors[key]:
        return "good"
    return "bad" if key in broken else "fair"
