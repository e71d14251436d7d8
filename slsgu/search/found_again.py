"""How often a few images find a concept again, in words."""

from __future__ import annotations

from slsgu.concepts.request import Request
from slsgu.evaluation.found import Change, Found
from slsgu.evaluation.metrics import Measures
from slsgu.search.goal import Goal
from slsgu.utils.wording import some


def describe_found(measures: Measures, goal: Goal, request: Request) -> str:
    """How often a few images find the concept again, in a sentence without its full stop.

    Args:
        measures: of the step, on the search split.
        goal: what counts as success.
        request: what is to be forgotten.
    """
    if measures.found is None:
        return "there are too few search images to look for the concept without its name"
    return _again(measures.found, "search", goal, request)


def describe_tested(measures: Measures, goal: Goal, request: Request) -> str | None:
    """How often a few test images find the others of the concept, in a sentence without its full
    stop; None where there are too few.

    Args:
        measures: of the edit, on the test split.
        goal, request: as for `describe_found`.
    """
    return None if measures.found is None else _again(measures.found, "test", goal, request)


def still_found_of(measures: Measures, goal: Goal, request: Request) -> list[str]:
    """Of several concepts, the names of those that a few images find more as before the edit than
    as they find what the model never knew: the mean over all can hide them."""
    found = measures.found
    if found is None or not found.measurable:
        return []
    each = _by_concept(found, request).items()
    return [name for name, change in each if goal.nearer_to_before(change, found)]


def _by_concept(found: Found, request: Request) -> dict[str, Change]:
    """What is found of each of several concepts, by name; empty where there is one."""
    own: dict[str, list[Change]] = {}
    for leaf, change in zip(request.forget_leaves, found.each, strict=False):
        own.setdefault(request.owner(leaf).name, []).append(change)
    if len(own) < 2:
        return {}
    return {
        name: Change(
            before=sum(x.before for x in changes) / len(changes),
            after=sum(x.after for x in changes) / len(changes),
            error=sum(x.error**2 for x in changes) ** 0.5 / len(changes),
        )
        for name, changes in own.items()
    }


def _again(found: Found, split: str, goal: Goal, request: Request) -> str:
    """How often images of a split are found again, and were before; and what that means."""
    text = f"{_images(found)}: {found.after:.1%} of the {split} images are found again"
    text += f"{_as_group(request)}, {found.before:.1%} before"
    each = _by_concept(found, request)
    if each:
        least, most = (pick(each, key=lambda name: each[name].after) for pick in (min, max))
        text += f" (from {each[least].after:.1%} of {least} to {each[most].after:.1%} of {most})"
    if not found.measurable:
        text += f", which cannot be told from chance ({found.chance:.1%})"
    if found.risen:
        return text + _easier(found, request)
    if goal.name == "suppress" or not found.measurable:
        return text
    never = goal.unknown_share(found.before, found)
    text += f"; a model that never knew it is taken to find {never:.1%}"
    if found.after > found.before:
        return f"{text}: perhaps more easily than before (too few images to be sure)"
    still = [name for name, part in each.items() if goal.nearer_to_before(part, found)]
    if goal.nearer_to_before(found, found):
        return f"{text}: only the {'names are' if each else 'name is'} forgotten"
    return f"{text}: of {some(still)} only the name is forgotten" if still else text


def _as_group(request: Request) -> str:
    """As what an image counts as found, where that is not its own class alone."""
    if len(request.forget_leaves) == len(request.concepts):
        return ""
    if any(concept.is_leaf for concept in request.concepts):
        return " as their own class, or any of their group"
    return " as any class of their group"


def _images(found: Found) -> str:
    """How many images stand for a class, in words."""
    word = ("one", "two", "three", "four", "five")[found.shots - 1]
    return f"from {word} image{'s' * (found.shots > 1)}"


def _easier(found: Found, request: Request) -> str:
    """That it is easier to find than before, where that is so: which classes, if there are more."""
    if not found.risen:
        return ""
    leaves = request.forget_leaves
    risen = [x.name for x, change in zip(leaves, found.each, strict=False) if change.risen]
    names = f"{some(risen)} " if risen and len(leaves) > 1 else ""
    return f": {names}more easily than before the edit"
