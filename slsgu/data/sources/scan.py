"""Walk a folder for image files, in a fixed order, without being caught by loops of links."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from slsgu.errors import DataError
from slsgu.utils.wording import printable, some

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_SHOWN = 5


@dataclass
class FolderContents:
    """What lies under a folder. Paths are relative to `root`, folders and files sorted by name.

    Attributes:
        images: the image files of each folder that holds some.
        others: files that are not images by their extension.
        repeats: folders that are links to one already read.
        unreadable: folders that could not be opened.
        below: names of the folders directly below `start`.
    """

    root: Path
    start: Path
    images: dict[Path, list[Path]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    repeats: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    below: list[str] = field(default_factory=list)

    def tops(self, part: Path) -> list[str]:
        """Names of the folders directly below `part` that hold images at any depth."""
        base = part.relative_to(self.root)
        inside = (folder.relative_to(base).parts for folder in self.images)
        return list(dict.fromkeys(parts[0] for parts in inside if parts))

    def notes(self) -> list[str]:
        """What was left out, for people."""
        loose = self.images.get(self.start.relative_to(self.root), [])
        excluded = (
            (loose, "image(s) beside the class folders belong to no class"),
            (self.others, "file(s) are not images by their extension"),
            (self.repeats, "folder(s) are links to a folder that is read already"),
            (self.unreadable, "folder(s) cannot be opened"),
        )
        notes = [
            f"{len(paths)} {description}: {some([shown(path) for path in paths], _SHOWN)}"
            for paths, description in excluded
            if paths
        ]
        full = set(self.tops(self.start))
        empty = [shown(Path(name)) for name in self.below if name not in full]
        if empty:
            notes.append(f"{len(empty)} folder(s) hold no image: {some(empty, _SHOWN)}")
        return notes


def scan(root: Path, start: Path) -> FolderContents:
    """Find all images at or below `start`.

    Links are followed, but every real folder is read once, so loops end. Hidden files and folders
    are passed over.

    Args:
        root: paths in the result are relative to it.
        start: `root` or a folder below it.

    Raises:
        DataError: `start` itself cannot be read.
    """
    contents = FolderContents(root, start)
    visited: set[tuple[int, int]] = set()
    todo = [start]
    while todo:
        folder = todo.pop()
        relative = folder.relative_to(root)
        try:
            status = folder.stat()
            with os.scandir(folder) as entries:
                inside = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
        except OSError as error:
            if folder == start:
                raise DataError(f"cannot read image folder {folder}: {error.strerror}") from None
            contents.unreadable.append(relative)
            continue
        if (status.st_dev, status.st_ino) in visited:
            contents.repeats.append(relative)
            continue
        visited.add((status.st_dev, status.st_ino))
        images: list[Path] = []
        below: list[Path] = []
        for entry in inside:
            if is_folder(entry):
                below.append(folder / entry.name)
            elif Path(entry.name).suffix.lower() not in EXTENSIONS:
                contents.others.append(relative / entry.name)
            elif _may_be_read(entry):
                images.append(relative / entry.name)
            else:  # a pipe or device would hang the reader
                contents.others.append(relative / entry.name)
        if images:
            contents.images[relative] = images
        if folder == start:
            contents.below = [path.name for path in below]
        todo += reversed(below)  # a stack: the first by name comes off first
    return contents


def title_of(folder: Path) -> str:
    """What a folder is called, as it was named: a link by its own name, `.` by that of the folder.

    >>> title_of(Path("photos/")), title_of(Path("../pets")), title_of(Path(".")) == Path.cwd().name
    ('photos', 'pets', True)
    """
    return shown(Path(folder.name if folder.name not in ("", "..") else folder.resolve().name))


def shown(path: Path) -> str:
    """A path as people see it: with `/`, and as `printable` text whatever the bytes of the name."""
    try:
        text = os.fsencode(path.as_posix()).decode("utf-8", "replace")
    except UnicodeEncodeError:  # no name of a file: half a surrogate pair
        text = path.as_posix()
    return printable(text)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, a link to one, or a link to nothing or to itself, which is
    reported when it is read. A pipe or device would hang the reader."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True
