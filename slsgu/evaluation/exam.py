"""Zero-shot evaluation at every level of a taxonomy.

A class embedding is the normalised mean of its prompt embeddings and the prediction is the
closest class (design, section 5). An `Exam` is a fixed set of images with their labels; it turns
embeddings into answers, and answers before and after an edit into `Measures`.

Images that come with captions of their own may have no class. Their caption is then the right
answer among all captions of the exam: level 0, above the coarsest level of the taxonomy.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slsgu.concepts.prompts import PromptBook, as_concept
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.samples import Sample
from slsgu.evaluation.bootstrap import bootstrap
from slsgu.evaluation.lost import Lost, most_lost
from slsgu.evaluation.metrics import Bools, Group, Measures, measure
from slsgu.evaluation.summary import Floats

CAPTIONS = 0  # depth of the level whose classes are the images' own captions


@dataclass(frozen=True)
class Level:
    """One level that is evaluated: its depth (0 for captions) and its classes."""

    depth: int
    classes: tuple[Concept, ...]


def evaluated_levels(taxonomy: Taxonomy) -> tuple[Level, ...]:
    """The levels of a taxonomy that have more than one class, coarsest first."""
    levels = (Level(depth, taxonomy.level(depth)) for depth in range(1, taxonomy.depth + 1))
    return tuple(level for level in levels if len(level.classes) > 1)


@dataclass(frozen=True)
class Answers:
    """Predicted class index and whether it is right, per image and level, both [N, L]; and whether
    the right class is among the first five at the finest level [N]."""

    predicted: npt.NDArray[np.int64]
    correct: Bools
    top5: Bools | None = None

    def part(self, rows: npt.NDArray[np.intp]) -> Answers:
        """The answers to some of the images."""
        top5 = None if self.top5 is None else self.top5[rows]
        return Answers(self.predicted[rows], self.correct[rows], top5)


class Exam:
    """Images with labels at every level, and what is to be forgotten on each.

    Args:
        leaves: the leaf of each of N images; None for one that is of no class.
        taxonomy: where the levels come from.
        request: what is to be forgotten; None if nothing is.
        captions: each image's own caption, where it has one. It is the right answer at level 0 for
            retained images; for images to be forgotten (or else their leaf is) only where the
            taxonomy has no level to evaluate.

    Attributes:
        labels: the right class of each image at each level, -1 where there is none [N, L].
        forgotten: whether that answer is to be forgotten [N, L].
        kept: where answers are to stay as they are, whether or not the right one is known [N, L].
    """

    def __init__(
        self,
        leaves: Sequence[Concept | None],
        taxonomy: Taxonomy,
        request: Request | None = None,
        captions: Sequence[str | None] = (),
    ) -> None:
        self.leaves = tuple(leaves)
        self.taxonomy = taxonomy
        self.request = request
        depths = [request.forget_depth(leaf) if request and leaf else None for leaf in leaves]
        # Depth 0 cannot occur in a taxonomy: it marks an image on which everything is kept.
        self.forget_depth = np.array([depth or 0 for depth in depths], dtype=np.int64)
        self.levels = evaluated_levels(taxonomy)
        own_captions = [
            None if text is None else as_concept(text) for text in captions or [None] * len(leaves)
        ]
        questions = [
            text if not forgotten else None if self.levels else text or leaf
            for text, leaf, forgotten in zip(own_captions, leaves, self.forget, strict=True)
        ]
        texts = tuple(dict.fromkeys(text for text in questions if text is not None))
        if len(texts) > 1:
            self.levels = (Level(CAPTIONS, texts), *self.levels)
        self.labels = self._labels(questions)
        reached = np.array([level.depth for level in self.levels]) >= self.forget_depth[:, None]
        if self.levels == (Level(CAPTIONS, texts),):
            reached[:] = True
        self.forgotten = self.forget[:, None] & reached
        words = np.array([level.depth == CAPTIONS for level in self.levels], dtype=np.bool_)
        self.kept = ~self.forgotten & ~(words & (self.labels < 0))
        self.groups = self._groups()

    def part(self, rows: npt.NDArray[np.intp]) -> Exam:
        """The same questions on some of the images.

        Args:
            rows: their places.
        """
        part = copy.copy(self)
        part.leaves = tuple(self.leaves[row] for row in rows)
        part.forget_depth, part.labels = self.forget_depth[rows], self.labels[rows]
        part.forgotten, part.kept = self.forgotten[rows], self.kept[rows]
        part.groups = part._groups()
        return part

    def _labels(self, questions: Sequence[Concept | None]) -> npt.NDArray[np.int64]:
        labels = np.full((len(self.leaves), len(self.levels)), -1, dtype=np.int64)
        for column, level in enumerate(self.levels):
            place = {concept: index for index, concept in enumerate(level.classes)}
            for row, (leaf, text) in enumerate(zip(self.leaves, questions, strict=True)):
                if level.depth == CAPTIONS:
                    labels[row, column] = -1 if text is None else place[text]
                elif leaf is not None:
                    labels[row, column] = place[self.taxonomy.ancestor(leaf, level.depth)]
        return labels

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
        """Which classes of each level are forgotten, each [C]: those that were requested, and
        whatever is below them. A class of which every leaf was requested by itself is kept."""
        requested = set() if self.request is None else set(self.request.concepts)
        masks = []
        for column, level in enumerate(self.levels):
            captions = set(self.labels[self.forget, column]) if level.depth == CAPTIONS else set()
            masks.append(
                np.array([
                    index in captions or not requested.isdisjoint(concept.lineage)
                    for index, concept in enumerate(level.classes)
                ])
            )  # fmt: skip
        return masks

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

    def top5(self, images: Tensor, classes: Tensor) -> Bools | None:
        """Whether the label is among the five closest at the finest level [N]; None where there
        are fewer than five classes.

        Args:
            images: embeddings [N, d].
            classes: class embeddings of the finest level [C, d].
        """
        if len(classes) < 5:
            return None
        labels = torch.from_numpy(self.labels[:, -1:]).to(images.device)
        closest = (images @ classes.T).topk(5, dim=1).indices  # [N, 5]
        hits: Bools = (closest == labels).any(dim=1).cpu().numpy()
        return hits

    def accuracies(self, answers: Answers) -> Floats:
        """The share of right answers of each group of images [G]."""
        return np.array([answers.correct[g.mask, g.column].mean() for g in self.groups])

    def measure(self, before: Answers, after: Answers) -> Measures:
        """What happened between two sets of answers to this exam."""
        measures = measure(self.groups, before.correct, after.correct)
        return replace(measures, lost=self._most_lost(before.correct, after.correct))

    def measure_with_intervals(self, before: Answers, after: Answers, *, seed: int) -> Measures:
        """`measure`, with paired bootstrap intervals."""
        intervals = bootstrap(self.groups, before.correct, after.correct, seed=seed)
        return replace(self.measure(before, after), intervals=intervals)

    def _most_lost(self, before: Bools, after: Bools) -> Lost | None:
        """The class that loses most of what must be kept, at the level at which it loses most: of
        everything else, or, at a level above what is requested, of the requested images."""
        finest, labels = self.levels[-1], self.labels[:, -1]
        if finest.depth == CAPTIONS:
            return None
        found: list[Lost] = []
        for column, level in reversed(list(enumerate(self.levels))):
            if level.depth == CAPTIONS:
                continue
            kept = (labels >= 0) & ~self.forgotten[:, column]
            for requested in (False, True):
                rows = kept & (self.forget == requested)
                own = labels[rows], before[rows, column], after[rows, column]
                lost = most_lost(finest.classes, *own)
                if lost is not None:
                    depth = None if level is finest else level.depth
                    found.append(replace(lost, level=depth, requested=requested))
        if not found:
            return None
        most = max(found, key=lambda lost: lost.share)  # of equals, the finest
        return replace(most, ruined=any(lost.ruined for lost in found))

    def _groups(self) -> list[Group]:
        groups = []
        for column, level in enumerate(self.levels):
            fine = column == len(self.levels) - 1
            labelled, forgotten_rows = self.labels[:, column] >= 0, self.forgotten[:, column]
            kinds = [
                ("forget", True, labelled & forgotten_rows),
                ("forget", False, labelled & self.forget & ~forgotten_rows),
                ("retain", False, labelled & ~self.forget),
            ]
            groups += [
                Group(level.depth, column, images, forgotten, fine, len(level.classes), mask)
                for images, forgotten, mask in kinds
                if mask.any()
            ]
        return groups


def exam_of(samples: Sequence[Sample], taxonomy: Taxonomy, request: Request | None = None) -> Exam:
    """The exam on some samples, labelled by their leaves and captions."""
    leaves, captions = (
        [getattr(s, attribute) for s in samples] for attribute in ("leaf", "caption")
    )
    return Exam(leaves, taxonomy, request, captions)
