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
from slsgu.data.batches import collect
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.evaluation.exam import Answers, Exam, exam_of
from slsgu.evaluation.found import FewShot, Found
from slsgu.evaluation.margins import Margins
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.moved import StateProbe
from slsgu.evaluation.refusals import refuse_unmeasurable
from slsgu.evaluation.replay import Replay
from slsgu.evaluation.unseen import Unseen
from slsgu.losses.captions import ForgetCaptions
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory, stages
from slsgu.models.sense import refuse_empty
from slsgu.task.plan import Plan
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

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
        probe: measures what a system reads; None where the edit is for no other system.
    """

    exam: Exam
    replay: Replay
    book: PromptBook
    classes: list[Tensor]
    before: Answers
    captions: ForgetCaptions
    forget_samples: tuple[Sample, ...]
    scale: float
    probe: StateProbe | None = None

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
        probe = self.probe
        if probe is None:
            return self.measure_features(layer.tower, self.replay.features(layer, weight))
        if (layer.block or 0) > probe.place.stage:
            self.replay.uncut(layer.tower)  # from behind the place, nothing would be seen there
        with probe.place.watch() as seen:
            features = self.replay.features(layer, weight)
        measures = self.measure_features(layer.tower, features)
        return replace(measures, moved=probe.moved(seen, features))

    def measure_features(self, tower: str, features: Tensor) -> Measures:
        """What other features of one tower do to the answers.

        Args:
            features: not normalised [N or P, d].
        """
        images, classes = self._with(tower, features)
        measures = self.exam.measure(self.before, self.exam.answer(images, classes))
        unseen = self.unseen(images[self._forget_rows(images)], classes)
        return replace(measures, unseen=unseen, found=self.found(images))

    def unseen_with(self, tower: str, features: Tensor) -> Unseen | None:
        """`unseen` with other features of one tower, not normalised [N or P, d]."""
        images, classes = self._with(tower, features)
        return self.unseen(images[self._forget_rows(images)], classes)

    def _forget_rows(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.exam.forget).to(images.device)

    def answers(self, tower: str, features: Tensor) -> Answers:
        """The answers with other features of one tower, not normalised [N or P, d]."""
        return self.exam.answer(*self._with(tower, features))

    def _with(self, tower: str, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Image embeddings [N, d] and class embeddings of every level, each [C, d]. Answers do not
        depend on the length of an image's."""
        if tower == "vision":
            return features, self.classes
        prompts = normalize(features, dim=-1)
        return self.replay.base[0], self.exam.class_embeddings(prompts, self.book)

    @cached_property
    def concept(self) -> SearchSet:
        """The images of what is to be forgotten alone."""
        return self.part(np.flatnonzero(self.exam.forget))

    def part(self, rows: npt.NDArray[np.intp]) -> SearchSet:
        """Some of the images, with every class; all that the model says of them is known.

        Args:
            rows: their places, ascending.
        """
        forget = set(rows[self.exam.forget[rows]].tolist())
        places = np.flatnonzero(self.exam.forget).tolist()
        samples = zip(places, self.forget_samples, strict=True)
        return replace(
            self,
            probe=None,  # of inputs that are here by other numbers
            exam=self.exam.part(rows),
            replay=self.replay.part(torch.from_numpy(rows)),
            before=self.before.part(rows),
            forget_samples=tuple(sample for place, sample in samples if place in forget),
        )

    def found(self, images: Tensor) -> Found | None:
        """How often a few search images find the others of the concept; None where there are too
        few.

        Args:
            images: embeddings of all search images [N, d]; their length does not matter.
        """
        few_shot = self._few_shot
        if few_shot is None:
            return None
        return few_shot.found(self._found_before, images)

    @cached_property
    def _few_shot(self) -> FewShot | None:
        return FewShot.among(self.exam.leaves, self.exam.request)

    @cached_property
    def _found_before(self) -> Tensor:
        assert self._few_shot is not None
        return self._few_shot.hits(self.replay.base[0])

    def unseen(self, images: Tensor, classes: Sequence[Tensor]) -> Unseen | None:
        """What margins say of unseen images, at the level at which most of them keep their name.

        Args:
            images: embeddings of the forget images, in order [F, d]; their length does not matter.
            classes: class embeddings of every level, each [C, d].
        """
        return self._margins.unseen(images, classes)

    @cached_property
    def _margins(self) -> Margins:
        return Margins.of(self.exam, self.unchanged, self.forget_samples)

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
