"""What `--forget`, `--retain` and `--also` name: a table, shards, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slsgu.data.sources.pipes import remove_leftovers
from slsgu.data.sources.records import FilePicture, LeftOut, Record, RecordSource
from slsgu.data.sources.scan import scan, shown, title_of
from slsgu.data.sources.shards import ShardSource, expand, is_address, is_shards
from slsgu.data.sources.tables import SUFFIXES, TableSource
from slsgu.errors import DataError
from slsgu.utils.names import refuse_blank


class PictureFolder:
    """Every picture below a folder, without captions; a folder within it names a class."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out = LeftOut()

    def records(self) -> Iterator[Record]:
        contents = scan(self.root, self.root)
        for folder, images in contents.images.items():
            label = shown(Path(folder.name)) if folder.name else None
            for path in images:
                yield Record(shown(path), FilePicture(self.root / path), label=label)

    def describe(self) -> dict[str, Any]:
        return {"kind": "pictures", "root": title_of(self.root)}


# What reads a file, by its suffix. A new kind of file is a class of its own and a line here.
FILES: dict[str, Callable[[Path], RecordSource]] = {
    **dict.fromkeys(SUFFIXES, TableSource),
}


def is_class_folders(spec: str | Path) -> bool:
    """Whether data is named by a folder of class folders; else `open_source` knows what it is. What
    is not there counts as one: it is missed by the name that people know."""
    refuse_blank(spec, "the name of the data", DataError)
    path = Path(spec)
    if is_shards(str(spec)) or path.suffix.lower() in FILES:
        return _is_folder(path)
    return not (_is_folder(path) and any(path.glob("*.tar")))


def open_source(spec: str | Path) -> RecordSource:
    """The source that a specification names.

    Args:
        spec: `pairs.csv`, `.tsv` or `.jsonl`; `shard-{000..009}.tar`, or `pipe:COMMAND`; a folder
            that holds shards; or any other folder, for the pictures below it.

    Raises:
        DataError: there is no such thing.
    """
    remove_leftovers()
    text = str(spec)
    if is_shards(text):
        shards = expand(text)
        for shard in shards:
            if not is_address(shard) and not _exists(Path(shard)):
                raise DataError(f"no such shard: {shard}{_hint(shard)}")
        return ShardSource(shards)
    path = Path(text)
    if not text or not _exists(path):
        raise DataError(f"no such file or folder: {text or 'an empty name'}{_hint(text)}")
    if _is_folder(path):
        shards = sorted(str(entry) for entry in path.glob("*.tar"))
        return ShardSource(shards) if shards else PictureFolder(path)
    if path.suffix.lower() in FILES:
        return FILES[path.suffix.lower()](path)
    raise DataError(
        f"{text} is not a data source: give a folder, a {', '.join(FILES)} file, or .tar shards"
    )


def _hint(name: str) -> str:
    return (
        " (to name several shards, use braces: a-{000..009}.tar)" if set("*?") & set(name) else ""
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
