"""Relearning: how fast does the concept come back when the model is trained on?

Protocol: the last stage of the image tower and everything behind it, and the text tower without
its embeddings, are trained with AdamW (rate `RATE`, no weight decay, `STEPS` steps, evaluation
mode, one seed), on the cross-entropy of each image over the distinct captions of its batch (first
template, the model's own logit scale). What lies before the last stage stays as it is.

* *k forget images*: batches of 16 images drawn from k examples of the forgotten leaves, and 16 of
  what is kept.
* *retain images only*: batches of 32 of what is kept; the forgotten name is in no caption
  (arXiv 2505.22310).

Accuracy is zero-shot on the test images of the forgotten leaves among all leaves (first template),
after 0, 1, 2, 5, 10 and 20 steps. Whoever trains stops where it is best: `before` is the unedited
model without training, `after` the best of the edited one, `never_knew` the best of the control.
The way back is (best - first) / (before - first).

A schedule that teaches nothing says nothing. So a schedule with forget images counts only if it
teaches the unedited model a name that no model knows (`NEW_NAME`, one for all forgotten leaves) for
the same images, to at least `TEACHES` of the accuracy under the true names; and it is judged only
beside a control, since a model that never knew learns from such images, too. Retain images cannot
teach a new name: that schedule is held against the control, or without one against no way back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Images, Subject, View
from slsgu.audit.tail import Tail
from slsgu.concepts.taxonomy import Concept
from slsgu.data.samples import Sample

NAME = "relearning"
FORGET_IMAGES = (1, 5, 20)
MOST_RETAIN = 256  # examples of what is kept
BATCH = 32
STEPS = 20
READ_AT = (0, 1, 2, 5, 10, 20)
RATE = 1e-4
TEACHES = 0.8
FASTER = 0.1  # of the way back, by which an edited model may be ahead of one that never knew
NEW_NAME = "wuzzlefinch"
RETAIN_ONLY = "retain images only"


@dataclass(frozen=True)
class Schedule:
    """What a model is trained on: k forget images among others, or none."""

    forget: int

    @property
    def setting(self) -> str:
        images = f"{self.forget} forget image{'s' if self.forget > 1 else ''}"
        return images if self.forget else RETAIN_ONLY


def relearning(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy after every schedule, with its curve."""
    lesson = Lesson.of(subject)
    if isinstance(lesson, str):
        yield ProbeReading(NAME, "20 forget images", note=lesson)
        return
    schools = {name: School(lesson, view) for name, view in subject.views.items()}
    known = schools["before"].untrained
    for schedule in (*map(Schedule, FORGET_IMAGES), Schedule(0)):
        available = min(map(len, lesson.forget))
        empty = ProbeReading(NAME, schedule.setting, len(lesson.questions), 1 / len(lesson.classes))
        if schedule.forget > available:
            note = f"there are only {available} of {schedule.forget} images"
            yield replace(empty, count=0, chance=None, note=note)
            continue
        curves = {n: s.curve(schedule) for n, s in schools.items() if n != "before"}
        yield _filled(empty, schedule, schools["before"], known, curves)


def _filled(
    empty: ProbeReading,
    schedule: Schedule,
    original: School,
    known: float,
    curves: dict[str, list[float]],
) -> ProbeReading:
    """A reading from the curves of the edited model, and of the control if there is one."""
    extra: dict[str, Any] = {"steps": list(READ_AT), "curves": curves}
    way_back = {name: _way_back(curve, known) for name, curve in curves.items()}
    note = "" if "control" in curves else "no control to hold it against"
    if schedule.forget:
        taught = max(original.curve(schedule, NEW_NAME))
        extra["teaches"] = taught / known if known else 0.0
        extra["counts"] = extra["teaches"] >= TEACHES
        if not extra["counts"]:
            note = f"does not count: it teaches a new name only {extra['teaches']:.0%} of the way"
    if way_back["after"] is not None:
        extra["way_back"] = way_back["after"]
        if (control := way_back.get("control")) is not None:
            extra["control_way_back"] = control
            if extra.get("counts", True):
                extra["faster"] = way_back["after"] - control
    control_best = max(curves["control"]) if "control" in curves else None
    return replace(
        empty, before=known, after=max(curves["after"]), never_knew=control_best,
        note=note, extra=extra,
    )  # fmt: skip


def _way_back(curve: Sequence[float], known: float) -> float | None:
    """How far the best lies on the way from the first to what was known; None without a way."""
    return None if known - curve[0] < 0.05 else (max(curve) - curve[0]) / (known - curve[0])


@dataclass(frozen=True, eq=False)
class Lesson:
    """Images to train on and to be asked.

    Attributes:
        classes: all leaves.
        forget: examples of each forgotten leaf.
        retain: examples of what is kept.
        questions: test images of the forgotten leaves.
    """

    classes: tuple[Concept, ...]
    forget: tuple[tuple[Sample, ...], ...]
    retain: tuple[Sample, ...]
    questions: tuple[Sample, ...]
    template: str
    batch_size: int
    seed: int

    @classmethod
    def of(cls, subject: Subject) -> Lesson | str:
        """From the images of a subject; in words, why there is none."""
        examples: Images = subject.examples
        leaves = subject.task.request.forget_leaves
        forget = [tuple(x for x in examples.samples if x.leaf is leaf) for leaf in leaves]
        forget = [own for own in forget if own]
        others = [x for x in examples.samples if x.leaf not in leaves]
        if not forget or not others or not subject.questions.samples:
            return "there are no images of one kind"
        order = torch.randperm(len(others), generator=_random(subject.task.seed))
        retain = tuple(others[i] for i in order[:MOST_RETAIN].tolist())
        task = subject.task
        return cls(
            task.taxonomy.leaves, tuple(forget), retain, subject.questions.samples,
            task.templates[0], task.reading.batch_size, task.seed,
        )  # fmt: skip


class School:
    """One model that is trained on a lesson, from its beginning each time."""

    def __init__(self, lesson: Lesson, view: View) -> None:
        self._lesson = lesson
        with view.in_place():
            self._clip = replace(view.clip, model=copy.deepcopy(view.clip.model))
        self._weights = {k: v.clone() for k, v in self._clip.model.state_dict().items()}
        forget = [x for own in lesson.forget for x in own]
        self._samples = [*forget, *lesson.retain, *lesson.questions]
        self._tail = Tail(self._clip, self._samples, lesson.batch_size)
        self.untrained = self._accuracy(None)

    def curve(self, schedule: Schedule, name: str | None = None) -> list[float]:
        """The accuracy after the steps of `READ_AT`.

        Args:
            name: what all forgotten leaves are called instead of their names, alike.
        """
        model = self._clip.model
        model.load_state_dict(self._weights)
        trained = [p for n, p in model.named_parameters() if _is_trained(n)]
        for parameter in trained:
            parameter.requires_grad_(True)
        learner = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
        generator = _random(self._lesson.seed)
        found = [self._accuracy(name)]
        for step in range(1, STEPS + 1):
            rows = self._batch(schedule, generator)
            loss = self._loss(rows, name)
            learner.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            learner.step()
            if step in READ_AT:
                found.append(self._accuracy(name))
        for parameter in trained:
            parameter.requires_grad_(False)
        model.load_state_dict(self._weights)
        return found

    def _batch(self, schedule: Schedule, generator: torch.Generator) -> Tensor:
        """The images of one step, by their index [32]."""
        allowed, start = [], 0
        for own in self._lesson.forget:
            allowed += list(range(start, start + min(schedule.forget, len(own))))
            start += len(own)
        count = BATCH // 2 if schedule.forget else BATCH
        retain = start + torch.randint(len(self._lesson.retain), (count,), generator=generator)
        if not schedule.forget:
            return retain
        picked = torch.randint(len(allowed), (BATCH - count,), generator=generator)
        return torch.cat([torch.tensor(allowed)[picked], retain])

    def _loss(self, rows: Tensor, name: str | None) -> Tensor:
        captions = [self._caption(self._samples[i].leaf, name) for i in rows.tolist()]
        texts = list(dict.fromkeys(captions))
        labels = torch.tensor([texts.index(caption) for caption in captions])
        scale = self._clip.model.get_parameter("logit_scale").detach().exp()
        with torch.enable_grad():
            logits = scale * self._tail(rows) @ self._clip.encode_text(texts).T
            return cross_entropy(logits, labels.to(logits.device))

    def _accuracy(self, name: str | None) -> float:
        """Zero-shot, on the questions."""
        questions = self._lesson.questions
        captions = list(dict.fromkeys(self._caption(leaf, name) for leaf in self._lesson.classes))
        start = len(self._samples) - len(questions)
        with torch.no_grad():
            texts = self._clip.encode_text(captions)
            images = self._tail(torch.arange(start, len(self._samples)))
        predicted = (images @ texts.T).argmax(dim=1)
        labels = torch.tensor([captions.index(self._caption(x.leaf, name)) for x in questions])
        return float((predicted == labels.to(predicted)).double().mean())

    def _caption(self, leaf: Concept | None, name: str | None) -> str:
        assert leaf is not None
        forgotten = {own[0].leaf for own in self._lesson.forget}
        called = leaf.name if name is None or leaf not in forgotten else name
        return self._lesson.template.replace("{}", called)


def _is_trained(name: str) -> bool:
    """Not embeddings of tokens and places, nor the logit scale. Of the image tower all may be,
    but only what lies behind the cut gets a gradient."""
    return "embed" not in name and "logit" not in name


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
