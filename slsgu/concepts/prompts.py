"""Prompts: the sentences a concept is looked up with, and class embeddings made of them.

A class embedding is the normalised mean of the normalised embeddings of a concept's prompts
(design, section 5), as in `open_clip.build_zero_shot_classifier`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slsgu.concepts.taxonomy import Concept

if TYPE_CHECKING:
    from torch import Tensor


def prompts_for(concept: Concept, templates: Sequence[str]) -> tuple[str, ...]:
    """The concept's own prompts if it has any, else every template with its name.

    >>> from slsgu.concepts.taxonomy import Taxonomy
    >>> pets = Taxonomy.parse({"dog": ["pug"], "cat": {"$prompts": ["a cat"], "tabby": None}})
    >>> prompts_for(pets.find("pug"), ["a photo of a {}"]), prompts_for(pets.find("cat"), ["{}"])
    (('a photo of a pug',), ('a cat',))
    """
    return concept.prompts or tuple(template.replace("{}", concept.name) for template in templates)


@functools.cache
def as_concept(text: str) -> Concept:
    """A caption as a concept whose one prompt it is: the same concept for the same words.

    >>> concept = as_concept("a pug asleep")
    >>> concept is as_concept("a pug asleep"), prompts_for(concept, [])
    (True, ('a pug asleep',))
    """
    return Concept(text, None, prompts=(text,))


@dataclass(frozen=True)
class PromptBook:
    """The distinct prompts of many concepts, each listed once, and who uses which.

    Attributes:
        texts: P distinct prompts.
        rows: for each concept, the indices of its prompts in `texts`.
    """

    texts: tuple[str, ...]
    rows: dict[Concept, tuple[int, ...]]

    @classmethod
    def of(cls, concepts: Iterable[Concept], templates: Sequence[str]) -> PromptBook:
        index: dict[str, int] = {}
        rows = {
            concept: tuple(
                index.setdefault(text, len(index)) for text in prompts_for(concept, templates)
            )
            for concept in concepts
        }
        return cls(tuple(index), rows)

    def class_embeddings(self, embeddings: Tensor, concepts: Sequence[Concept]) -> Tensor:
        """Class embeddings from prompt embeddings.

        Args:
            embeddings: normalised prompt embeddings [P, d], in the order of `texts`.
            concepts: C concepts of the book.

        Returns:
            Normalised class embeddings [C, d].
        """
        import torch

        rows = [row for concept in concepts for row in self.rows[concept]]
        sizes = torch.tensor([len(self.rows[concept]) for concept in concepts])
        owner = torch.arange(len(concepts)).repeat_interleave(sizes).to(embeddings.device)
        sums = embeddings.new_zeros(len(concepts), embeddings.shape[1])
        sums.index_add_(0, owner, embeddings[rows])
        means = sums / sizes.to(embeddings)[:, None]
        return torch.nn.functional.normalize(means, dim=-1)

    def shares(self, concepts: Sequence[Concept]) -> Tensor:
        """How much of each prompt a caption that names all of `concepts` is [P]: an equal share
        for each concept, split evenly over its prompts. Zero everywhere for no concepts."""
        import torch

        shares = torch.zeros(len(self.texts))
        for concept in concepts:
            rows = self.rows[concept]
            # A prompt that stands twice counts twice, as in `class_embeddings`.
            shares.index_add_(
                0, torch.tensor(rows), torch.full((len(rows),), 1 / (len(concepts) * len(rows)))
            )
        return shares
