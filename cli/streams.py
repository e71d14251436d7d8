"""What reaches the terminal: text, and nothing that a terminal would take for a command.

Names of files, classes and layers, captions, metadata and messages of other libraries are written
by other people. So both streams are wrapped once, where the program starts, and whatever is
printed passes through `safe`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from slsgu.errors import SlsguError
from slsgu.utils.wording import printable, shortened

KEPT = frozenset("\n\t")  # line ends and columns


def safe(text: str) -> str:
    """A text as a terminal may show it: control sequences become a replacement character. A return
    stays where a progress bar has it, at either end: within, it would show a line over another.

    >>> safe("a\\tb\\n") == "a\\tb\\n"
    True
    >>> "\\x1b" in safe("\\x1b]0;title\\x07")
    False
    """
    if all(part.isprintable() for part in text.split("\n")):  # nearly always
        return text
    inner = text.strip("\r")
    start = text.index(inner)
    shown = "".join(char if char in KEPT else printable(char) for char in inner)
    return text[:start] + shown + text[start + len(inner) :]


class SafeStream:
    """A text stream whose `write` makes what it is given safe; in all else the stream itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(safe(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Hand over what was printed. Others print here, too, so it stays open."""
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class SafeOutput(SafeStream):
    """Standard output: where it does not take what is printed, an error says so by name."""

    def write(self, text: str) -> int:
        if text == "":  # click tries whether text is taken, and passes over an error
            return 0
        with _told(self._stream):
            return super().write(text)

    def flush(self) -> None:
        with _told(self._stream):
            self._stream.flush()


class SafeErrors(SafeStream):
    """Standard error, where all messages arrive: whatever value of a user one quotes, be it a class
    name of two megabytes, the message stays one that can be read."""

    def write(self, text: str) -> int:
        super().write(shortened(text))
        return len(text)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Within, stdout and stderr are safe to print to; at the end, what was printed has arrived.

    Raises:
        SlsguError: stdout does not take what was printed, as on a full disk.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a name that a terminal cannot show is no reason to fail
            reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = SafeOutput(before[0]), SafeErrors(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def flush() -> None:
    """Hand over what was printed.

    Raises:
        BrokenPipeError: nobody reads it.
        SlsguError: it cannot be written.
    """
    with _told(sys.stdout):
        sys.stdout.flush()


@contextlib.contextmanager
def _told(stream: TextIO) -> Iterator[None]:
    """Put into words that standard output refuses what is written within."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # What Python still holds would fail again when it ends, with a status of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SlsguError(f"cannot write to standard output: {error.strerror}") from error


def _open_closed() -> None:
    """Point streams that were closed at nothing; else the next file that is opened would get the
    number of one of them, and what other libraries print would end up in it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                continue
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))
