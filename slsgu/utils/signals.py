"""Signals that ask a program to end: noted, and turned into an interrupt, from start to finish."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED = "Interrupted: finished files are whole. The same command uses what has been kept."
BUS_ERROR = (
    "Error: a file was cut, or its disk has failed, while it was read (SIGBUS). Finished files are "
    "whole. Copy the models and patches that the command reads again, then give it again"
)
AGAIN = 0.05  # seconds until an interrupt that was swallowed is raised once more
_TOLD = threading.Lock()
_active: list[list[int]] = []


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """The signals so far that ask for an end. Some libraries swallow an interrupt while they are
    imported, and fail later in ways of their own; SIGTERM alone would leave temporary files.

    What Python swallows, as in the callback of a weak reference, is raised again a moment later.

    Within another such block, it is the list of that one.
    """
    if _active:
        yield _active[-1]
        return
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    told = sys.unraisablehook

    def swallowed(error: sys.UnraisableHookArgs) -> None:
        if received and issubclass(error.exc_type, KeyboardInterrupt):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), received[-1]))
            again.daemon = True
            again.start()
        else:
            told(error)

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
    sys.unraisablehook = swallowed
    try:
        yield received
    finally:
        sys.unraisablehook = told
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


def tell_of_bus_errors() -> None:
    """End the program with a message where a file that is mapped into memory, as safetensors and
    torch map weights, has become shorter than it was. The system says so by a signal that would
    end it without a word, and Python's own handlers would never get to run: the instruction that
    has failed is tried again first. Only on Linux.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.signal.restype = ctypes.c_void_p
        library.signal(int(signal.SIGBUS), _END_BY_BUS_ERROR)


def _end_by_bus_error(number: int) -> None:
    if not _TOLD.acquire(blocking=False):
        time.sleep(5)  # another thread that read the file is telling it
    with contextlib.suppress(OSError):
        os.write(2, f"{BUS_ERROR}\n".encode())
    os._exit(1)


_END_BY_BUS_ERROR = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end_by_bus_error)  # as C calls it
