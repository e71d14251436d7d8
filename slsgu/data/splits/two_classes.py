"""Pictures that stand under two classes: which label holds, if any.

A picture (by the bytes of its file) under a class that is to be forgotten is a picture of that
class and of no other: it would be forgotten and kept at once. Between two classes that are kept
nobody can say which is right, so neither has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from slsgu.concepts.taxonomy import Concept
from slsgu.data.sizes import too_large
from slsgu.data.sources.folders import FileSample, FolderSource
from slsgu.data.sources.scan import shown
from slsgu.utils.files import file_sha256


def settle_labels(
    ordered: Mapping[str, Mapping[Concept, list[FileSample]]],
    source: FolderSource,
    forget: frozenset[Concept],
) -> list[str]:
    """Take pictures that stand under two classes away from all but a forgotten one, in place.

    Large classes are not read whole. Of those to be forgotten, files that were not read are
    looked at here if one of the kept samples is of the same size; of two kept classes, a picture
    is noticed only if both of its files were read.

    Args:
        ordered: the samples of each split and leaf.
        source: all files.
        forget: leaves that are to be forgotten.

    Returns:
        The places of each such picture, as `train/dog/1.png = train/cat/1.png`.
    """
    places: dict[str, dict[Concept, str]] = {}
    kept: list[FileSample] = []
    paths_read: set[Path] = set()
    for by_leaf in ordered.values():
        for leaf, samples in by_leaf.items():
            for sample in samples:
                places.setdefault(sample.fingerprint, {})[leaf] = sample.name
                paths_read.add(sample.path)
                if leaf not in forget:
                    kept.append(sample)
    sizes = {_size(sample.path) for sample in kept} - {0}
    for leaf, path, content in _unread(source, forget, paths_read, sizes):
        if content in places:
            places[content].setdefault(leaf, shown(path))
    conflicts = {content: names for content, names in places.items() if len(names) > 1}
    winner = {
        content: next((leaf for leaf in names if leaf in forget), None)
        for content, names in conflicts.items()
    }
    for by_leaf in ordered.values():
        for leaf, samples in by_leaf.items():
            samples[:] = [s for s in samples if winner.get(s.fingerprint, leaf) is leaf]
    return [" = ".join(names.values()) for names in conflicts.values()]


def _unread(
    source: FolderSource, forget: frozenset[Concept], paths_read: set[Path], sizes: set[int]
) -> Iterator[tuple[Concept, Path, str]]:
    """Files of forgotten leaves that are not samples yet, but may be copies of one by their size:
    leaf, path and hash."""
    for part in source.parts.values():
        for leaf in source.taxonomy.leaves:
            for path in part.get(leaf, ()) if leaf in forget else ():
                file = source.root / path
                if file not in paths_read and _size(file) in sizes:
                    try:
                        yield leaf, path, file_sha256(file)
                    except OSError:
                        continue  # it is reported when it is read, if it ever is


def _size(path: Path) -> int:
    """Bytes of a file, or 0 where there is none, or more than a picture has."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return 0 if too_large(size) else size
