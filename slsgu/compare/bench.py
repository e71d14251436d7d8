"""The bench: one task, read and embedded once, on which every edit is measured alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from slsgu.audit.pool import Pool
from slsgu.audit.reference import Unknown
from slsgu.audit.subject import Subject, View, examples_of
from slsgu.baselines.controls import nothing
from slsgu.baselines.fine_tuning import keep
from slsgu.baselines.material import Material, Pictures, embedded, read_pictures
from slsgu.baselines.train import Budget, as_patch, spread, train
from slsgu.compare.probes import Probes, Reference
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.data.splits.test_only import images_of
from slsgu.errors import DataError
from slsgu.evaluation.exam import Answers
from slsgu.evaluation.other_sets import Also, OtherSet, find_others
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch
from slsgu.task.task import Task
from slsgu.utils.files import json_sha256
from slsgu.utils.progress import SILENT, Progress

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
        before: what is measured of the unedited model.
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
    before: Score
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
            DataError: images cannot be used.
        """
        ledger = task.ledger()
        others = tuple(find_others(task, also))
        material = Material.of(task, ledger, progress)
        test = read_pictures(task, task.splits.test, "test", ledger, progress)
        chosen, examples = _examples(task, material)
        questions = [x for x, own in zip(test.samples, test.exam.forget, strict=True) if own]
        probes = Probes(Pool.from_samples(chosen, questions), task.seed)
        none = Reference({}, "")
        other = None if elsewhere is None else _elsewhere(task, elsewhere, progress)
        bench = cls(material, test, probes, examples, none, {}, others, other, ledger, progress)
        found = probes.read(examples[1], bench._asked(test.before))
        if control is not None:
            seen = [_seen_by(control, samples, task) for samples in (chosen, questions)]
            title = f"a model that was trained without the concept ({control.name})"
            reference = Reference(probes.read(*seen), title)
        elif unknown is not None:
            subject = Subject(task, nothing(task, ledger).patch, progress=progress)
            reference = Reference.of_unknown(found, unknown, subject)
        else:
            reference = Reference.of_share(found, never_knew)
        bench = replace(bench, reference=reference)
        return replace(bench, before=bench.measure(nothing(task, ledger).patch, relearn=False))

    @property
    def task(self) -> Task:
        return self.material.task

    def key(self) -> str:
        """Whether two benches measure the same: a hash of all that decides it."""
        task, there = self.task, self.elsewhere
        elsewhere = {} if there is None else {"elsewhere": [x.fingerprint for x in there.samples]}
        return json_sha256({
            "protocol": PROTOCOL,
            "model": task.clip.sha256,
            "request": task.request.describe(),
            "images": task.splits.sha256,
            "templates": list(task.templates),
            "seed": task.seed,
            "reference": self.reference.to_json(),
            "also": [[x.also.name, x.also.source, x.also.taxonomy] for x in self.others],
            **elsewhere,
        })  # fmt: skip

    def measure(self, patch: Patch, *, relearn: bool = True) -> Score:
        """What an edit does on the test images, and what is still found.

        Args:
            relearn: also after a little training on images of what is kept.

        Raises:
            LayerMismatchError: the patch is not one of the task's model.
        """
        clip = self.task.clip
        patch.check(dict(clip.model.named_parameters()))
        view = View(clip, patch)
        examples = self._embed(view, *self.examples)
        test = self._embed(view, self.test.pixels, self.test.before)
        exam = self.test.exam
        classes = exam.class_embeddings(self._texts(view), self.material.book)
        answers = exam.answer(test, classes)
        measures = exam.measure(self._unedited, answers)
        top5 = exam.top5(test, classes[-1])
        found = self.probes.read(examples, self._asked(test))
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
            score["elsewhere"] = _accuracy(self.elsewhere, images, classes[-1])
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
            score[f"also_{each.also.name}"] = result.fine.after
        return score

    # -- parts --------------------------------------------------------------------------------

    @property
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

    def _asked(self, test: Tensor) -> Tensor:
        """Of all test images, those of what is to be forgotten."""
        return test[torch.from_numpy(self.test.exam.forget).to(test.device)]

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
        asked = self._embed(view, self._asked(self.test.pixels), self._asked(self.test.before))
        exam = self.test.exam
        texts = exam.class_embeddings(self._texts(view), self.material.book)[-1]
        labels = torch.from_numpy(exam.labels[exam.forget, -1]).to(asked.device)
        right = (asked @ texts.T).argmax(dim=1) == labels
        found = self.probes.read(examples, asked)
        return {"forget_fine": float(right.double().mean()), **found}


def _examples(task: Task, material: Material) -> tuple[list[Sample], tuple[Tensor, Tensor]]:
    """The gradient images that probes learn from, as the audit chooses them: samples, pixels and
    embeddings by the unedited model."""
    parts = [x for x in (material.forget, material.retain) if x is not None]
    samples = [sample for part in parts for sample in part.samples]
    place = {sample.fingerprint: index for index, sample in enumerate(samples)}
    rows = [place[x.fingerprint] for x in examples_of(task) if x.fingerprint in place]
    pixels = torch.cat([part.pixels for part in parts])[rows]
    before = torch.cat([part.before for part in parts])[rows]
    return [samples[row] for row in rows], (pixels, before)


def _seen_by(control: Clip, samples: Sequence[Sample], task: Task) -> Tensor:
    """Embeddings of images by another model, which may prepare them in another way [N, d]."""
    pixels = torch.stack([control.preprocess(sample.read()) for sample in samples])
    with torch.no_grad():
        return embedded(control, pixels, task.reading.batch_size)


def _elsewhere(task: Task, source: str, progress: Progress) -> Pictures:
    """Images of what is to be forgotten from another source, without those of the task."""
    found = images_of(
        source,
        task.taxonomy,
        task.request.forget_leaves,
        limit=task.data.limits.test,
        seed=task.seed,
        excluded=task.excluded,
        strict=task.data.strict,
    )
    if not found.samples:
        reasons = "; ".join(found.left_out.notes()) or "none has the name of a class"
        raise DataError(f"no image of {task.request.title} in {source} can be used ({reasons})")
    return read_pictures(task, found.samples, "elsewhere", Ledger(), progress)


def _accuracy(pictures: Pictures, images: Tensor, classes: Tensor) -> float:
    """Zero-shot accuracy at the finest level."""
    labels = torch.from_numpy(pictures.exam.labels[:, -1]).to(images.device)
    return float(((images @ classes.T).argmax(dim=1) == labels).double().mean())
