"""How often a few images find a concept again, in words."""

from __future__ import annotations

from collections.abc import Sequence

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import told_apart
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
    return _again(measures, measures.found, "search", goal, request)


def describe_tested(measures: Measures, goal: Goal, request: Request) -> str | None:
    """How often a few test images find the others of the concept, in a sentence without its full
    stop; None where there are too few.

    Args:
        measures: of the edit, on the test split.
        goal, request: as for `describe_found`.
    """
    if measures.found is None:
        return None
    return _again(measures, measures.found, "test", goal, request)


def still_found_of(measures: Measures, goal: Goal, request: Request) -> list[str]:
    """The names of the concepts that a few images find more as before the edit than as they find
    what the model never knew: the mean over several can hide them."""
    found = measures.found
    if found is None or not found.measurable:
        return []
    if each := _each(found, request):
        return [name for name, change in each.items() if goal.nearer_to_before(change)]
    return told_apart(request.concepts) if goal.still_found(measures) else []


def only_named(still: Sequence[str], request: Request) -> str:
    """That only the names of some concepts are forgotten, of all that were requested.

    >>> from slsgu.concepts.taxonomy import Taxonomy
    >>> request = Request.of(Taxonomy.parse(["cat", "dog", "owl", "bee"]), ["cat", "dog", "owl"])
    >>> only_named(["cat", "dog"], request), only_named(["cat", "dog", "owl"], request)
    ('of cat and dog only the names are forgotten', 'only the names are forgotten')
    """
    text = f"only the {'names are' if len(still) > 1 else 'name is'} forgotten"
    if len(still) == len(request.concepts):
        return text
    return f"of {' and '.join(still) if len(still) < 3 else some(still)} {text}"


def _each(found: Found, request: Request) -> dict[str, Change]:
    """What is found of each of several concepts, by name; empty where there is one."""
    if len(request.concepts) < 2:
        return {}
    return dict(zip(told_apart(request.concepts), found.concepts, strict=False))


def _again(measures: Measures, found: Found, split: str, goal: Goal, request: Request) -> str:
    """How often images of a split are found again, and were before; and what that means."""
    text = f"{_images(found)}: {found.after:.1%} of the {split} images"
    each = [(change.after, name) for name, change in _each(found, request).items()]
    if each and min(each)[0] < max(each)[0]:
        (least, less), (most, more) = min(each), max(each)
        text += f" (from {least:.1%} of {less} to {most:.1%} of {more})"
    text += f" are found again{_as_group(request)}, {found.before:.1%} before"
    if not found.measurable:
        text += f", which cannot be told from chance ({found.chance:.1%})"
    if found.risen:
        return text + _easier(found, request)
    if goal.name == "suppress" or not found.measurable:
        return text
    still = still_found_of(measures, goal, request)
    if found.after > found.before:
        text += ": perhaps more easily than before (too few images to be sure)"
    elif still:
        text += f": {only_named(still, request)}"
    return f"{text}; a model that never knew it is taken to find {goal.unknown_share(found):.1%}"


def _as_group(request: Request) -> str:
    """As what an image counts as found, where that is not its own class alone."""
    if request.each_alone:
        return ""
    if any(concept.is_leaf for concept in request.concepts):
        return " as their own class, or any of their group"
    return " as any class of their group"


def _images(found: Found) -> str:
    """How many images stand for a class, in words."""
    word = ("one", "two", "three", "four", "five")[found.shots - 1]
    return f"from {word} image{'s' * (found.shots > 1)}"


def _easier(found: Found, request: Request) -> str:
    """That it is easier to find than before: which classes, if there are more."""
    leaves = request.forget_leaves
    risen = [x.name for x, change in zip(leaves, found.each, strict=False) if change.risen]
    names = f"{some(risen)} " if risen and len(leaves) > 1 else ""
    return f": {names}more easily than before the edit"
