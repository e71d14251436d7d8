"""Where a name goes in a taxonomy that does not have it: below a parent, beside siblings.

The taxonomy that was given is unchanged; what comes back is a copy with the name in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.errors import ConceptError, DataError


def usable(name: str, where: str) -> str:
    """A name as a taxonomy would have it.

    Raises:
        DataError: it could not stand in a taxonomy.
    """
    cleaned = name.replace("_", " ").strip()
    if not cleaned or "/" in cleaned or not cleaned.isprintable():
        raise DataError(f"{where}: {name!r} is not a usable name (empty, unprintable or with a /)")
    return cleaned


def placed(
    taxonomy: Taxonomy | None,
    name: str,
    parent: str | None,
    *,
    title: str = "pairs",
    own_images: bool = True,
) -> Request:
    """The request to forget a name, which is put into the taxonomy if it is not there.

    Args:
        title: what a taxonomy is called where none was given.
        own_images: whether a parent without anything below it may have images of its own, and so
            lies below itself too.
    """
    matches = [] if taxonomy is None else taxonomy.search(name)
    if matches:
        assert taxonomy is not None
        concept = taxonomy.find(name)
        if not concept.is_leaf:
            below = ", ".join(leaf.name for leaf in concept.leaves())
            raise ConceptError(
                f"{name!r} is a group of classes in taxonomy {taxonomy.name!r}: name one of "
                f"{below}; or forget all of {name!r} by --concept, with class folders"
            )
        above = [] if parent is None else taxonomy.search(parent)
        if concept in above:
            raise ConceptError(f"{concept.key!r} cannot be its own parent")
        if parent is None or set(above) & set(concept.lineage[:-1]):
            return Request(taxonomy, (concept,))
        if concept.parent is not None:
            raise ConceptError(
                f"{concept.key!r} is not below {parent!r} in the taxonomy; leave the parent out"
            )
    tree = _copy(taxonomy.tops if taxonomy is not None else (), None, without=matches)
    # "a car" for cars that have no name of their own
    parent_concept = None if parent is None else _place(tree, taxonomy, parent)
    # One that was found has its aliases and prompts, wherever it stands now.
    if parent_concept is None:
        above = tree
    else:
        if parent_concept.is_leaf and own_images:
            parent_concept = _with_itself_below(parent_concept, tree)
        above = parent_concept.children
    new = usable(name, "name") if not matches else ""
    if parent_concept is not None and normalise(new) == normalise(parent_concept.name):
        raise ConceptError(f"{name!r} cannot be its own parent")
    above.append(
        replace(matches[0], parent=parent_concept) if matches else Concept(new, parent_concept)
    )
    title = taxonomy.name if taxonomy is not None else title
    templates = taxonomy.templates if taxonomy is not None else ()
    return Request(Taxonomy(tree, name=title, templates=templates, least=1), (above[-1],))


def _with_itself_below(leaf: Concept, tree: list[Concept]) -> Concept:
    """What stands in the place of a leaf that is to be a parent. The leaf lies below it, with the
    labels that it answers to."""
    new = replace(leaf, id=None, index=None, children=[])
    new.children.append(replace(leaf, parent=new, children=[]))
    beside = tree if leaf.parent is None else leaf.parent.children
    beside[beside.index(leaf)] = new
    return new


def _place(tree: list[Concept], taxonomy: Taxonomy | None, parent: str) -> Concept:
    """The concept that is to be the parent, in a copied tree; added at the top if it is new."""
    if taxonomy is not None and taxonomy.search(parent):
        path = taxonomy.find(parent).path
        return next(c for top in tree for c in top.walk() if c.path == path)
    new = Concept(usable(parent, "parent"), None)
    tree.append(new)
    return new


def _copy(
    concepts: Iterable[Concept], parent: Concept | None, *, without: Sequence[Concept]
) -> list[Concept]:
    copies = []
    for old in concepts:
        if old in without:
            continue
        new = replace(old, parent=parent, children=[])
        new.children.extend(_copy(old.children, new, without=without))
        copies.append(new)
    return copies
