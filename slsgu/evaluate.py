"""Zero-shot evaluation at every level of a taxonomy.

A class embedding is the normalised mean of its prompt embeddings and the prediction is the
closest class (design, section 5). An `Exam` is a fixed set of images with their labels; it turns
embeddings into answers, and answers before and after an edit into `Measures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slsgu.measures import Bools, Group, Measures, bootstrap, measure
from slsgu.prompts import PromptBook
from slsgu.request import Request
from slsgu.taxonomy import Concept, Taxonomy


@dataclass(frozen=True)
class Level:
    """One level that is evaluated: its depth and its classes."""

    depth: int
    classes: tuple[Concept, ...]


def evaluated_levels(taxonomy: Taxonomy) -> tuple[Level, ...]:
    """The levels of a taxonomy that have more than one class, coarsest first."""
    levels = (Level(depth, taxonomy.level(depth)) for depth in range(1, taxonomy.depth + 1))
    return tuple(level for level in levels if len(level.classes) > 1)


@dataclass(frozen=True)
class Answers:
    """Predicted class index and whether it is right, per image and level, both [N, L]."""

    predicted: npt.NDArray[np.int64]
    correct: Bools


class Exam:
    """Images with labels at every level, and what is to be forgotten on each.

    Args:
        leaves: the leaf of each of N images.
        taxonomy: where the levels come from.
        request: what is to be forgotten; None if nothing is.
    """

    def __init__(
        self, leaves: Sequence[Concept], taxonomy: Taxonomy, request: Request | None = None
    ) -> None:
        self.leaves = tuple(leaves)
        self.taxonomy = taxonomy
        self.request = request
        self.levels = evaluated_levels(taxonomy)
        places = [{c: i for i, c in enumerate(level.classes)} for level in self.levels]
        labels = [
            [
                place[taxonomy.ancestor(leaf, level.depth)]
                for level, place in zip(self.levels, places, strict=True)
            ]
            for leaf in leaves
        ]
        self.labels = np.array(labels, dtype=np.int64).reshape(len(labels), len(self.levels))
        depths = [request.forget_depth(leaf) if request else None for leaf in leaves]
        # Depth 0 can not occur in a taxonomy: it marks an image on which everything is kept.
        self.forget_depth = np.array([depth or 0 for depth in depths], dtype=np.int64)
        self.groups = self._groups()

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """Every class of every level, once."""
        return tuple(dict.fromkeys(c for level in self.levels for c in level.classes))

    @property
    def forget(self) -> Bools:
        """Which images are of what is to be forgotten [N]."""
        return self.forget_depth > 0

    @property
    def forgotten_classes(self) -> list[Bools]:
        """Which classes of each level are forgotten whole, each [C]."""
        gone = set() if self.request is None else set(self.request.forget_leaves)
        return [
            np.array([gone.issuperset(concept.leaves()) for concept in level.classes])
            for level in self.levels
        ]

    def class_embeddings(self, prompts: Tensor, book: PromptBook) -> list[Tensor]:
        """Class embeddings of every level, each [C, d].

        Args:
            prompts: normalised embeddings of the book's prompts [P, d].
        """
        return [book.class_embeddings(prompts, level.classes) for level in self.levels]

    def answer(self, images: Tensor, classes: Sequence[Tensor]) -> Answers:
        """Predict at every level.

        Args:
            images: embeddings [N, d]; their length does not matter.
            classes: class embeddings of every level, each [C, d].
        """
        columns = [(images @ texts.T).argmax(dim=1) for texts in classes]  # each [N]
        predicted = torch.stack(columns, dim=1).cpu().numpy()  # [N, L]
        return Answers(predicted, predicted == self.labels)

    def measure(self, before: Answers, after: Answers) -> Measures:
        """What happened between two sets of answers to this exam."""
        return measure(self.groups, before.correct, after.correct)

    def measure_with_intervals(self, before: Answers, after: Answers, *, seed: int) -> Measures:
        """`measure`, with paired bootstrap intervals."""
        intervals = bootstrap(self.groups, before.correct, after.correct, seed=seed)
        return replace(self.measure(before, after), intervals=intervals)

    def _groups(self) -> list[Group]:
        groups = []
        for column, level in enumerate(self.levels):
            fine = column == len(self.levels) - 1
            gone = self.forget & (level.depth >= self.forget_depth)
            kept = self.forget & ~gone
            kinds = [
                ("forget", True, gone),
                ("forget", False, kept),
                ("retain", False, ~self.forget),
            ]
            groups += [
                Group(level.depth, column, images, forgotten, fine, len(level.classes), mask)
                for images, forgotten, mask in kinds
                if mask.any()
            ]
        return groups
