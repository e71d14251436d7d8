"""Signals that ask a program to end: noted, and turned into an interrupt, from start to finish."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED = "Interrupted: finished files are whole, unfinished ones are gone."
_active: list[list[int]] = []


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """The signals so far that ask for an end. Some libraries swallow an interrupt while they are
    imported, and fail later in ways of their own; SIGTERM alone would leave temporary files.

    Within another such block, it is the list of that one.
    """
    if _active:
        yield _active[-1]
        return
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # in a thread, signals are another's business
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None:
                continue
            usual = signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
            if usual:  # not where a shell has made us ignore it
                before[number] = signal.signal(number, note)
    _active.append(received)
    try:
        yield received
    finally:
        _active.pop()
        for each, handler in before.items():
            signal.signal(each, handler)


def ignore() -> None:
    """Let nothing end a program whose work is done: its exit status is to say so, and Python takes
    up to a second to clear away what libraries have loaded."""
    with contextlib.suppress(ValueError):
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if (number := getattr(signal, name, None)) is not None:
                signal.signal(number, signal.SIG_IGN)


def status(received: list[int]) -> int:
    """The exit status of a program that a signal has ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (received or [signal.SIGINT])[0]
