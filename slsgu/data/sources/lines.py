"""The lines of a text file in UTF-8, with the places where they begin, so that any of them can be
read again."""

from __future__ import annotations

import codecs
import os
import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

LONGEST = 16 << 20  # bytes of a line
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class Lines:
    """The lines from a place on: only those that have been looked at and not dropped are kept.

    Args:
        file: it is read here alone.
        offset: where the first line begins, in bytes.
        number: of the first line.

    Attributes:
        offset, number: of the line that is the first now.
    """

    def __init__(self, file: BinaryIO, *, offset: int = 0, number: int = 1) -> None:
        self.offset, self.number = offset, number
        file.seek(offset)
        self._source = _pieces(file)
        self._ahead: deque[bytes] = deque()

    def get(self, index: int = 0) -> str | None:
        """A line, with its end; `index` counts from the first. None behind the last.

        Raises:
            ValueError: it is not text in UTF-8, or longer than `LONGEST`.
            OSError: it cannot be read.
        """
        while len(self._ahead) <= index:
            if (line := next(self._source, None)) is None:
                return None
            self._ahead.append(line)
        line = self._ahead[index]
        where = f"line {self.number + index}"
        if len(line) > LONGEST:
            raise ValueError(f"{where} has more than {LONGEST:,} bytes")
        if b"\0" in line:
            raise ValueError(f"{where} holds NUL bytes, so it is not text; save it as UTF-8")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: {error}; save it as UTF-8") from None

    def drop(self, count: int = 1) -> None:
        """Go on behind some lines that have been looked at."""
        for _ in range(count):
            self.offset += len(self._ahead.popleft())
        self.number += count


def begin(file: BinaryIO) -> Lines:
    """All lines of a file, behind its byte order mark.

    Raises:
        ValueError: it is UTF-16.
    """
    head = file.read(3)
    file.seek(0, os.SEEK_SET)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16; save it as UTF-8")
    return Lines(file, offset=len(codecs.BOM_UTF8) if head == codecs.BOM_UTF8 else 0)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Lines as they stand there, whichever of the three ends they have. One that is too long ends
    all, cut."""
    while piece := file.readline(LONGEST + 1):
        if len(piece) > LONGEST:
            yield piece
            return
        if piece.find(b"\r", 0, len(piece) - 2) < 0 and not piece.endswith(b"\r"):
            yield piece
        else:
            yield from _LINE.findall(piece)
