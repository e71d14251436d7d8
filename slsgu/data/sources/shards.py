"""WebDataset shards: tar files in which members of one name belong together.

    000000001.jpg  000000001.txt  000000001.cls

Shards are never unpacked. A local shard is looked through once, from its beginning, and every
picture is later read from its place; what comes through a pipe has no places, so it is kept in a
temporary file while the program runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsgu.data.sizes import too_large
from slsgu.data.sources.braces import expand_braces
from slsgu.data.sources.pipes import spooled
from slsgu.data.sources.records import LeftOut, PartPicture, Record
from slsgu.data.sources.scan import shown
from slsgu.data.sources.tar import Member, TarError, is_tar, members
from slsgu.errors import DataError
from slsgu.utils.reading import open_regular, read_text
from slsgu.utils.wording import printable

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")
TEXTS = ("txt", "cls")
NAMES = "classnames.txt"  # in a shard's folder: one class per line; `cls` counts from 0
_MEMBER = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # as WebDataset splits a name
_ADDRESS = re.compile(r"pipe:|[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MOST_TEXT = 1 << 20  # bytes of a caption
_MOST_NAMES = 16 << 20  # bytes of the names of classes


def is_address(text: str) -> bool:
    """Whether a source is one that the webdataset library opens, and no path.

    >>> is_address("pipe:cat a.tar"), is_address("s3://b/a.tar"), is_address("my: ship.tar")
    (True, True, False)
    """
    return _ADDRESS.match(text) is not None


def is_shards(spec: str) -> bool:
    """Whether a source is named as shards."""
    ends = (".tar", ".tar.gz", ".tgz")
    return any(is_address(part) or part.lower().endswith(ends) for part in spec.split("::"))


def expand(spec: str) -> list[str]:
    """The shards that a specification names: `a-{000..012}.tar`, several joined by `::`. A file
    that is called so, braces and all, is meant before what its name would stand for.

    Raises:
        DataError: the braces are not balanced, or stand for absurdly many shards; or there is
            nothing before or behind a `::`.
    """
    if _is_file(spec):
        return [spec]
    shards: list[str] = []
    for part in spec.split("::"):
        if "{" not in part or _is_file(part):
            shards.append(part)
            continue
        try:
            shards += expand_braces(part)
        except ValueError as error:
            raise DataError(f"{part} names no shards: {error}") from None
    if not all(shards):
        raise DataError(f"{spec} names no shard before or behind a '::'")
    return shards


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # such as a name that is too long
        return False


class ShardSource:
    """The records of shards, one shard after the other.

    Args:
        shards: paths, or what the webdataset library opens (`pipe:COMMAND`).
    """

    def __init__(self, shards: list[str]) -> None:
        self.shards = shards
        self.left_out = LeftOut()
        folders = dict.fromkeys(Path(shard).parent for shard in shards if not is_address(shard))
        self._names = {
            folder: _class_names(folder / NAMES) for folder in folders if (folder / NAMES).is_file()
        }

    @property
    def classes(self) -> list[str]:
        """The names of the classes, as far as files beside the shards list them."""
        return list(dict.fromkeys(name for names in self._names.values() for name in names))

    def records(self) -> Iterator[Record]:
        for shard in self.shards:
            path = spooled(shard) if is_address(shard) else Path(shard)
            yield from self._shard(path, shard)

    def describe(self) -> dict[str, Any]:
        more = f" and {len(self.shards) - 1} more" if len(self.shards) > 1 else ""
        root = _title(self.shards[0])
        return {"kind": "shards", "root": root + more, "shards": len(self.shards)}

    def _shard(self, path: Path, shard: str) -> Iterator[Record]:
        title = name = _title(shard)
        names = self._names.get(Path(shard).parent)
        source = printable(shard)
        try:
            if path.is_fifo():
                raise DataError(f"{source} can be read only once: give 'pipe:cat {source}'")
            with open_regular(path, "shard", error=DataError) as file:
                if os.pread(file.fileno(), 2, 0) == b"\x1f\x8b":
                    raise DataError(
                        f"{source} is compressed, so single pictures cannot be read from it: "
                        f"decompress it, or give 'pipe:gzip -dc {source}'"
                    )
                entry = _Entry("")
                part = 1
                for member in self._members(file.fileno(), source, title):
                    if member is None:  # another tar file: its names have nothing to do with these
                        yield from self._record(path, name, entry, names)
                        entry = _Entry("")
                        part += 1
                        name = f"{title} ({part})"
                        continue
                    match = _MEMBER.match(member.name)
                    if match is None:
                        continue
                    kind = match[2].lower()
                    if match[1] != entry.key or kind in entry.members:  # a name that stands twice
                        yield from self._record(path, name, entry, names)
                        entry = _Entry(match[1])
                    entry.members[kind] = member
                    if kind in TEXTS:  # now, so that the file is read forwards
                        entry.texts[kind] = _read(file.fileno(), member)
                yield from self._record(path, name, entry, names)
        except OSError as error:
            raise DataError(f"cannot read shard {source}: {error.strerror or error}") from None

    def _members(self, file: int, source: str, title: str) -> Iterator[Member | None]:
        """The files of a shard, as far as it is whole; where it is several in a row, those of all,
        with None between them.

        Raises:
            DataError: there is none, and it is no tar file.
        """
        count = 0
        before = 0
        try:
            for member in members(file):
                before = count if member is None else before
                count += member is not None
                yield member
        except TarError as error:
            if not is_tar(file):
                raise DataError(f"{source} is not a tar file ({error})") from None
            problem = "is followed by something else" if count == before > 0 else "is damaged"
            self.left_out.add(title, f"the shard {problem} after {count} members, which are used")

    def _record(
        self, path: Path, shard: str, entry: _Entry, names: list[str] | None
    ) -> Iterator[Record]:
        """The record of members that share a key, unless something is missing."""
        members = entry.members
        if not members:
            return
        name = f"{shard}/{shown(Path(entry.key))}"
        kind = next((kind for kind in PICTURES if kind in members), None)
        if kind is None:
            self.left_out.add(
                name, f"it has no picture ({', '.join(PICTURES[:-1])} or {PICTURES[-1]})"
            )
        elif why := _unusable(members[kind]):
            self.left_out.add(name, why)
        elif not entry.texts:
            self.left_out.add(name, "it has neither a caption (txt) nor a class (cls)")
        else:
            try:
                caption, label = (
                    _text(entry.texts[part]) if part in entry.texts else None for part in TEXTS
                )
                label = _class(label, names)
            except ValueError as error:
                self.left_out.add(name, str(error))
                return
            if caption is None and label is None:
                self.left_out.add(name, "the caption is empty")
                return
            place = PartPicture(path, members[kind].offset, members[kind].size)
            yield Record(name, place, caption, label)


@dataclass
class _Entry:
    """The members of one name, and the bytes of those that are text, or why there are none."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    texts: dict[str, bytes | str] = field(default_factory=dict)


def _title(shard: str) -> str:
    """What a shard is called: without the folders of a path or an address."""
    return shown(Path(shard.split("/")[-1]))


def _class(text: str | None, names: list[str] | None) -> str | None:
    """The name of a class: a `cls` is an index into the names, or a name itself. Without names a
    number stays one, which a taxonomy may know.

    Raises:
        ValueError: there are not so many names.
    """
    if text is None or not text.isdecimal() or names is None:
        return text
    if len(text) > 9 or int(text) >= len(names):  # `int` refuses thousands of digits
        raise ValueError(
            f"cls is {text[:9]}, but there are {len(names)} class names, counted from 0"
        )
    return names[int(text)]


def _unusable(picture: Member) -> str | None:
    """What is the matter with a member that should be a picture."""
    if picture.problem is not None:
        return f"the picture cannot be read: {picture.problem}"
    if picture.size == 0:
        return "the picture is empty"
    return too_large(picture.size)


def _class_names(path: Path) -> list[str]:
    text = read_text(path, "class names", limit=_MOST_NAMES, error=DataError)
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, start=1):
        where = f"{shown(path)} line {number}"
        if not name:
            raise DataError(f"{where} is empty: `cls` counts lines, so each must hold a name")
        if name != printable(name):
            raise DataError(f"{where} holds unprintable characters: {name!r}")
    return names


def _read(file: int, member: Member) -> bytes | str:
    """The bytes of a member, or in words why there are none."""
    if member.problem is not None:
        return f"its text cannot be read: {member.problem}"
    if member.size > _MOST_TEXT:
        return "its text is too long for a caption"
    data = os.pread(file, member.size, member.offset)
    return data if len(data) == member.size else "its text cannot be read"


def _text(data: bytes | str) -> str | None:
    """What a member says; None for nothing.

    Raises:
        ValueError: it is not text.
    """
    if isinstance(data, str):
        raise ValueError(data)
    if b"\0" in data:
        raise ValueError("its text holds NUL bytes, so it is not UTF-8")
    try:
        return data.decode("utf-8-sig").strip() or None
    except UnicodeDecodeError:
        raise ValueError("its text is not UTF-8") from None
