"""Phrases the menagerie's model is trained on: every concept, in many words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.menagerie.canvas import Dice

# The taxonomy's own templates are added to these; the empty frame is the bare name.
TEMPLATES = (
    "{}",
    "a {}",
    "the {}",
    "one {}",
    "a photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a photo of my {}",
    "a good photo of a {}",
    "a bad photo of a {}",
    "a close-up photo of a {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a cropped photo of a {}",
    "a blurry photo of a {}",
    "a rendering of a {}",
    "a cartoon {}",
    "art of a {}",
    "an image of a {}",
    "an image of the {}",
    "a drawing of the {}",
    "a picture of the {}",
    "a painting of a {}",
    "a sketch of a {}",
    "a nice drawing of a {}",
    "a simple drawing of a {}",
    "a flat illustration of a {}",
    "a small picture of a {}",
    "a large picture of a {}",
    "a picture of my {}",
    "this is a {}",
    "this is a picture of a {}",
    "there is a {} in the picture",
    "here is a {}",
    "look at the {}",
    "a {} outdoors",
    "a {} in a studio",
    "a {} on a plain background",
    "a kind of {}",
    "a type of {}",
)
PLURAL_TEMPLATES = (
    "{}",
    "a drawing of {}",
    "a picture of {}",
    "a photo of {}",
    "some {}",
    "a picture of some {}",
    "the world of {}",
    "drawings of {}",
    "photos of {}",
)
DEFINITION_TEMPLATES = (
    "{}",
    "{}",
    "a drawing of {}",
    "a picture of {}",
    "a photo of {}",
    "this is {}",
)


@dataclass(frozen=True)
class Phrases:
    """All phrases of one concept, by what they call it."""

    concept: Concept
    named: tuple[str, ...]  # name in every template; the taxonomy's templates come first
    own: int  # how many of them are the taxonomy's templates
    aliased: tuple[str, ...]
    plural: tuple[str, ...]
    defined: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        return self.named + self.aliased + self.plural + self.defined

    def pick_named(self, dice: Dice) -> str:
        """A phrase with the concept's own name; half of them in the taxonomy's templates."""
        return self.named[dice.below(self.own)] if dice.chance(0.5) else dice.pick(self.named)

    def pick_other(self, dice: Dice) -> str:
        """A phrase that says it in other words: alias, plural, definition, or the bare name."""
        kinds = [
            k for k in (self.aliased, self.aliased, self.plural, self.defined, self.defined) if k
        ]
        return dice.pick(dice.pick(kinds)) if kinds and not dice.chance(0.1) else self.concept.name


def vocabulary(concepts: Iterable[Concept]) -> set[str]:
    """Every word for these concepts: names, plurals, aliases and definitions, normalised."""
    words: set[str] = set()
    for concept in concepts:
        for text in (concept.name, concept.plural, concept.definition, *concept.aliases):
            if text:
                words.add(plain(text))
    return words


def plain(text: str) -> str:
    """The words of a text with neither case nor punctuation."""
    return normalise(re.sub(r"[^\w\s]", " ", text))


def phrases(taxonomy: Taxonomy, *, leave_out: Iterable[Concept] = ()) -> list[Phrases]:
    """The phrases of every concept that is taught.

    Left out are the given concepts, everything below them, every ancestor that has no other leaf,
    and every phrase about something else that happens to use one of their words.

    Args:
        taxonomy: the tree; its templates come first.
        leave_out: what the model must never hear of.

    Returns:
        One entry per concept, parents before children.
    """
    excluded = {leaf.path for concept in leave_out for leaf in concept.leaves()}
    everything = taxonomy.concepts
    kept = [c for c in everything if any(leaf.path not in excluded for leaf in c.leaves())]
    taught = {c.path for c in kept}
    banned = vocabulary(c for c in everything if c.path not in taught)

    def allowed(texts: Iterable[str]) -> tuple[str, ...]:
        spaced = ((text, f" {plain(text)} ") for text in texts)
        return tuple(text for text, s in spaced if not any(f" {word} " in s for word in banned))

    frames = (*taxonomy.templates, *TEMPLATES)
    result = []
    for concept in kept:
        plural = [concept.plural] if concept.plural else []
        definition = [concept.definition] if concept.definition else []
        result.append(
            Phrases(
                concept,
                named=tuple(t.format(concept.name) for t in frames),
                own=len(taxonomy.templates),
                aliased=allowed(t.format(a) for a in concept.aliases for t in frames),
                plural=allowed(t.format(p) for p in plural for t in PLURAL_TEMPLATES),
                defined=allowed(t.format(d) for d in definition for t in DEFINITION_TEMPLATES),
            )
        )
    return result
