"""Look for what was to be forgotten, by every probe or by some."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from slsgu.audit.control import control_title, refuse_other_control
from slsgu.audit.linear import linear
from slsgu.audit.membership import membership
from slsgu.audit.neighbours import neighbours
from slsgu.audit.probe import Probe, ProbeReading
from slsgu.audit.prototypes import prototypes
from slsgu.audit.reference import Unknown
from slsgu.audit.relearning import relearning
from slsgu.audit.retrieval import retrieval
from slsgu.audit.subject import Subject
from slsgu.audit.verdict import Verdict, judge
from slsgu.audit.weights import weights
from slsgu.audit.words import words
from slsgu.data.samples import Sample
from slsgu.errors import ModelError, SlsguError
from slsgu.models.clip import Clip
from slsgu.models.sense import lack_of, refuse_uninformative
from slsgu.patch.patch import Patch
from slsgu.patch.weights import layer_hash
from slsgu.task.checks import one_of
from slsgu.task.task import Task
from slsgu.utils.files import json_sha256
from slsgu.utils.progress import SILENT, Progress

PROTOCOL = 6
"""Raised whenever the same inputs would give other readings."""

PROBES: dict[str, Probe] = {
    "other words": words,
    "prototypes": prototypes,
    "retrieval": retrieval,
    "linear probe": linear,
    "relearning": relearning,
    "weights": weights,
    "neighbours": neighbours,
    "membership": membership,
}

SLOW = ("weights", "other words", "relearning")
"""Probes that are read last, so that an audit that is ended early has the others."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What all probes read, and what it comes to. Iterates over the readings.

    Attributes:
        readings: in the order of the probes.
        towers: that the edit touches.
        reference: what `never_knew` is taken from, in words; None if there is none.
        about: the request, the model, the data and the protocol, as JSON values.
        seconds: of every probe that ran.
    """

    readings: tuple[ProbeReading, ...]
    towers: tuple[str, ...]
    reference: str | None
    about: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ProbeReading]:
        return iter(self.readings)

    def __len__(self) -> int:
        return len(self.readings)

    @cached_property
    def verdict(self) -> Verdict:
        """In one word, with the reasons."""
        return judge(self.readings, reference=self.reference, towers=self.towers)

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values; accuracies are fractions."""
        verdict = self.verdict
        return {
            "schema": 1,
            **self.about,
            "reference": self.reference,
            "towers": list(self.towers),
            "verdict": verdict.word,
            "left": verdict.left,
            "reasons": list(verdict.reasons),
            "readings": [reading.to_json() for reading in self.readings],
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Audit:
        """The audit that `to_json` wrote; its verdict is worked out again."""
        derived = ("schema", "verdict", "left", "reasons", "readings", "reference", "towers")
        return cls(
            readings=tuple(ProbeReading.from_json(x) for x in value["readings"]),
            towers=tuple(value["towers"]),
            reference=value["reference"],
            about={k: v for k, v in value.items() if k not in (*derived, "seconds")},
            seconds=value["seconds"],
        )


def run_audit(
    task: Task,
    patch: Patch,
    *,
    probes: Iterable[str] | None = None,
    control: Clip | None = None,
    unknown: Unknown | None = None,
    examples: Sequence[Sample] = (),
    earlier: Audit | None = None,
    on_probe: Callable[[Audit], None] = lambda so_far: None,
    progress: Progress = SILENT,
) -> Audit:
    """Read what can still be found of a concept after a patch.

    Args:
        task: what was to be forgotten, on which images; the model is unedited.
        patch: the edit.
        probes: names in `PROBES`; None takes all.
        control: a model that was trained without the concept, as the never-knew reference.
        unknown: images of concepts that the model does not know, as the reference instead.
        examples: images that a probe may learn from besides the gradient images of the task.
        earlier: an audit whose readings are kept and not made again, those of probes that are not
            asked for now among them; one of anything else (another `key`) is left aside.
        on_probe: called with what there is whenever a probe is done.
        progress: told what is done.

    Raises:
        SlsguError: there is no such probe, or two references are given.
        ModelError: the embeddings of the model, with or without the patch, hold no information; or
            the control knows less than half of what the model knows of everything else.
        LayerMismatchError: the patch was not made for this model.
        DataError: the images of unknown concepts cannot be used.
    """
    names = list(PROBES) if probes is None else list(dict.fromkeys(probes))
    refuse_unknown(names)
    if control is not None and unknown is not None:
        raise SlsguError("give a control model or unknown concepts as the reference, not both")
    patch.check(dict(task.clip.model.named_parameters()))
    _refuse_uninformative(task.clip, patch)
    subject = Subject(task, patch, task.ledger(), progress, control, tuple(examples))
    vision = {"vision" if name.startswith("visual.") else "language" for name in patch.layers}
    about = describe(task, patch, control, unknown)
    found, seconds = _kept(earlier, about["key"])
    if control is not None and not found.keys() >= set(names):  # no image is read for nothing
        refuse_other_control(subject.tests, subject.views, task)
    towers = tuple(sorted(vision, reverse=True))

    def so_far() -> Audit:
        reference = _reference(control, unknown)
        readings = tuple(x for name in PROBES for x in found.get(name, ()))
        return Audit(readings, towers, reference, about, dict(seconds))

    for name in sorted(names, key=lambda name: SLOW.index(name) + 1 if name in SLOW else 0):
        if name in found:
            progress.say(f"{name}: done before")
            continue
        start = time.perf_counter()
        readings = list(PROBES[name](subject))
        if unknown is not None:
            readings = [unknown.applied(reading, subject) for reading in readings]
        found[name] = readings
        seconds[name] = time.perf_counter() - start
        progress.say(f"{name}: {len(readings)} readings, {seconds[name]:.0f} s")
        on_probe(so_far())
    return so_far()


def _kept(
    earlier: Audit | None, key: str
) -> tuple[dict[str, list[ProbeReading]], dict[str, float]]:
    """What an earlier audit of the same has read, and how long that took, by probe."""
    found: dict[str, list[ProbeReading]] = {}
    if earlier is None or earlier.about["key"] != key:
        return found, {}
    for reading in earlier.readings:
        found.setdefault(reading.probe, []).append(reading)
    return found, dict(earlier.seconds)


def _refuse_uninformative(clip: Clip, patch: Patch) -> None:
    """Refuse a model, or an edit of it, that gives every image, or every text, one embedding."""
    refuse_uninformative(clip)
    with patch.applied(clip.model):
        lack = lack_of(clip)
    if lack is not None:
        raise ModelError(
            f"the edited model: {lack}, so there is nothing to look for in it. Check its weights"
        )


def refuse_unknown(probes: Iterable[str]) -> None:
    """Raises:
    SlsguError: one of the names is no probe's.
    """
    for name in probes:
        one_of("probe", name, PROBES)


def describe(
    task: Task, patch: Patch, control: Clip | None, unknown: Unknown | None
) -> dict[str, Any]:
    """What an audit is of, as JSON values; equal `key`s mean that readings may be reused."""
    edit = edit_sha256(patch)
    about: dict[str, Any] = {
        "request": task.request.describe(),
        "model": task.clip.describe(),
        "edit": edit,
        "data": task.splits.description,
    }
    what = {
        "protocol": PROTOCOL,
        "model": task.clip.sha256,
        "request": about["request"],
        "edit": edit,
        "images": task.splits.sha256,
        "templates": list(task.templates),
        "seed": task.seed,
        "control": None if control is None else control.sha256,
        "unknown": None if unknown is None else unknown.sha256,
    }
    return {**about, "protocol": PROTOCOL, "key": json_sha256(what)}


def edit_sha256(patch: Patch) -> dict[str, str]:
    """The hash of every layer as an edit leaves it."""
    return {name: layer_hash(name, patch.patched(name)) for name in patch.layers}


def _reference(control: Clip | None, unknown: Unknown | None) -> str | None:
    if control is not None:
        return control_title(control)
    return None if unknown is None else unknown.title
