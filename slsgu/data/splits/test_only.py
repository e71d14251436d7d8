"""The images of a data set that is only measured: all of them are for the test."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.samples import Sample
from slsgu.data.sources.folders import FolderSource
from slsgu.data.sources.open import is_class_folders, open_source
from slsgu.data.sources.records import LeftOut, PairSample, content_of
from slsgu.data.splits.exclusions import NO_CLASS, TWO
from slsgu.data.splits.folder_splits import choose_files
from slsgu.data.splits.labels import Labels
from slsgu.data.splits.partition import SMALL_CLASS, rank


@dataclass(frozen=True)
class ChosenImages:
    """Images to measure on.

    Attributes:
        left_out: pictures that are not among them, each with its reason.
        notes: what else was odd, for people.
    """

    samples: Sequence[Sample]
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: Sequence[str] = ()


def images_of(
    source: str,
    taxonomy: Taxonomy,
    leaves: Collection[Concept],
    *,
    limit: int | None,
    seed: int,
    excluded: Mapping[str, str],
    strict: bool,
) -> ChosenImages:
    """Choose the images of a data set: of a leaf, those with the least rank. A picture that stands
    under two classes is of neither.

    Records are read until every leaf has `limit` images, and at least `SMALL_CLASS` or all.

    Args:
        source: class folders (of `test/`, if there is one), or what `open_source` takes, with a
            label or a caption that names a class.
        leaves: those whose images are wanted.
        limit: the most images of a leaf; None for all.
        seed: another one chooses other images.
        excluded: pictures that are not to be among them, by content: the reason why.
        strict: refuse a source that holds anything that is no usable record.

    Raises:
        DataError: the source cannot be used.
    """
    if is_class_folders(source):
        return _from_folders(FolderSource(Path(source), taxonomy), leaves, limit, seed, excluded)
    return _from_records(source, Labels(taxonomy), leaves, limit, seed, excluded, strict)


def _from_folders(
    folders: FolderSource,
    leaves: Collection[Concept],
    limit: int | None,
    seed: int,
    excluded: Mapping[str, str],
) -> ChosenImages:
    limits: dict[Concept, int | None] = dict.fromkeys(folders.taxonomy.leaves, limit)
    contents: dict[Path, str] = {}  # no file is hashed in two rounds
    while True:
        bounds = {leaf: {"test": most} for leaf, most in limits.items()}
        chosen, notes = choose_files(
            folders, bounds, frozenset(), seed, wanted=("test",), contents=contents
        )
        unusable = Counter(x.leaf for x in chosen["test"] if x.leaf and x.fingerprint in excluded)
        raised = {x: limit + unusable[x] for x in unusable if limit is not None}
        raised = {x: most for x, most in raised.items() if most > (limits[x] or 0)}
        if not raised:
            break
        limits |= raised  # others take the place of what is excluded
    samples: list[Sample] = []
    left_out = LeftOut()
    counts: Counter[Concept | None] = Counter()
    for sample in chosen["test"]:
        if sample.leaf not in leaves or counts[sample.leaf] == limit:
            continue
        if sample.fingerprint in excluded:
            left_out.add(sample.name, excluded[sample.fingerprint])
        else:
            samples.append(sample)
            counts[sample.leaf] += 1
    return ChosenImages(samples, left_out, (*folders.notes, *notes))


def _from_records(
    spec: str,
    labels: Labels,
    leaves: Collection[Concept],
    limit: int | None,
    seed: int,
    excluded: Mapping[str, str],
    strict: bool,
) -> ChosenImages:
    source = open_source(spec)
    left_out = LeftOut()
    capacity = math.inf if limit is None else max(limit, SMALL_CLASS)
    chosen: dict[Concept, dict[str, Sample]] = {leaf: {} for leaf in leaves}
    owner: dict[str, Concept | None] = {}  # by content; None: it stands under two classes
    unfilled = set(leaves)  # those that have room; where none has, the rest is not read
    records = source.records()
    while unfilled and (record := next(records, None)) is not None:
        leaf = labels.of(record)
        if leaf is None:
            source.left_out.add(record.name, NO_CLASS)
            continue
        members = chosen.setdefault(leaf, {})  # also of a leaf that is not wanted
        if len(members) >= capacity:
            continue
        try:
            content = content_of(record.picture.data())
        except OSError as error:
            why = f"the image cannot be read ({error.strerror or error})"
            source.left_out.add(record.name, why)
            continue
        first = owner.setdefault(content, leaf)
        if first is not leaf:
            left_out.add(record.name, TWO)
            if first is not None and (earlier := chosen[first].pop(content, None)) is not None:
                left_out.add(earlier.name, TWO)
                unfilled |= {first} & set(leaves)
            owner[content] = None
        elif content in excluded:
            if leaf in leaves:
                left_out.add(record.name, excluded[content])
        else:
            sample = PairSample(leaf, None, record.name, content, record.picture)
            members.setdefault(content, sample)
            if len(members) >= capacity:
                unfilled.discard(leaf)
    if strict:
        source.left_out.refuse(spec)
    left_out.update(source.left_out)
    ranked = [
        sorted(chosen[leaf].values(), key=lambda sample: rank(sample.fingerprint, seed))[:limit]
        for leaf in leaves
    ]
    return ChosenImages([sample for members in ranked for sample in members], left_out)
