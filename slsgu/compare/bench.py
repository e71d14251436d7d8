"""The bench: one task, read and embedded once, on which every edit is measured alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slsgu.audit.pool import Pool
from slsgu.audit.reference import Unknown
from slsgu.audit.subject import Subject, View
from slsgu.baselines.controls import nothing
from slsgu.baselines.fine_tuning import keep
from slsgu.baselines.material import Material, Pictures, embedded, read_pictures
from slsgu.baselines.train import Budget, as_patch, spread, train
from slsgu.compare.cell_schema import ALSO
from slsgu.compare.images import chosen_examples, pictures_elsewhere
from slsgu.compare.probes import Probes, Reference
from slsgu.data.ledger import Ledger
from slsgu.evaluation.exam import Answers
from slsgu.evaluation.other_sets import Also, OtherSet, find_others
from slsgu.evaluation.proof import refuse_broken
from slsgu.evaluation.refusals import unknown_to_model
from slsgu.models.clip import Clip
from slsgu.models.sense import refuse_uninformative
from slsgu.patch.patch import Patch
from slsgu.task.task import Task
from slsgu.utils.files import json_sha256
from slsgu.utils.progress import SILENT, Progress
from slsgu.utils.wording import printable, printed

PROTOCOL = 1  # raised whenever the same edit would be measured otherwise
STEPS, BATCH, RATE = 20, 16, 1e-4  # of the training on what is kept

Score = dict[str, Any]
"""What is measured of an edit, as JSON values."""


@dataclass(frozen=True, eq=False)
class Bench:
    """One task, ready to measure edits.

    Attributes:
        material: images that methods learn from and are tuned by.
        test: images that nothing is chosen on.
        probes: what is looked for after an edit.
        examples: the gradient images that probes learn from, and what the unedited model makes of
            them: pixels [E, 3, H, W] and normalised embeddings [E, d].
        reference: what a model that never knew would find.
        others: data sets that the request does not mention.
        elsewhere: images of what is to be forgotten from another source; None without one.
        ledger: keeps the splits apart.
        progress: told what is done.
    """

    material: Material
    test: Pictures
    probes: Probes
    examples: tuple[Tensor, Tensor]
    reference: Reference
    others: tuple[OtherSet, ...]
    elsewhere: Pictures | None
    ledger: Ledger
    progress: Progress

    @classmethod
    def of(
        cls,
        task: Task,
        *,
        never_knew: float,
        control: Clip | None = None,
        unknown: Unknown | None = None,
        also: Sequence[Also] = (),
        elsewhere: str | None = None,
        progress: Progress = SILENT,
    ) -> Bench:
        """Read all images of a task.

        Args:
            never_knew: how often a model that never knew finds the concept, as a share, where
                neither a control nor unknown concepts say it.
            control: a model that was trained without the concept.
            unknown: concepts that the model does not know.
            also: data sets that the request does not mention.
            elsewhere: where other images of what is to be forgotten are, with their classes.

        Raises:
            ModelError: every image, or every text, gets the same embedding; or the control knows
                less than half of what the model knows of everything else.
            DataError: images cannot be used.
            SlsguError: two data sets have one name.
        """
        refuse_uninformative(task.clip)
        ledger = task.ledger()
        others = _noted(find_others(task, also), progress)
        material = Material.of(task, ledger, progress)
        test = read_pictures(task, task.splits.test, "test", ledger, progress)
        chosen, examples = chosen_examples(task, material)
        questions = [x for x, own in zip(test.samples, test.exam.forget, strict=True) if own]
        probes = Probes(Pool.from_samples(chosen, questions, task.request), task.seed)
        there = None if elsewhere is None else pictures_elsewhere(task, elsewhere, ledger, progress)
        found = probes.read(examples[1], _asked(test, test.before))
        if control is not None:
            asked = [row for row, own in enumerate(test.exam.forget) if own]
            reference = Reference.of_control(
                control, probes, chosen, test.samples, asked, task, progress
            )
        elif unknown is not None:
            subject = Subject(task, nothing(task, ledger).patch, progress=progress)
            reference = Reference.of_unknown(found, unknown, subject)
        else:
            reference = Reference.of_share(found, never_knew)
        bench = cls(material, test, probes, examples, reference, others, there, ledger, progress)
        _ = bench.before  # now: what cannot be measured stops no method that has run
        for note in bench.notes:
            progress.say(f"note: {note}")
        return bench

    @property
    def task(self) -> Task:
        return self.material.task

    @cached_property
    def before(self) -> Score:
        """What is measured of the unedited model."""
        return self.measure(nothing(self.task, self.ledger).patch, relearn=False)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What must be known of every figure: what the model does not know, and what cannot be
        measured with these images."""
        unedited = self.test.exam.measure(self._unedited, self._unedited)
        unknown = unknown_to_model(self.task.request, unedited, "test")
        return tuple(note for note in (unknown, *self.probes.why_not()) if note)

    def key(self) -> str:
        """Whether two benches measure the same: a hash of all that decides it."""
        task, there = self.task, self.elsewhere
        more: dict[str, Any] = {}
        if there is not None:
            more["elsewhere"] = [x.fingerprint for x in there.samples]
        if self.probes.pool.groups:  # in which any class of a group is right
            more["groups"] = self.probes.pool.groups
        return json_sha256({
            "protocol": PROTOCOL,
            "model": task.clip.sha256,
            "request": task.request.describe(),
            "images": task.splits.sha256,
            "templates": list(task.templates),
            "seed": task.seed,
            "reference": self.reference.to_json(),
            "precision": task.clip.precision,
            "also": printed([x.describe() for x in self.others]),
            **more,
        })  # fmt: skip

    def measure(self, patch: Patch, *, relearn: bool = True) -> Score:
        """What an edit does on the test images, and what is still found.

        Args:
            relearn: also after a little training on images of what is kept.

        Raises:
            LayerMismatchError: the patch is not one of the task's model.
            SlsguError: the edited model cannot answer any more.
        """
        clip = self.task.clip
        patch.check(dict(clip.model.named_parameters()))
        view = View(clip, patch)
        examples = self._embed(view, *self.examples)
        test = self._embed(view, self.test.pixels, self.test.before)
        texts = self._texts(view)
        refuse_broken(test, texts)
        exam = self.test.exam
        classes = exam.class_embeddings(texts, self.material.book)
        answers = exam.answer(test, classes)
        measures = exam.measure(self._unedited, answers)
        top5 = exam.top5(test, classes[-1])
        found = self.probes.read(examples, _asked(self.test, test))
        score: Score = {
            **measures.after,
            **measures.scores,
            "forget_at_5": None if top5 is None else float(top5[exam.forget].mean()),
            **found,
            "distance": self.reference.distance(found),
            "moved_entries": sum(int(delta.count_nonzero()) for delta in patch.delta.values()),
            "moved_layers": sum(bool(delta.any()) for delta in patch.delta.values()),
        }
        if self.elsewhere is not None:
            images = self._embed(view, self.elsewhere.pixels, self.elsewhere.before)
            score["elsewhere"] = _accuracy(self.elsewhere.exam.labels, images, classes[-1])
        if relearn:
            score |= {f"relearned_{k}": v for k, v in self._relearned(patch).items()}
        for each in self.others:
            result = each.measure(
                clip,
                settings=self.task.data,
                reading=self.task.reading,
                patch=patch,
                ledger=self.ledger.for_others(self.task.forget_test_samples),
                progress=self.progress,
            )
            score[f"{ALSO}{printable(each.also.name)}"] = result.fine.after
        return score

    # -- parts --------------------------------------------------------------------------------

    @cached_property
    def _unedited(self) -> Answers:
        exam, book = self.test.exam, self.material.book
        return exam.answer(self.test.before, exam.class_embeddings(self.material.texts, book))

    def _texts(self, view: View) -> Tensor:
        """Embeddings of all prompts after an edit [P, d]."""
        return view.embed_texts(self.material.book.texts) if view.language else self.material.texts

    def _embed(self, view: View, pixels: Tensor, before: Tensor) -> Tensor:
        """Embeddings of images after an edit [N, d]."""
        if not view.vision:
            return before
        with torch.no_grad(), view.in_place():
            return embedded(view.clip, pixels, self.task.reading.batch_size)

    def _relearned(self, patch: Patch) -> dict[str, float | None]:
        """What the name and a few images find after 20 steps on images of what is kept alone."""
        if self.material.retain is None:
            return {}
        clip = self.task.clip
        trained = train(
            self.material,
            keep,
            rate=RATE / spread(clip.model),
            budget=Budget(cap=STEPS * BATCH, batch=BATCH, checks=1),
            seed=self.task.seed,
            forget=False,
            retain=True,
            start=patch.delta,
        )
        view = View(clip, as_patch(clip, trained.delta, {"method": "relearned"}))
        examples = self._embed(view, *self.examples)
        pixels, before = (_asked(self.test, x) for x in (self.test.pixels, self.test.before))
        asked = self._embed(view, pixels, before)
        exam = self.test.exam
        texts = exam.class_embeddings(self._texts(view), self.material.book)[-1]
        forget_fine = _accuracy(exam.labels[exam.forget], asked, texts)
        return {"forget_fine": forget_fine, **self.probes.read(examples, asked)}


def _asked(test: Pictures, values: Tensor) -> Tensor:
    """Of a value for each test image, those of what is to be forgotten."""
    return values[torch.from_numpy(test.exam.forget).to(values.device)]


def _noted(others: Sequence[OtherSet], progress: Progress) -> tuple[OtherSet, ...]:
    """Data sets whose notes are said here once, and not again with every edit."""
    for note in (note for each in others for note in each.notes):
        progress.say(f"note: {note}")
    return tuple(replace(each, notes=()) for each in others)


def _accuracy(labels: npt.NDArray[np.int64], images: Tensor, classes: Tensor) -> float:
    """Zero-shot accuracy at the finest level.

    Args:
        labels: of each image at every level [N, L].
        images, classes: normalised embeddings [N, d] and [C, d].
    """
    right = torch.from_numpy(labels[:, -1]).to(images.device)
    return float(((images @ classes.T).argmax(dim=1) == right).double().mean())
