"""The members of a tar file: read forwards, with bounds, and without trusting what a header claims.

`tarfile` reads a long name of any size that a header claims, follows chains of headers by
recursion, and remembers every member. Its reader of a single header is used here.
"""

from __future__ import annotations

import errno
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512  # bytes: a tar file consists of such, and ends with two that are empty
_MOST_HEADER = 1 << 20  # bytes of a long name, or of a pax header
_MOST_HEADERS = 16  # of one member
_MOST_ZEROS = 64 << 20  # bytes of padding behind the end, or between one tar file and the next
_CHUNK = 1 << 20
_PAX = re.compile(rb"(\d{1,7}) ([^=]{1,1000})=")
_LONG_NAME, _LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_DATA_FREE = {
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
}  # whatever their size says


class TarError(ValueError):
    """What is read is no header, or leads nowhere: where the next one is cannot be known."""


@dataclass(frozen=True)
class Member:
    """A file within a tar file.

    Attributes:
        offset, size: where its bytes are; they lie within the file.
        problem: why it cannot be used, or None.
    """

    name: str
    offset: int
    size: int
    problem: str | None = None


@dataclass
class _More:
    """What the headers before a member say of it. Of several that say the same the first counts,
    as in `tarfile`."""

    count: int = 0
    name: str | None = None
    size: int | None = None
    problem: str | None = None


def is_tar(file: int) -> bool:
    """Whether a file begins as a tar file does: with a header that is whole, or with nothing."""
    block = os.pread(file, BLOCK, 0)
    try:
        return block == bytes(BLOCK) or bool(_header(block))
    except TarError:
        return False


def members(file: int) -> Iterator[Member | None]:
    """The files in a tar file, in order; where it is several in a row, those of all, with None
    between them. Links, folders and devices are passed over.

    Args:
        file: descriptor of a regular file, which is read by places.

    Raises:
        TarError: what stands at a place is no header, or the file ends without an end. What was
            yielded before is whole.
        OSError: the file cannot be read.
    """
    end = os.fstat(file).st_size
    at, more = 0, _More()
    while True:
        block = os.pread(file, BLOCK, at)
        if block == bytes(BLOCK):
            at = _behind_zeros(file, at, end)
            if at >= end:
                return
            more = _More()
            yield None
            continue
        info = _header(block)
        kind, offset = info.type, at + BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, *_PAX_TYPES, tarfile.XGLTYPE):
            _learn(more, kind, _payload(file, offset, info.size, end))
            at = _behind(offset, info.size, end)
            continue
        size = info.size if more.size is None else more.size
        if kind == tarfile.GNUTYPE_SPARSE:
            offset = _behind_map(file, offset, block[482])
            more.problem = more.problem or "it is stored as a sparse file"
        if kind in _DATA_FREE:
            at, more = offset, _More()
            continue
        at = _behind(offset, size, end)
        if info.isreg():
            yield Member(info.name if more.name is None else more.name, offset, size, more.problem)
        more = _More()


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise TarError(str(error)) from None


def _behind(offset: int, size: int, end: int) -> int:
    """The place behind some bytes, at the next whole block."""
    if not 0 <= size <= end - offset:
        raise TarError(f"a member claims {size:,} bytes, and the file ends before")
    return offset + -(-size // BLOCK) * BLOCK


def _payload(file: int, offset: int, size: int, end: int) -> bytes | None:
    """What a header of headers holds; None if it is too much."""
    _behind(offset, size, end)
    return os.pread(file, size, offset) if size <= _MOST_HEADER else None


def _learn(more: _More, kind: bytes, data: bytes | None) -> None:
    """Take in what a header says of the member behind it."""
    more.count += 1
    if more.count > _MOST_HEADERS:
        raise TarError(f"a member has more than {_MOST_HEADERS} headers")
    if kind in (_LONG_LINK, tarfile.XGLTYPE):  # of links, and of all members: nothing that is used
        return
    if data is None:
        more.problem = more.problem or "its header is too long"
    elif kind == _LONG_NAME:
        if more.name is None:
            more.name = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    else:
        _learn_pax(more, data)


def _learn_pax(more: _More, data: bytes) -> None:
    """Records such as `30 path=a/b.png`, of which the number is the length in bytes."""
    at = 0
    while at < len(data) and data[at]:
        match = _PAX.match(data, at)
        stop = at + int(match[1]) if match else 0
        if match is None or not match.end() < stop <= len(data) or data[stop - 1] != ord("\n"):
            more.problem = more.problem or "its header is damaged"
            return
        key, value = match[2], data[match.end() : stop - 1]
        if key.startswith(b"GNU.sparse."):
            more.problem = more.problem or "it is stored as a sparse file"
        elif key == b"path" and more.name is None:
            more.name = value.decode("utf-8", "surrogateescape").rstrip("/")
        elif key == b"size" and more.size is None:
            if not re.fullmatch(rb"\d{1,30}", value):
                raise TarError("the size of a member is not a number")
            more.size = int(value)
        at = stop


def _behind_map(file: int, offset: int, extended: int) -> int:
    """The place behind the map of an old sparse member, which goes on in blocks of its own."""
    for _ in range(_CHUNK // BLOCK):
        if not extended:
            return offset
        block = os.pread(file, BLOCK, offset)
        if len(block) < BLOCK:
            break
        extended, offset = block[504], offset + BLOCK
    raise TarError("the map of a sparse member does not end")


def _behind_zeros(file: int, at: int, end: int) -> int:
    """The next block that holds anything, or the end of the file. Holes in it are not read."""
    zeros = 0
    while at < end and zeros < _MOST_ZEROS:
        try:
            at = max(at, os.lseek(file, at, os.SEEK_DATA) // BLOCK * BLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole
                return end
        except AttributeError:
            pass  # not on this system
        data = os.pread(file, _CHUNK, at)
        if rest := data.lstrip(b"\0"):
            return at + (len(data) - len(rest)) // BLOCK * BLOCK
        if not data:
            break
        at, zeros = at + len(data), zeros + len(data)
    return end
