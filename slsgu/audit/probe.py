"""A probe: a way to look for what was to be forgotten, and what it reads.

A probe looks at the same images before and after a patch. What it reads means something only
beside two marks: chance, and a model that never knew the concept. Lower is not always better: few
photographs are enough to tell apart what a model was never taught.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.evaluation.proof import Embedded, embed
from slsgu.patch.patch import Patch
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress
from slsgu.utils.statistics import wilson


@dataclass(frozen=True)
class ProbeReading:
    """What one probe reads under one setting: an accuracy on what was to be forgotten.

    Attributes:
        probe: its name in the table of probes.
        setting: of the probe, for people.
        count: images that were asked.
        chance: the accuracy of a guess; None where nothing was read.
        before, after: accuracy without and with the patch; None where nothing was read.
        never_knew: accuracy of a model that was never taught the concept; None without a control.
        note: why nothing was read.

    >>> ProbeReading("prototypes", "5 images per class", 50, 0.1, before=0.9, after=0.6).measurable
    True
    >>> ProbeReading("prototypes", "5 images per class", 50, 0.1, before=0.14, after=0.1).measurable
    False
    """

    probe: str
    setting: str
    count: int = 0
    chance: float | None = None
    before: float | None = None
    after: float | None = None
    never_knew: float | None = None
    note: str = ""

    @property
    def before_interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of `before`."""
        return None if self.before is None else wilson(self.before * self.count, self.count)

    @property
    def after_interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of `after`."""
        return None if self.after is None else wilson(self.after * self.count, self.count)

    @property
    def measurable(self) -> bool:
        """Whether the probe finds the concept before the patch: the interval lies above chance. If
        it does not, what it reads afterwards says nothing about the patch."""
        interval = self.before_interval
        return interval is not None and self.chance is not None and interval[0] > self.chance


@dataclass(frozen=True, eq=False)
class Subject:
    """What probes look at: a task, a patch, and images that are embedded once for all probes.

    Attributes:
        task: what was to be forgotten, on which images.
        patch: the edit.
        ledger: keeps the images that a probe learns from and those that it is asked apart.
        progress: told how many images are read.
    """

    task: Task
    patch: Patch
    ledger: Ledger = field(default_factory=Ledger)
    progress: Progress = SILENT

    @cached_property
    def examples(self) -> Embedded:
        """The gradient images that have a class: what a probe may learn from."""
        samples = [sample for sample in self.task.splits.gradient if sample.leaf is not None]
        return self._embed(samples, "gradient")

    @cached_property
    def questions(self) -> Embedded:
        """The test images of what was to be forgotten: what a probe is asked."""
        _ = self.examples  # first, so that these claim the pictures that are in both
        return self._embed(self.task.forget_test_samples, "test")

    def _embed(self, samples: Sequence[Sample], split: str) -> Embedded:
        return embed(
            self.task.clip,
            samples,
            patch=self.patch,
            split=split,
            ledger=self.ledger,
            reading=self.task.reading,
            progress=self.progress,
        )


class Probe(Protocol):
    """A way to look for what was to be forgotten: from a subject to readings, one per setting."""

    def __call__(self, subject: Subject) -> Iterable[ProbeReading]: ...
