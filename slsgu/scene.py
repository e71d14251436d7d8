"""The search split, embedded once: what the search asks about every edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from slsgu.captions import ForgetCaptions
from slsgu.data.samples import Sample
from slsgu.evaluate import Answers, Exam, exam_of
from slsgu.layers import Layer
from slsgu.line import Line
from slsgu.losses import FORGET_LOSSES
from slsgu.measures import Measures
from slsgu.plan import Plan
from slsgu.prompts import PromptBook
from slsgu.replay import Replay


@dataclass(frozen=True, eq=False)
class Scene:
    """The search split, embedded, ready to be asked what an edit does.

    Attributes:
        exam: labels of its images.
        replay: their embeddings under edits.
        book: the prompts of every class.
        classes: class embeddings of the unedited model at every level, each [C, d].
        before: answers of the unedited model.
        caption_weights: how much of each prompt of the book the forget caption of each image is
            [N, P]; rows of retained images are zero.
        scale: 1 / temperature.
    """

    exam: Exam
    replay: Replay
    book: PromptBook
    classes: list[Tensor]
    before: Answers
    caption_weights: Tensor
    forget_loss: str
    scale: float

    @classmethod
    def of(cls, plan: Plan, samples: Sequence[Sample], pixels: Tensor) -> Scene:
        """Embed the search split.

        Args:
            samples: the images.
            pixels: what was read of them [N, 3, H, W].
        """
        settings = plan.settings
        exam = exam_of(samples, plan.taxonomy, plan.request)
        captions = ForgetCaptions.of(plan.request, settings.forget_loss_used, samples)
        book = PromptBook.of((*exam.concepts, *captions.concepts), plan.templates)
        replay = Replay(
            plan.clip,
            pixels,
            book.texts,
            batch_size=settings.batch_size,
            budget=settings.activation_bytes(plan.clip.device),
        )
        images, prompts = replay.base
        classes = exam.class_embeddings(prompts, book)
        return cls(
            exam=exam,
            replay=replay,
            book=book,
            classes=classes,
            before=exam.answer(images, classes),
            caption_weights=torch.stack([captions.weights(sample, book) for sample in samples]),
            forget_loss=settings.forget_loss_used,
            scale=float(replay.parameters["logit_scale"].exp()),
        )

    @cached_property
    def unchanged(self) -> Measures:
        """The measures of the unedited model, against itself: what can be measured at all."""
        return self.exam.measure(self.before, self.before)

    def measure(self, layer: Layer, weight: Tensor) -> Measures:
        """What replacing one layer does to the answers."""
        images, prompts = self.replay.with_weight(layer, weight)
        moved = layer.tower == "language"
        classes = self.exam.class_embeddings(prompts, self.book) if moved else self.classes
        return self.exam.measure(self.before, self.exam.answer(images, classes))

    def measure_line(self, line: Line, step: float) -> Measures:
        """The same for a layer along which features move on a line."""
        return self.exam.measure(self.before, self.exam.answer(line.at(step), self.classes))

    def loss(self, images: Tensor, prompts: Tensor) -> float:
        """The forget loss on the forget images, from embeddings."""
        rows = torch.from_numpy(self.exam.forget)
        values = FORGET_LOSSES[self.forget_loss].of_images(
            images[rows.to(images.device)], prompts, self.caption_weights[rows].to(images)
        )
        return float(values.double().mean())
