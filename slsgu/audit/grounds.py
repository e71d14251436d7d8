"""What a verdict and its sentences look at."""

from __future__ import annotations

from dataclasses import dataclass

from slsgu.audit import words
from slsgu.audit.probe import ProbeReading


@dataclass(frozen=True)
class Grounds:
    """What a verdict looks at.

    Attributes:
        readings: of every probe.
        images: those of the image side that are measurable.
        left: the share that they still find; None where they cannot tell.
        cannot_tell: whether images found no more before than a model that never knew would.
        missing: probes that the rule looks at and that have not been read.
        only_after: deciding readings that found nothing before the edit and find it after.
        reference: what `never_knew` is taken from, in words.
        towers: that the edit touches.
    """

    readings: tuple[ProbeReading, ...]
    images: tuple[ProbeReading, ...]
    left: float | None
    cannot_tell: bool
    missing: tuple[str, ...]
    only_after: tuple[ProbeReading, ...]
    reference: str | None
    towers: tuple[str, ...]

    @property
    def name(self) -> ProbeReading | None:
        """By the name that was asked to be forgotten, whether or not it is measurable."""
        return self.called(words.BY_NAME)

    def called(self, setting: str) -> ProbeReading | None:
        """By a name of the probe of words, where it was read."""
        rows = (x for x in self.of(words.NAME) if x.setting == setting and x.after is not None)
        return next(rows, None)

    def of(self, probe: str) -> list[ProbeReading]:
        """The readings of one probe."""
        return [x for x in self.readings if x.probe == probe]
