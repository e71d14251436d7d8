"""Which files of the class folders go into which split."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from slsgu.data.folders import FileSample, FolderSource
from slsgu.data.partition import SPLITS, candidates, divide, rank
from slsgu.data.samples import Sample
from slsgu.data.scan import some
from slsgu.errors import DataError
from slsgu.files import file_sha256
from slsgu.taxonomy import Concept

Bounds = Mapping[Concept, Mapping[str, int | None]]
_Ordered = dict[str, dict[Concept, list[FileSample]]]


def choose_files(
    source: FolderSource, bounds: Bounds, forget: frozenset[Concept], seed: int
) -> tuple[dict[str, list[Sample]], list[str]]:
    """Divide every class among the splits, then keep files with the same bytes in one split.

    Args:
        source: the files.
        bounds: for each leaf and split, the most images to take; None for all.
        forget: leaves that must have images in every split.
        seed: chooses which.

    Returns:
        The samples of each split, by leaf and then by rank; and notes for people.

    Raises:
        DataError: a leaf in `forget` has too few images.
    """
    feeds: dict[str, tuple[str, ...]] = {"all": SPLITS}
    if "train" in source.parts:
        feeds = {"train": SPLITS[:2], "test": SPLITS[2:]}
    ordered: _Ordered = {split: {} for split in SPLITS}
    few: list[str] = []
    copies = 0
    for part, splits in feeds.items():
        for leaf in source.taxonomy.leaves:
            paths = source.parts[part].get(leaf, ())
            samples, repeated = _ranked(source, leaf, paths, bounds[leaf], splits, seed)
            copies += repeated
            if len(samples) < len(splits):
                what = f"{leaf.key} ({len(samples)})"
                if leaf in forget:
                    raise DataError(_too_few(leaf, part, len(samples), splits))
                if samples:  # a leaf without any has been noted by the source
                    few.append(what)
                continue
            start = 0
            for split, size in divide(len(samples), splits).items():
                ordered[split][leaf] = samples[start : start + size]
                start += size
    chosen, shared = _apart(ordered, bounds)
    for leaf in forget:
        for split in SPLITS:
            if not any(sample.leaf is leaf for sample in chosen[split]):
                raise DataError(
                    f"every {split} image of {leaf.key!r} is a copy of one in another split; "
                    "add different images"
                )
    notes = [f"{copies} file(s) are copies of another of the same class"] if copies else []
    if few:
        notes.append(f"classes with too few different images to divide, left out: {some(few)}")
    if shared:
        notes.append(
            f"{len(shared)} file(s) have the same bytes as one in another split, left out: "
            f"{some(shared)}"
        )
    return chosen, notes


def _too_few(leaf: Concept, part: str, count: int, splits: Sequence[str]) -> str:
    where = "" if part == "all" else f" in {part}/"
    return (
        f"{leaf.key!r} is to be forgotten but has {count} different image(s){where}; "
        f"it needs at least {len(splits)} ({', '.join(splits)})"
    )


def _ranked(
    source: FolderSource,
    leaf: Concept,
    paths: Sequence[Path],
    bounds: Mapping[str, int | None],
    splits: Sequence[str],
    seed: int,
) -> tuple[list[FileSample], int]:
    """The distinct files of a class in order of rank, and how many copies were dropped.

    Of a class with many more files than the limits need, a sample is chosen by path, so that the
    rest is never opened.
    """
    enough = candidates({split: bounds[split] for split in splits})
    if enough is not None and len(paths) > enough:
        by_path = sorted(paths, key=lambda path: rank(os.fsencode(path.as_posix()), seed))
        paths = sorted(by_path[:enough])
    distinct: dict[str, FileSample] = {}
    for path in paths:
        content = _fingerprint(source.root, path)
        if content not in distinct:
            distinct[content] = source.sample(leaf, path, content)
    samples = sorted(distinct.values(), key=lambda sample: rank(sample.fingerprint, seed))
    return samples, len(paths) - len(distinct)


def _fingerprint(root: Path, path: Path) -> str:
    """Hash of a file's bytes. A file that is empty or cannot be opened is nobody's copy: it is
    told apart by its path, and named when it is read."""
    try:
        if (root / path).stat().st_size:
            return file_sha256(root / path)
    except OSError:
        pass
    return rank(b"no content:" + os.fsencode(path.as_posix()), 0)


def _apart(ordered: _Ordered, bounds: Bounds) -> tuple[dict[str, list[Sample]], list[str]]:
    """Apply the limits; of files with the same bytes, the first split that takes one keeps it.

    Within a class there are no copies left, so only files under two classes or parts can meet.
    """
    owner: dict[str, str] = {}
    chosen: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    shared: list[str] = []
    for split in SPLITS:
        for leaf, samples in ordered[split].items():
            taken = 0
            for sample in samples:
                if taken == bounds[leaf][split]:
                    break
                if owner.setdefault(sample.fingerprint, split) != split:
                    shared.append(sample.name)
                    continue
                chosen[split].append(sample)
                taken += 1
    contents = [{sample.fingerprint for sample in chosen[split]} for split in SPLITS]
    assert sum(map(len, contents)) == len(set().union(*contents)), "splits share a file's content"
    return chosen, shared
