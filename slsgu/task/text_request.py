"""Where a name stands that is to be forgotten without pictures: in a taxonomy, in a list of other
names, or beside and below names that are given with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.errors import ConceptError, DataError, UnusedError
from slsgu.task.find import find_taxonomy
from slsgu.task.pairs import read_names
from slsgu.task.places import placed


def find_request(
    names: Sequence[str],
    *,
    taxonomy: str | Path | Taxonomy | None = None,
    classes: str | Path | None = None,
    siblings: Sequence[str] = (),
    parent: str | None = None,
    embedded: bool,
) -> tuple[Request, tuple[str, ...]]:
    """The request, and the names in it that stand in no taxonomy or list that was given.

    Args:
        names: what to forget.
        taxonomy, classes, siblings, parent: what stays, as for `slsgu.unlearn_by_text`.
        embedded: whether the model is the embedded one, which brings its taxonomy along.

    Raises:
        ConceptError, UnusedError: as for `request_of`.
        DataError: a file or the taxonomy cannot be used.
    """
    if taxonomy is not None and classes is not None:
        raise DataError("give a taxonomy or a file of classes, not both")
    tree: Taxonomy | None = None
    if classes is not None:
        listed = read_names(Path(classes))
        tree = Taxonomy([Concept(n, None) for n in listed], name="classes", least=1)
    elif taxonomy is not None or embedded:
        tree = find_taxonomy(taxonomy, None)
    request = request_of(tree, names, siblings, parent, listed=classes is not None)
    return request, outside_of(tree, names)


def request_of(
    tree: Taxonomy | None,
    names: Sequence[str],
    siblings: Sequence[str],
    parent: str | None,
    *,
    listed: bool,
) -> Request:
    """The request, in the taxonomy or in a copy of it that has the names.

    Args:
        tree: None where siblings are all there is.
        siblings, parent: where a name stands that is not in it.
        listed: whether the taxonomy is a list of other names, in which a concept need not stand.

    Raises:
        UnusedError: siblings or a parent would change nothing.
        ConceptError: nothing says where a name stands, or what stays.
    """
    forget = {normalise(name) for name in names}
    if twice := [name for name in siblings if normalise(name) in forget]:
        raise _twice(twice[0])
    if tree is None and not siblings:
        if parent is not None:
            raise _alone(names[0], parent)
        raise ConceptError(
            "without pictures, something must say what stays: give a taxonomy (--taxonomy), a "
            "list of other names (--classes), or names that are close (--sibling)"
        )
    if tree is not None and not listed:
        if not (siblings or parent is not None):
            return _of_taxonomy(tree, names)
        parent = _parent_of(tree, names, siblings, parent)
    elif tree is not None and parent is None and all(tree.search(name) for name in siblings):
        if siblings:
            raise UnusedError(
                f"{siblings[0]!r} stands in the list of classes, in which every name counts as "
                "close: leave --sibling out, or say by --parent what both are below"
            )
    for name in (*siblings, *names):
        if tree is None or not tree.search(name) or (listed and parent is not None):
            tree = _with(tree, name, parent)
    assert tree is not None
    request = Request.of(tree, names)
    for concept in request.concepts:
        beside = tree.tops if concept.parent is None else concept.parent.children
        if parent is not None and not listed and set(beside) <= set(request.concepts):
            raise _alone(concept.name, parent)
    if twice := [name for name in siblings if tree.find(name) in request.forget_leaves]:
        raise _twice(twice[0])
    return request


def _of_taxonomy(tree: Taxonomy, names: Sequence[str]) -> Request:
    """The request, where the taxonomy has every name.

    Raises:
        ConceptError: it does not; the message says how to forget one all the same.
    """
    for name in outside_of(tree, names):
        close = " or ".join(repr(each) for each in tree.suggest(name))
        hint = f"; did you mean {close}? If not," if close else ": check the spelling, or"
        raise ConceptError(
            f"no concept {name!r} in taxonomy {tree.name!r}{hint} say what it is close to "
            "(--sibling NAME) or what is above it (--parent NAME)",
            see=None if tree.typed is None else f"slsgu concepts {tree.typed}".rstrip(),
        )
    return Request.of(tree, names)


def outside_of(tree: Taxonomy | None, names: Sequence[str]) -> tuple[str, ...]:
    """The names that a taxonomy does not have; of none, all."""
    if tree is None:
        return tuple(names)
    return tuple(x for x in names if not tree.search(x) and tree.leaf_of_index(x) is None)


def _twice(name: str) -> ConceptError:
    return ConceptError(f"{name!r} is to be forgotten, and a sibling that is kept")


def _alone(name: str, parent: str) -> ConceptError:
    return ConceptError(
        f"{parent!r} says what is above {name!r}, and nothing says what is beside it: name at "
        "least one thing that is close, by --sibling"
    )


def _with(tree: Taxonomy | None, name: str, parent: str | None) -> Taxonomy:
    """A copy of a taxonomy with one more name; of none, a new one."""
    return placed(tree, name, parent, title="the names given", own_images=False).taxonomy


def _parent_of(
    tree: Taxonomy, names: Sequence[str], siblings: Sequence[str], parent: str | None
) -> str | None:
    """What a name is put below that a taxonomy does not have: the parent that was given, or that
    its siblings have; None at the top.

    Raises:
        UnusedError: the taxonomy has every name.
        ConceptError: the siblings have several parents, or do not say where they stand.
    """
    if not outside_of(tree, names):
        given = "--sibling" if siblings else "--parent"
        raise UnusedError(
            f"taxonomy {tree.name!r} has {tree.find(names[0]).key!r} already, and says what is "
            f"beside and above it: leave {given} out, which is for a name that the taxonomy does "
            "not have"
        )
    if parent is not None:
        return parent
    found = [tree.find(name) for name in siblings if tree.search(name)]
    if not found:
        raise ConceptError(
            f"taxonomy {tree.name!r} does not have {siblings[0]!r}, so nothing says where it and "
            f"{names[0]!r} stand: name a sibling that it has, or what is above them by --parent"
        )
    parents = dict.fromkeys(each.parent.key for each in found if each.parent is not None)
    if len(parents) > 1:
        raise ConceptError(
            f"the siblings have different parents, {' and '.join(parents)}: name one by --parent"
        )
    return next(iter(parents), None)
