"""A request: the concepts to forget, and what that means for every image and level.

For an image whose leaf is under a requested concept, let k be the depth of its shallowest
requested ancestor: levels k and deeper are to be forgotten, levels above k kept. On all other
images everything is kept (design, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.errors import ConceptError

KEPT = ("forget_coarse", "retain_fine", "retain_coarse")
"""The accuracies that are to stay: of forget images at the levels above the request, of all others
at the finest level and at the coarser ones (design, section 5)."""
STATES = "retain_states"
"""What a larger system reads of everything else, which is to stay too where an edit is for one."""


@dataclass(frozen=True)
class Request:
    """Concepts of a taxonomy to forget.

    Attributes:
        named: whether people call them so. If not, captions alone say what is to be forgotten, and
            the one concept is called after its file.

    >>> pets = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["tabby"]})
    >>> request = Request.of(pets, ["beagle"])
    >>> [leaf.name for leaf in request.forget_leaves], request.forget_depth(pets.find("beagle"))
    (['beagle'], 2)
    >>> request.forget_depth(pets.find("pug")) is None
    True
    """

    taxonomy: Taxonomy
    concepts: tuple[Concept, ...]
    named: bool = True

    @classmethod
    def of(cls, taxonomy: Taxonomy, names: Sequence[str]) -> Request:
        """Find each name. A concept given twice, or below another, counts once.

        Raises:
            ConceptError: a name is unknown or ambiguous, or nothing would be left to keep.
        """
        if not names:
            raise ConceptError("name at least one concept to forget")
        requested = dict.fromkeys(taxonomy.find(name) for name in names)
        concepts = tuple(c for c in requested if not any(a in requested for a in c.lineage[:-1]))
        request = cls(taxonomy, concepts)
        if not request.retain_leaves:
            raise ConceptError(
                f"{', '.join(names)}: all of taxonomy {taxonomy.name!r} would be forgotten; "
                "leave something to keep"
            )
        return request

    @property
    def forget_leaves(self) -> tuple[Concept, ...]:
        return tuple(leaf for leaf in self.taxonomy.leaves if self.forget_depth(leaf) is not None)

    @property
    def retain_leaves(self) -> tuple[Concept, ...]:
        return tuple(leaf for leaf in self.taxonomy.leaves if self.forget_depth(leaf) is None)

    @property
    def each_alone(self) -> bool:
        """Whether every requested concept is one class, and none a group."""
        return len(self.forget_leaves) == len(self.concepts)

    def owner(self, leaf: Concept) -> Concept:
        """The concept that was named, and under which a leaf that is to be forgotten lies."""
        return self.forgotten_names(leaf)[0]

    def forget_depth(self, leaf: Concept) -> int | None:
        """k, the depth of the shallowest requested ancestor of `leaf`; None if it is kept."""
        return next((c.depth for c in leaf.lineage if c in self.concepts), None)

    def forgotten_names(self, leaf: Concept) -> tuple[Concept, ...]:
        """What a forget image of `leaf` is captioned with: the requested concept and everything
        below it on the image's path, never what must be kept."""
        depth = self.forget_depth(leaf)
        return () if depth is None else leaf.lineage[depth - 1 :]

    def keeps_above(self, leaf: Concept) -> bool:
        """Whether a level above what is to be forgotten of a leaf has several classes, so that
        images of it alone show what is kept."""
        depth = self.forget_depth(leaf) or 1
        return any(len(self.taxonomy.level(above)) > 1 for above in range(1, depth))

    def siblings(
        self, concept: Concept, among: Sequence[Concept] | None = None
    ) -> tuple[Concept, ...]:
        """What is kept and closest to a concept that is to be forgotten: what lies under the
        deepest of its ancestors that has any; where none has, all.

        Args:
            concept: a leaf under a requested concept, or such a concept.
            among: what is kept, and may be chosen; None takes the leaves that are.
        """
        among = self.retain_leaves if among is None else among
        for ancestor in reversed(concept.lineage[:-1]):
            if siblings := tuple(other for other in among if ancestor in other.lineage):
                return siblings
        return tuple(among)

    @property
    def title(self) -> str:
        """The concepts in words, for headings and folder names."""
        return " and ".join(concept.name for concept in self.concepts)

    def describe(self) -> dict[str, Any]:
        """The request as JSON values, for artifacts."""
        return {
            "concepts": [concept.name for concept in self.concepts],
            "paths": [concept.key for concept in self.concepts],
            "taxonomy": self.taxonomy.name,
            "taxonomy_sha256": self.taxonomy.sha256,
            "forget_leaves": [leaf.key for leaf in self.forget_leaves],
            **({} if self.named else {"named": False}),
        }
