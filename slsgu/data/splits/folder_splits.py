"""Which files of the class folders go into which split."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from slsgu.concepts.taxonomy import Concept
from slsgu.data.samples import Sample
from slsgu.data.sizes import too_large
from slsgu.data.sources.folders import FileSample, FolderSource
from slsgu.data.splits.partition import SMALL_CLASS, SPLITS, by_count, by_rank, rank
from slsgu.data.splits.two_classes import settle_labels
from slsgu.errors import DataError
from slsgu.utils.files import file_sha256
from slsgu.utils.wording import some

Bounds = Mapping[Concept, Mapping[str, int | None]]
_Ordered = dict[str, dict[Concept, list[FileSample]]]


def choose_files(
    source: FolderSource,
    bounds: Bounds,
    forget: frozenset[Concept],
    seed: int,
    wanted: Sequence[str] = SPLITS,
    contents: dict[Path, str] | None = None,
) -> tuple[dict[str, list[Sample]], list[str]]:
    """Divide every class among the splits, then keep files with the same bytes in one split.

    Args:
        source: the files.
        bounds: for each leaf and split, the most images to take; None for all.
        forget: leaves that must have images in every split.
        seed: chooses which.
        wanted: the splits to fill; what is not wanted leaves its images to the others.
        contents: hashes of files, by path, that an earlier call has found; learns those of this.

    Returns:
        The samples of each split, by leaf and then by rank; and notes for people.

    Raises:
        DataError: a leaf in `forget` has too few images.
    """
    contents = {} if contents is None else contents
    feeds: dict[str, Sequence[str]] = {"all": SPLITS}
    if "train" in source.parts:
        feeds = {"train": SPLITS[:2], "test": SPLITS[2:]}
    feeds = {part: [x for x in splits if x in wanted] for part, splits in feeds.items()}
    ordered: _Ordered = {split: {} for split in SPLITS}
    small: list[str] = []
    copies = 0
    for part, splits in feeds.items():
        for leaf in source.taxonomy.leaves if splits else ():
            paths = source.parts[part].get(leaf, ())
            members, repeated = _members(source, leaf, paths, bounds[leaf], splits, seed, contents)
            copies += repeated
            if members is None:
                count = len(paths) - repeated
                if leaf in forget:
                    raise DataError(_too_few(leaf, part, count, splits))
                if paths:  # the source reports a leaf without any
                    small.append(f"{leaf.key} ({count})")
                continue
            for split in splits:
                ordered[split][leaf] = members[split]
    conflicts = settle_labels(ordered, source, forget)
    chosen, shared = _limited(ordered, bounds)
    for leaf in forget:
        for split in SPLITS:
            if not any(sample.leaf is leaf for sample in chosen[split]):
                raise DataError(
                    f"every {split} image of {leaf.key!r} is a copy of one in another split; "
                    "add different images"
                )
    notes = (
        [f"{copies} file(s) are copies of another file of the same class; each picture counts once"]
        if copies
        else []
    )
    if small:
        notes.append(f"classes with too few different images to divide, left out: {some(small)}")
    if conflicts:
        notes.append(
            f"{len(conflicts)} picture(s) are under two classes: if one is to be forgotten, the "
            f"picture counts there alone, otherwise nowhere: {some(conflicts, 3)}"
        )
    if shared:
        notes.append(
            f"{len(shared)} file(s) left out, since another split holds a file with the same "
            f"bytes: {some(shared)}"
        )
    return chosen, notes


def _too_few(leaf: Concept, part: str, count: int, splits: Sequence[str]) -> str:
    where = "" if part == "all" else f" in {part}/"
    return (
        f"{leaf.key!r} is to be forgotten but has {count} different image(s){where}; "
        f"it needs at least {len(splits)}, one each for {', '.join(splits)}"
    )


def _members(
    source: FolderSource,
    leaf: Concept,
    paths: Sequence[Path],
    bounds: Mapping[str, int | None],
    splits: Sequence[str],
    seed: int,
    contents: dict[Path, str],
) -> tuple[dict[str, list[FileSample]] | None, int]:
    """The distinct files of a class by split, each in a fixed order, and how many were copies.

    A large class is looked through in an order that its paths decide, until every split has
    enough; the rest is never opened. None means too few files to give every split one.
    """
    large = len(paths) > SMALL_CLASS
    if large:
        paths = sorted(paths, key=lambda path: rank(os.fsencode(path.as_posix()), seed))
    needed = {split: _with_spare(bounds[split]) for split in splits}
    members: dict[str, list[FileSample]] = {split: [] for split in splits}
    distinct: dict[str, FileSample] = {}
    copies = 0
    for path in paths:
        if large and all(len(members[split]) >= needed[split] for split in splits):
            return members, copies
        if path not in contents:
            contents[path] = _fingerprint(source.root, path)
        content = contents[path]
        if content in distinct:
            copies += 1
            continue
        distinct[content] = source.sample(leaf, path, content)
        members[by_rank(rank(content, seed), splits)].append(distinct[content])
    if len(distinct) < len(splits):
        return None, copies
    # A large class is cut at fixed ranks however many of its files are copies, so that the split of
    # an image does not depend on how many files the limits let be read; unless a split stays empty.
    if not large or not all(members[split] for split in splits):
        ranked = sorted(distinct.values(), key=lambda sample: rank(sample.fingerprint, seed))
        start = 0
        for split, size in by_count(len(ranked), splits).items():
            members[split] = ranked[start : start + size]
            start += size
    return members, copies


def _with_spare(limit: int | None) -> float:
    """A few more than wanted, since some may be taken by another split."""
    return math.inf if limit is None else limit + limit // 4 + 1


def _fingerprint(root: Path, path: Path) -> str:
    """Hash of a file's bytes. A file that is empty, too large or cannot be opened is nobody's copy:
    it is identified by its path, and reported when it is read."""
    try:
        if (size := (root / path).stat().st_size) and not too_large(size):
            return file_sha256(root / path)
    except OSError:
        pass
    return hashlib.sha256(b"no content:" + os.fsencode(path.as_posix())).hexdigest()


def _limited(ordered: _Ordered, bounds: Bounds) -> tuple[dict[str, list[Sample]], list[str]]:
    """Apply the limits; of files with the same bytes, the first split that takes one keeps it.

    Within a class there are no copies left, so only files under two classes or parts can meet.
    """
    owner: dict[str, str] = {}
    chosen: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    shared: list[str] = []
    for split in SPLITS:
        for leaf, samples in ordered[split].items():
            count = 0
            for sample in samples:
                if count == bounds[leaf][split]:
                    break
                if owner.setdefault(sample.fingerprint, split) != split:
                    shared.append(sample.name)
                    continue
                chosen[split].append(sample)
                count += 1
    contents = [{sample.fingerprint for sample in chosen[split]} for split in SPLITS]
    assert sum(map(len, contents)) == len(set().union(*contents)), "splits share a file's content"
    return chosen, shared
