"""What `--forget`, `--retain` and `--also` name: a table, shards, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slsgu.data.records import FilePicture, LeftOut, Record, Source
from slsgu.data.scan import scan, shown
from slsgu.data.shards import ShardSource, expand, is_shards
from slsgu.data.tables import SUFFIXES, TableSource
from slsgu.errors import DataError


class PictureFolder:
    """Every picture below a folder, without captions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out = LeftOut()

    def records(self) -> Iterator[Record]:
        found = scan(self.root, self.root)
        for images in found.images.values():
            for path in images:
                yield Record(shown(path), FilePicture(self.root / path))

    def describe(self) -> dict[str, Any]:
        return {"kind": "pictures", "root": shown(Path(self.root.resolve().name))}


def is_class_folders(spec: str | Path) -> bool:
    """Whether data is named by a folder of class folders; else `open_source` knows what it is. What
    is not there counts as one: it is missed by the name that people know."""
    path = Path(spec)
    if is_shards(str(spec)) or path.suffix.lower() in SUFFIXES:
        return _is_folder(path)
    return not (_is_folder(path) and any(path.glob("*.tar")))


def open_source(spec: str | Path) -> Source:
    """The source that a specification names.

    Args:
        spec: `pairs.csv`, `.tsv` or `.jsonl`; `shard-{000..009}.tar`, or `pipe:COMMAND`; a folder
            that holds shards; or any other folder, for the pictures below it.

    Raises:
        DataError: there is no such thing.
    """
    text = str(spec)
    if is_shards(text):
        return ShardSource(expand(text))
    path = Path(text)
    if _is_folder(path):
        shards = sorted(str(entry) for entry in path.glob("*.tar"))
        return ShardSource(shards) if shards else PictureFolder(path)
    if path.suffix.lower() in SUFFIXES:
        return TableSource(path)
    try:
        there = path.exists()
    except OSError as error:
        raise DataError(f"no such source: {text} ({error.strerror})") from None
    if not there:
        raise DataError(f"no such source: {text}")
    raise DataError(
        f"{text} is no source: give a folder, a {', '.join(SUFFIXES)} file, or .tar shards"
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False
