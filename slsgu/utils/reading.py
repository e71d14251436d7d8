"""Reading of files that others have written.

A pipe, a device or a file of terabytes under the name of a small file ends in a message, not in a
hang.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from slsgu.errors import ArtifactError, SlsguError

MOST_TEXT = 64 << 20  # bytes of a file that is read whole as text


def open_regular(path: Path, what: str, *, error: type[SlsguError] = ArtifactError) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes. Never waits, as opening a named
    pipe does, and never opens a device.

    Args:
        what: what the file is, in the message: "cannot read WHAT PATH: ...".
        error: raised where it is not one.

    Raises:
        SlsguError: `error`: the file is missing, is no regular file, or cannot be opened.
    """
    try:
        return os.fdopen(open_descriptor(path), "rb")
    except FileNotFoundError:
        raise error(f"{what} not found: {path}") from None
    except (OSError, ValueError) as problem:  # ValueError: a name that holds a NUL character
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error(f"cannot read {what} {path}: {reason}") from None


def open_descriptor(path: Path) -> int:
    """The number of a regular file that was opened for reading, as `open_regular` does.

    Raises:
        OSError: as `open_regular`.
    """
    _check_regular(path.stat())  # before it is opened: to open a device can change its state
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(os.fstat(file))  # it may be another by now
    except BaseException:
        os.close(file)
        raise
    return file


def read_bytes(
    path: Path, what: str, *, limit: int = MOST_TEXT, error: type[SlsguError] = ArtifactError
) -> bytes:
    """The bytes of a regular file that holds no more than `limit` of them.

    Args:
        what: what the file is, for messages.
        error: the class of the error.

    Raises:
        SlsguError: `error`: as `open_regular`, or the file is larger.
    """
    with open_regular(path, what, error=error) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > limit else file.read(limit + 1)  # /proc gives files the size 0
        except OSError as problem:
            raise error(f"cannot read {what} {path}: {problem.strerror or problem}") from None
    if max(size, len(data)) > limit:
        raise error(
            f"cannot read {what} {path}: it holds {max(size, len(data)):,} bytes, and more than "
            f"{limit:,} are not read"
        )
    return data


def read_text(
    path: Path, what: str, *, limit: int = MOST_TEXT, error: type[SlsguError] = ArtifactError
) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark.

    Args:
        what: what the file is, for messages.
        limit: bytes.
        error: the class of the error.

    Raises:
        SlsguError: `error`: as `read_bytes`, or the file is not text in UTF-8.
    """
    data = read_bytes(path, what, limit=limit, error=error)
    try:
        return decode_text(data)
    except ValueError as problem:
        raise error(f"cannot read {what} {path}: {problem}") from None


def decode_text(data: bytes) -> str:
    """Bytes as UTF-8, with or without a byte order mark.

    Raises:
        ValueError: they are something else; the message says what, and what to do.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16; save it as UTF-8")
    if b"\0" in data:
        raise ValueError("it holds NUL bytes, so it is not text in UTF-8; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{error}; save it as UTF-8") from None


def _check_regular(status: os.stat_result) -> None:
    """Raises:
    OSError: what is there is no regular file.
    """
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file")
