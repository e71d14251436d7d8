"""Look for what was to be forgotten, by every probe or by some."""

from __future__ import annotations

from collections.abc import Iterable

from slsgu.audit.probe import Probe, ProbeReading, Subject
from slsgu.audit.prototypes import prototypes
from slsgu.errors import SlsguError
from slsgu.patch.patch import Patch
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

PROBES: dict[str, Probe] = {
    "prototypes": prototypes,
}


def audit(
    task: Task,
    patch: Patch,
    *,
    probes: Iterable[str] | None = None,
    progress: Progress = SILENT,
) -> tuple[ProbeReading, ...]:
    """Read what can still be found of a concept after a patch.

    Args:
        task: what was to be forgotten, on which images; the model is unedited.
        patch: the edit.
        probes: names in `PROBES`; None takes all.
        progress: told how many images are read.

    Raises:
        SlsguError: there is no such probe.
        LayerMismatchError: the patch was not made for this model.
    """
    names = list(PROBES) if probes is None else list(probes)
    for name in names:
        if name not in PROBES:
            raise SlsguError(f"unknown probe {name!r}: choose {', '.join(PROBES)}")
    patch.check(dict(task.clip.model.named_parameters()))
    subject = Subject(task, patch, task.ledger(), progress)
    return tuple(reading for name in names for reading in PROBES[name](subject))
