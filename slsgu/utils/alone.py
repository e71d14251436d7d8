"""One writer of a folder at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from slsgu.errors import SlsguError


@contextlib.contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Within, no other process that asks the same may write to a folder. The system takes the
    lock away with the process, however it ends, and no file is left.

    Where the platform or the disk has no locks of folders, nothing is held.

    Args:
        folder: is there.
        what: who writes to it, for the message.

    Raises:
        SlsguError: another process holds it.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a folder that cannot be opened, as on Windows
            handle = os.open(folder, os.O_RDONLY)
            held.callback(os.close, handle)
            _lock(handle, folder, what)
        yield


def _lock(handle: int, folder: Path, what: str) -> None:
    """Raises:
    SlsguError: another process holds the lock.
    OSError: the disk has no locks.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SlsguError(
            f"another {what} is at work in {folder}: wait until it is done, or give another folder"
        ) from None
