"""What iterative methods train on: the pictures of a task, decoded once, with what the unedited
model makes of them.

The search split is at hand as well, thinned out, since training is stopped by what it says.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.taxonomy import Concept
from slsgu.data.batches import collect
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.errors import DataError
from slsgu.evaluation.exam import Answers, Exam, exam_of
from slsgu.evaluation.metrics import Measures
from slsgu.models.clip import Clip
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

CHECKED = 120  # retain images of the search split that a check looks at


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images with their labels at every level.

    Attributes:
        samples: N images.
        pixels: what was read of them [N, 3, H, W].
        exam: their labels, and what is to be forgotten on each.
        before: normalised embeddings by the unedited model [N, d].
    """

    samples: tuple[Sample, ...]
    pixels: Tensor
    exam: Exam
    before: Tensor

    @cached_property
    def kept(self) -> list[Tensor]:
        """Which classes of each level are not to be forgotten, each [C]: asked in every step."""
        gone = self.exam.forgotten_classes
        return [torch.from_numpy(~forgotten).to(self.before.device) for forgotten in gone]


@dataclass(frozen=True, eq=False)
class Material:
    """The pictures of a task that methods learn from, and those that stop them.

    Attributes:
        task: what is to be forgotten.
        forget: gradient images of what is to be forgotten.
        retain: gradient images of everything else; None where there are none.
        search: search images, at most `CHECKED` of what is kept.
        book: the prompts of every class of every level.
        texts: their normalised embeddings by the unedited model [P, d].
        scale: 1 / temperature.
        seconds: wall time that reading took.
    """

    task: Task
    forget: Pictures
    retain: Pictures | None
    search: Pictures
    book: PromptBook
    texts: Tensor
    scale: float
    seconds: float

    @classmethod
    def of(cls, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Material:
        """Read the gradient and the search split. Of the task that was read last, what was read is
        taken; either way the ledger learns what is used.

        Raises:
            DataError: nothing usable is left of what is to be forgotten, or to search with.
        """
        if not (_LAST and _LAST[0][0] is task):
            own = task.ledger()
            _LAST[:] = [(task, cls._read(task, own, progress), own)]
        _, material, own = _LAST[0]
        for split in ("gradient", "search"):
            ledger.restore(split, own.hashes(split))
        ledger.add(own)
        return material

    @classmethod
    def _read(cls, task: Task, ledger: Ledger, progress: Progress) -> Material:
        start = time.perf_counter()
        request, clip = task.request, task.clip
        leaves = set(request.forget_leaves)
        retained = () if task.forget_only else task.retain_samples
        forget = read_pictures(task, task.forget_samples, "gradient", ledger, progress)
        retain = read_pictures(task, retained, "gradient", ledger, progress) if retained else None
        search = read_pictures(
            task, _thinned(task.splits.search, leaves), "search", ledger, progress
        )
        if not search.exam.forget.any():
            raise DataError(
                f"no usable image of {request.title} is left in the search split"
                f"{ledger.why('search')}"
            )
        book = PromptBook.of(forget.exam.concepts, task.templates)
        with torch.no_grad():
            texts = clip.encode_text(book.texts)
        scale = float(clip.model.get_parameter("logit_scale").exp())
        seconds = time.perf_counter() - start
        return cls(task, forget, retain, search, book, texts, scale, seconds)

    @cached_property
    def _unedited(self) -> Answers:
        classes = self.search.exam.class_embeddings(self.texts, self.book)
        return self.search.exam.answer(self.search.before, classes)

    def check(self, clip: Clip) -> Measures:
        """What another model answers on the search images, against the unedited one."""
        exam = self.search.exam
        with torch.no_grad():
            images = embedded(clip, self.search.pixels, self.task.reading.batch_size)
            classes = exam.class_embeddings(clip.encode_text(self.book.texts), self.book)
            return exam.measure(self._unedited, exam.answer(images, classes))


def embedded(clip: Clip, pixels: Tensor, batch_size: int) -> Tensor:
    """Normalised embeddings of images that were read before [N, d]."""
    parts = [clip.encode_image(part) for part in torch.split(pixels, batch_size)]
    return torch.cat(parts) if parts else torch.empty(0, int(clip.model_cfg["embed_dim"]))


def read_pictures(
    task: Task, samples: Sequence[Sample], split: str, ledger: Ledger, progress: Progress
) -> Pictures:
    with progress.bar(f"{split} images", len(samples)) as advance:
        usable, pixels = collect(
            samples,
            task.clip.preprocess,
            split=split,
            ledger=ledger,
            reading=task.reading,
            progress=advance,
            budget=task.machine.activation_bytes(torch.device("cpu")),
        )
    with torch.no_grad():
        before = embedded(task.clip, pixels, task.reading.batch_size)
    return Pictures(usable, pixels, exam_of(usable, task.taxonomy, task.request), before)


def _thinned(samples: Sequence[Sample], leaves: set[Concept]) -> list[Sample]:
    """All images to be forgotten, and as even a share of each other class as `CHECKED` allows."""
    forget = [sample for sample in samples if sample.leaf in leaves]
    others: dict[Concept | None, list[Sample]] = {}
    for sample in samples:
        if sample.leaf not in leaves:
            others.setdefault(sample.leaf, []).append(sample)
    share = max(1, CHECKED // max(len(others), 1))
    return forget + [sample for own in others.values() for sample in own[:share]]


# Of the last task alone: decoded pictures are large.
_LAST: list[tuple[Task, Material, Ledger]] = []
