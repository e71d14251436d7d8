"""From nested mappings and lists, as YAML gives them, to named entries; all mistakes are refused.

The format is in the text of `slsgu.concepts.taxonomy` and in docs/formats.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slsgu.errors import DataError

ATTRIBUTES = frozenset({"aliases", "plural", "definition", "prompts", "id", "index"})
AT_THE_TOP = frozenset({"name", "templates"})
MAX_DEPTH = 64  # deeper trees are taken for cycles
MAX_CONCEPTS = 200_000  # a few lines of YAML aliases can claim billions


@dataclass(frozen=True)
class Entry:
    """One concept of a tree that was read: `attributes` are those of `Concept`, without `$`."""

    name: str
    attributes: Mapping[str, Any]
    below: tuple[Entry, ...]


@dataclass(frozen=True)
class Tree:
    """What a taxonomy file says."""

    name: str
    templates: tuple[str, ...]
    tops: tuple[Entry, ...]


def read_tree(raw: Any, name: str) -> Tree:
    """Check a raw tree and give it names.

    Args:
        raw: nested mappings, lists and strings.
        name: of the taxonomy, unless the tree says `$name`.

    Raises:
        DataError: the tree is not made of names, or a name stands twice among siblings.
    """
    templates: Any = []
    if isinstance(raw, Mapping):
        name = str(raw.get("$name", name))
        templates = raw.get("$templates", [])
        check_templates(templates, where=f"taxonomy {name!r}")
        raw = {key: below for key, below in raw.items() if key not in ("$name", "$templates")}
    _refuse_endless(raw, name)
    attributes, tops = _split(raw, name)
    if attributes:
        raise DataError(
            f"taxonomy {name!r}: {', '.join(sorted(attributes))} at the top of the file; "
            "only $name and $templates may stand there"
        )
    return Tree(name, tuple(templates), tops)


def normalise(text: str) -> str:
    """The form in which names are compared: without regard to case, to what separates words, and
    to how Unicode writes a letter (NFKC).

    >>> normalise("Golden_Retriever") == normalise("golden-retriever ")
    True
    >>> normalise("Beyonc\N{LATIN SMALL LETTER E WITH ACUTE}") == normalise("BEYONCE\u0301")
    True
    """
    plain = unicodedata.normalize("NFKC", str(text)).casefold()
    return unicodedata.normalize("NFKC", re.sub(r"[\s_\-]+", " ", plain)).strip()


def check_templates(templates: Any, *, where: str) -> None:
    """Refuse prompt templates that are not strings with exactly one `{}`.

    Raises:
        DataError: naming the first template at fault.
    """
    if isinstance(templates, str) or not isinstance(templates, Sequence):
        raise DataError(f"{where}: templates must be a list of strings")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise DataError(f"{where}: template {template!r} must contain '{{}}' exactly once")


def _refuse_endless(raw: Any, name: str) -> None:
    """Refuse trees that contain themselves or are out of all proportion, before they are built."""
    count = 0
    todo = [(raw, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > 2 * MAX_DEPTH:  # in YAML a level may be a list of mappings
            raise DataError(
                f"taxonomy {name!r} is more than {MAX_DEPTH} levels deep, or contains itself"
            )
        if isinstance(node, Mapping):
            below = list(node.values())
        elif isinstance(node, Sequence) and not isinstance(node, str):
            below = list(node)
        else:
            continue
        count += len(below)
        if count > MAX_CONCEPTS:
            raise DataError(f"taxonomy {name!r} has more than {MAX_CONCEPTS:,} entries")
        todo += [(child, depth + 1) for child in below]


def _split(raw: Any, where: str) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """Attributes (with `$`) and children of one node of the raw tree."""
    if raw is None:
        return {}, ()
    if isinstance(raw, str):
        raw = [raw]
    if isinstance(raw, Sequence) and not isinstance(raw, bytes):
        items: list[tuple[Any, Any]] = []
        for entry in raw:
            inside = list(entry.items()) if isinstance(entry, Mapping) else [(entry, None)]
            misplaced = [str(key) for key, _ in inside if str(key).startswith("$")]
            if misplaced:
                raise DataError(
                    f"taxonomy: {misplaced[0]} under {where!r} stands in a list, which holds "
                    "concepts only: write a mapping, with a key for each concept below it"
                )
            _refuse_bare(entry, where)
            items += inside
    elif isinstance(raw, Mapping):
        _refuse_bare(raw, where)
        items = list(raw.items())
    else:
        raise DataError(f"taxonomy: {where!r} holds {raw!r}; expected names below it")
    attributes = {str(key): value for key, value in items if str(key).startswith("$")}
    children: dict[str, Entry] = {}
    for key, below in items:
        if str(key).startswith("$"):
            continue
        name = _name(key, where)
        if normalise(name) in children:
            raise DataError(f"taxonomy: {key!r} is listed twice under {where!r}")
        children[normalise(name)] = _entry(name, below)
    return attributes, tuple(children.values())


def _refuse_bare(node: Any, where: str) -> None:
    """Refuse `aliases: [heron]`, which would be a concept with a leaf, for `$aliases: [heron]`."""
    if not isinstance(node, Mapping):
        return
    bare = sorted(str(key) for key in node if str(key).casefold() in ATTRIBUTES | AT_THE_TOP)
    if bare:
        word = bare[0].casefold()
        place = " at the top of the file" if word in AT_THE_TOP else ""
        raise DataError(
            f"taxonomy: {bare[0]!r} under {where!r} would be a concept; did you mean "
            f"${word}{place}? (A concept of that name can stand as an item of a list)"
        )


def _name(key: Any, where: str) -> str:
    if not isinstance(key, str | int | float) or isinstance(key, bool) or "/" in str(key):
        raise DataError(
            f"taxonomy: {key!r} under {where!r} is not a usable name "
            "(quote words such as yes, no, null; '/' is not allowed)"
        )
    name = str(key).replace("_", " ").strip()
    if not name.isprintable():  # control characters; half a surrogate pair
        raise DataError(f"taxonomy: {name!r} under {where!r} holds unprintable characters")
    if not name:
        raise DataError(f"taxonomy: an empty name under {where!r}")
    return name


def _entry(name: str, raw: Any) -> Entry:
    mapping = raw if isinstance(raw, Mapping) else {}
    values = {str(key)[1:]: value for key, value in mapping.items() if str(key).startswith("$")}
    unknown = sorted(values.keys() - ATTRIBUTES)
    if unknown:
        raise DataError(
            f"taxonomy: {name!r} has unknown attribute(s) {', '.join('$' + u for u in unknown)}; "
            f"known: {', '.join('$' + a for a in sorted(ATTRIBUTES))}"
        )
    attributes: dict[str, Any] = {
        key: str(values[key]) for key in ("plural", "definition", "id") if values.get(key)
    }
    for key in ("aliases", "prompts"):
        attributes[key] = tuple(_strings(values.get(key), name, key))
    if (index := values.get("index")) is not None:
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise DataError(f"taxonomy: $index of {name!r} must be 0, 1, 2, ..., not {index!r}")
        attributes["index"] = index
    return Entry(name, attributes, _split(raw, name)[1])


def _strings(value: Any, name: str, attribute: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return list(value)
    raise DataError(f"taxonomy: ${attribute} of {name!r} must be a list of strings, not {value!r}")
