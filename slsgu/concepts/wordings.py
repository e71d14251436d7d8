"""The ways in which texts call a concept: its name, other names, its plural and its definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from slsgu.concepts.prompts import prompts_for
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, normalise

Kind = Literal["name", "alias", "plural", "definition"]
BARE = "{}"


@dataclass(frozen=True)
class Wording:
    """One way to call a concept.

    Attributes:
        concept: what is called so.
        kind: of what it is.
        words: the name, alias, plural or definition itself.
        prompts: the texts in which it is asked for.
    """

    concept: Concept
    kind: Kind
    words: str
    prompts: tuple[str, ...]


def wordings(
    concept: Concept, templates: Sequence[str], others: Sequence[str] | None = None
) -> list[Wording]:
    """Every way to call a concept, its name first.

    Args:
        templates: of prompts; a concept's own take their place for its name.
        others: those for aliases and the plural; None takes the same.

    >>> from slsgu.concepts.taxonomy import Taxonomy
    >>> pets = Taxonomy.parse({"dog": {"$plural": "dogs", "$definition": "it barks"}, "cat": None})
    >>> [(each.kind, *each.prompts) for each in wordings(pets.find("dog"), ["a {}"])]
    [('name', 'a dog'), ('plural', 'a dogs'), ('definition', 'it barks')]
    """
    found = [Wording(concept, "name", concept.name, prompts_for(concept, templates))]
    others = templates if others is None else others
    named: list[tuple[Kind, str]] = [("alias", alias) for alias in concept.aliases]
    named += [("plural", concept.plural)] if concept.plural else []
    known = {normalise(concept.name)}
    for kind, words in named:
        if normalise(words) not in known:
            known.add(normalise(words))
            prompts = tuple(template.replace("{}", words) for template in others)
            found.append(Wording(concept, kind, words, prompts))
    if concept.definition:
        found.append(Wording(concept, "definition", concept.definition, (concept.definition,)))
    return found


def mentions(texts: Iterable[str], words: Iterable[str]) -> set[str]:
    """The texts in which one of some words stands, as whole words.

    >>> sorted(mentions(["a red car.", "a carpet", "Car"], ["car"]))
    ['Car', 'a red car.']
    """
    sought = [f" {normalise(word)} " for word in words if normalise(word)]
    plain = {text: f" {_plain(text)} " for text in texts}
    return {text for text, words in plain.items() if any(word in words for word in sought)}


def forgotten_words(request: Request) -> tuple[str, ...]:
    """Every name, alias, plural and id of what is to be forgotten, and of all below it."""
    concepts = [each for top in request.concepts for each in top.walk()]
    words = (w for c in concepts for w in (c.name, *c.aliases, c.plural, c.id))
    return tuple(dict.fromkeys(word for word in words if word))


def _plain(text: str) -> str:
    """A text without marks between its words."""
    return normalise("".join(c if c.isalnum() or c in " -_'" else " " for c in text))
