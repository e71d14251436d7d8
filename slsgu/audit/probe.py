"""A probe: a way to look for what was to be forgotten, and what it reads.

A probe looks at the same images before and after a patch. What it reads means something only
beside two marks: chance, and a model that never knew the concept. Lower is not always better: few
photographs are enough to tell apart what a model was never taught.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from slsgu.utils.statistics import wilson

if TYPE_CHECKING:
    from slsgu.audit.subject import Subject

Kind = Literal["find", "keep", "trace"]
"""What a reading is about: whether the concept is found, whether something else is kept, or whether
the edit shows which images it was made from."""

TOLERANCE = 0.05  # least distance to the reference that counts as one


@dataclass(frozen=True)
class ProbeReading:
    """What one probe reads under one setting: an accuracy on what was to be forgotten.

    Attributes:
        probe: its name in the table of probes.
        setting: of the probe, for people.
        count: images that were asked.
        chance: the accuracy of a guess; None where nothing was read.
        before, after: accuracy without and with the patch; None where nothing was read.
        never_knew: accuracy of a model that was never taught the concept; None without a reference.
        note: why nothing was read, or what else a reader must know.
        kind: what it is about.
        extra: further figures, as JSON values.
        pair_error: standard error of `after - before` over the images that were asked both times;
            None where they were not compared one by one.

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
    kind: Kind = "find"
    extra: Mapping[str, Any] = field(default_factory=dict)
    pair_error: float | None = None

    @property
    def before_interval(self) -> tuple[float, float] | None:
        """95 % interval of `before`: Wilson; of an area under the curve, Hanley and McNeil's."""
        return self._interval(self.before)

    @property
    def after_interval(self) -> tuple[float, float] | None:
        """95 % interval of `after`."""
        return self._interval(self.after)

    @property
    def rise_interval(self) -> tuple[float, float] | None:
        """95 % interval of `after - before`, over the same images."""
        if self.before is None or self.after is None or self.pair_error is None:
            return None
        rise, half = self.after - self.before, 1.959964 * self.pair_error
        return max(-1.0, rise - half), min(1.0, rise + half)

    @property
    def classes(self) -> dict[str, ProbeReading]:
        """The same of each class by itself, by name, where several were asked and it was read."""
        return {
            name: replace(self, **own, never_knew=None, extra={})
            for name, own in self.extra.get("classes", {}).items()
        }

    @property
    def rose(self) -> bool:
        """Whether it finds the concept more often than before, beyond the interval: of the
        differences image by image, or of `before` where there are none."""
        if (rise := self.rise_interval) is not None:
            return rise[0] > 0
        interval = self.before_interval
        return interval is not None and self.after is not None and self.after > interval[1]

    @property
    def measurable(self) -> bool:
        """Whether the probe finds the concept before the patch: the interval lies above chance. If
        it does not, what it reads afterwards says nothing about the patch. A trace of the edit can
        only be there after it, and is always measurable where something was read."""
        interval = self.before_interval
        if self.kind == "trace":
            return self.after is not None
        return interval is not None and self.chance is not None and interval[0] > self.chance

    @property
    def averaged(self) -> bool:
        """Whether it is of an average with the original, which only somebody can make who has it,
        and which decides nothing."""
        return self.setting.startswith("averaged with")

    @property
    def floor(self) -> float | None:
        """What it would read of a concept that is gone: the reference, or chance without one."""
        return self.chance if self.never_knew is None else self.never_knew

    @property
    def distance(self) -> float | None:
        """How far `after` lies above (or, negative, below) the never-knew reference."""
        if self.after is None or self.never_knew is None:
            return None
        return self.after - self.never_knew

    @property
    def at_floor(self) -> bool:
        """Whether the concept is found no more than the floor has it: `after` lies at most
        `TOLERANCE` above it, or its interval reaches down to it."""
        interval, floor = self.after_interval, self.floor
        if interval is None or floor is None or self.after is None:
            return False
        return self.after <= floor + TOLERANCE or interval[0] <= floor

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON values, with what follows from it."""
        values = {x.name: getattr(self, x.name) for x in fields(self)}
        bounds = {"before": self.before_interval, "after": self.after_interval}
        return {
            **values,
            "extra": dict(self.extra),
            "intervals": {name: None if b is None else list(b) for name, b in bounds.items()},
            "rise_interval": None if self.rise_interval is None else list(self.rise_interval),
            "measurable": self.measurable,
            "distance": self.distance,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProbeReading:
        """The reading that `to_json` wrote."""
        return cls(**{x.name: value[x.name] for x in fields(cls)})

    def _interval(self, value: float | None) -> tuple[float, float] | None:
        if value is None:
            return None
        if self.kind != "trace":
            return wilson(value * self.count, self.count)
        positive, negative = self.extra["positive"], self.extra["negative"]
        return auc_interval(value, positive, negative)


def auc_interval(area: float, positive: int, negative: int) -> tuple[float, float]:
    """95 % interval of an area under the curve (Hanley and McNeil, 1982).

    >>> low, high = auc_interval(0.5, 50, 50)
    >>> round(low, 2), round(high, 2)
    (0.39, 0.61)
    """
    if not positive or not negative:
        return 0.0, 1.0
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area)
    spread += (positive - 1) * (one - area * area) + (negative - 1) * (two - area * area)
    half = 1.959964 * math.sqrt(max(spread, 0.0) / (positive * negative))
    return max(0.0, area - half), min(1.0, area + half)


class Probe(Protocol):
    """A way to look for what was to be forgotten: from a subject to readings, one per setting."""

    def __call__(self, subject: Subject) -> Iterable[ProbeReading]: ...
