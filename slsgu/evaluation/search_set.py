"""The search split, embedded once: what every edit is measured on during the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.data.batches import collect
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.errors import ConceptError
from slsgu.evaluation.closed_form import Line
from slsgu.evaluation.exam import Answers, Exam, exam_of
from slsgu.evaluation.metrics import LevelAccuracy, Measures
from slsgu.evaluation.replay import Replay
from slsgu.evaluation.unseen import Unseen, unseen
from slsgu.losses.captions import ForgetCaptions
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory, stages
from slsgu.models.sense import refuse_empty
from slsgu.task.plan import Plan
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress
from slsgu.utils.statistics import wilson

CAPTIONED = 64  # forget images whose captions are laid out over all prompts at a time


@dataclass(frozen=True, eq=False)
class SearchSet:
    """The search split, embedded, ready to measure what an edit does.

    Attributes:
        exam: labels of its images.
        replay: their embeddings under edits.
        book: the prompts of every class.
        classes: class embeddings of the unedited model at every level, each [C, d].
        before: answers of the unedited model.
        captions: of the images that are to be forgotten.
        forget_samples: these images, in order.
        scale: 1 / temperature.
    """

    exam: Exam
    replay: Replay
    book: PromptBook
    classes: list[Tensor]
    before: Answers
    captions: ForgetCaptions
    forget_samples: tuple[Sample, ...]
    scale: float

    @classmethod
    def of(
        cls,
        task: Task,
        samples: Sequence[Sample],
        pixels: Tensor,
        *,
        forget_loss: str,
        fixed: str | None = None,
    ) -> SearchSet:
        """Embed the search split.

        Args:
            samples: the images.
            pixels: what was read of them [N, 3, H, W].
            forget_loss: its name; it decides what forget images are captioned with.
            fixed: the one layer that will be edited; None if it is to be found, which begins with
                last projections. The towers are cut there while they are run.
        """
        exam = exam_of(samples, task.taxonomy, task.request)
        forget = tuple(
            x for x, is_forgotten in zip(samples, exam.forget, strict=True) if is_forgotten
        )
        captions = ForgetCaptions.of(task.request, forget_loss, samples)
        book = PromptBook.of((*exam.concepts, *captions.concepts), task.templates)
        replay = Replay(
            task.clip,
            pixels,
            book.texts,
            batch_size=task.machine.images_at_once,
            budget=task.machine.activation_bytes(task.clip.device),
            cuts=_first_cuts(task.clip, fixed),
        )
        images, prompts = replay.base
        refuse_empty(images, prompts, task.clip.name)
        classes = exam.class_embeddings(prompts, book)
        return cls(
            exam=exam,
            replay=replay,
            book=book,
            classes=classes,
            before=exam.answer(images, classes),
            captions=captions,
            forget_samples=forget,
            scale=float(replay.parameters["logit_scale"].exp()),
        )

    @classmethod
    def read(cls, plan: Plan, ledger: Ledger, progress: Progress = SILENT) -> SearchSet:
        """Read and embed the search split of a plan.

        Args:
            ledger: what the gradient split has used; it learns what this split uses.

        Raises:
            ConceptError: the model does not know the concept, or nothing that must be kept can
                be measured; not with `force`.
            DataError: no usable image is left.
        """
        task = plan.task
        with progress.bar("search images", len(task.splits.search)) as advance:
            samples, pixels = collect(
                task.splits.search,
                task.clip.preprocess,
                split="search",
                ledger=ledger,
                reading=task.reading,
                progress=advance,
                required=task.request.forget_leaves,
                budget=task.machine.activation_bytes(torch.device("cpu")),
            )
        search_set = cls.of(
            task,
            samples,
            pixels,
            forget_loss=plan.settings.forget_loss_used,
            fixed=plan.settings.layer,
        )
        if not plan.settings.force:
            refuse_unmeasurable(task.request, search_set.unchanged, embedded=task.clip.is_menagerie)
        return search_set

    @cached_property
    def unchanged(self) -> Measures:
        """The measures of the unedited model, against itself: what can be measured at all."""
        return self.exam.measure(self.before, self.before)

    def measure(self, layer: Layer, weight: Tensor) -> Measures:
        """What replacing one layer does to the answers."""
        images, prompts = self.replay.with_weight(layer, weight)
        moves_text = layer.tower == "language"
        classes = self.exam.class_embeddings(prompts, self.book) if moves_text else self.classes
        return self._measure(images, classes)

    def measure_line(self, line: Line, step: float) -> Measures:
        """The same for a layer along which features move on a line."""
        return self._measure(line.at(step), self.classes)

    def _measure(self, images: Tensor, classes: Sequence[Tensor]) -> Measures:
        measures = self.exam.measure(self.before, self.exam.answer(images, classes))
        forget = torch.from_numpy(self.exam.forget).to(images.device)
        return replace(measures, unseen=self.unseen(images[forget], classes))

    def unseen(self, images: Tensor, classes: Sequence[Tensor]) -> Unseen | None:
        """What margins say of unseen images, at the level at which most of them keep their name.

        Args:
            images: embeddings of the forget images, in order [F, d]; their length does not matter.
            classes: class embeddings of every level, each [C, d].
        """
        images = normalize(images, dim=-1)
        found = []
        for column, rows, labels in self._forgotten:
            scores = images[rows.to(images.device)] @ classes[column].to(images).T  # [n, C]
            own = labels.to(images.device)[:, None]
            other = scores.scatter(1, own, -torch.inf).amax(dim=1)
            margins = (scores.gather(1, own)[:, 0] - other).double().cpu().numpy()
            estimate = unseen(margins, self._forget_leaves[rows.numpy()])
            if estimate is not None:
                found.append(estimate)
        return max(found, key=lambda estimate: estimate.share, default=None)

    @cached_property
    def _forgotten(self) -> list[tuple[int, Tensor, Tensor]]:
        """The levels that are to be forgotten: their column, and of the forget images that have a
        label there the place among the forget images and the label, both [n]."""
        groups = zip(self.exam.groups, self.unchanged.levels, strict=True)
        asked = [(group, row.measurable) for group, row in groups if group.forgotten]
        known = [group for group, measurable in asked if measurable]
        return [
            (
                group.column,
                torch.from_numpy(np.flatnonzero(group.mask[self.exam.forget])),
                torch.from_numpy(self.exam.labels[group.mask, group.column]),
            )
            for group in known or [group for group, _ in asked]
        ]

    @cached_property
    def _forget_leaves(self) -> npt.NDArray[np.int64]:
        """The class of each forget image, as a number [F]."""
        leaves = [sample.leaf for sample in self.forget_samples]
        numbers = {leaf: number for number, leaf in enumerate(dict.fromkeys(leaves))}
        return np.array([numbers[leaf] for leaf in leaves], dtype=np.int64)

    def loss(self, images: Tensor, prompts: Tensor) -> float:
        """The forget loss on the forget images, from embeddings.

        What each image is captioned with is a row over all prompts, so it is made for a few images
        at a time: images times prompts would not fit in memory.
        """
        rows = torch.from_numpy(self.exam.forget).to(images.device)
        losses = []
        parts = torch.split(images[rows], CAPTIONED)
        for start, part in zip(range(0, len(self.forget_samples), CAPTIONED), parts, strict=True):
            samples = self.forget_samples[start : start + CAPTIONED]
            weights = torch.stack([self.captions.weights(sample, self.book) for sample in samples])
            loss = FORGET_LOSSES[self.captions.loss].of_images
            losses.append(loss(part, prompts, weights.to(images)))
        return float(torch.cat(losses).double().mean())


def _first_cuts(clip: Clip, fixed: str | None) -> dict[str, int]:
    """Where a search cuts the towers first: before the layer that is fixed, or behind the last
    stage of each."""
    if fixed is None:
        return {tower: len(stages(clip.model, tower)) for tower in ("vision", "language")}
    layers = {layer.name: layer for layer in inventory(clip.model, norms=True)}
    return {layers[fixed].tower: layers[fixed].block or 0}


def refuse_unmeasurable(request: Request, unchanged: Measures, *, embedded: bool = False) -> None:
    """Refuse a request of which nothing could be said.

    Args:
        unchanged: the measures of the unedited model.
        embedded: whether it is the embedded model of drawings.

    Raises:
        ConceptError: the model does not know the concept, or nothing that must be kept can be
            told from chance.
    """
    rows = [row for row in unchanged.levels if row.forgotten and row.fine]
    if rows and not rows[0].measurable:
        title = repr(request.title)
        what = f"the model does not know {title} in the first place"
        if _too_few(rows[0]):
            what = f"there are too few search images to tell whether the model knows {title}"
        raise ConceptError(f"{what}: {_of_chance(rows[0])}. {_way_out(rows[0], embedded)}")
    kept = [row for row in unchanged.levels if not row.forgotten]
    if unchanged.utility is None:
        few = "; there are too few search images to tell" if any(map(_too_few, kept)) else ""
        raise ConceptError(
            "nothing that must be kept can be measured: "
            + "; ".join(f"at level {row.level}, {_of_chance(row)}" for row in kept)
            + few
            + ". Give a retain set, other classes or another parent, or --force to go on blindly"
        )


def _of_chance(row: LevelAccuracy) -> str:
    """An accuracy that cannot be told from chance, in words."""
    low, high = row.before_interval
    images = "requested" if row.images == "forget" else "other"
    return (
        f"it is right on {row.before:.1%} of {row.count} {images} image(s), which can mean "
        f"{low:.1%} to {high:.1%} (95 % interval), and chance is {row.chance:.1%}"
    )


def _too_few(row: LevelAccuracy) -> bool:
    """Whether there are so few images that all of them right would prove nothing."""
    return wilson(row.count, row.count)[0] <= row.chance


def _way_out(row: LevelAccuracy, embedded: bool) -> str:
    """What a user can do about a concept that cannot be told from chance."""
    more = "Give more images of it (--search-images says how many are used)"
    if _too_few(row):
        return f"{more}, or --force to go on all the same"
    if embedded:
        return (
            "This is slsgu's embedded model, which was taught drawings alone: name a model of "
            "photographs with --model. --force goes on all the same"
        )
    near = f"{more} if you think that it does. " if row.before > row.chance else ""
    return f"{near}Use --force to go on all the same"
