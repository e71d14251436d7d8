"""Three disjoint sets of images: for the gradients, for the search, and for the reported numbers.

Nothing is decoded here. Disjoint means: no two splits hold files with the same bytes; that no two
hold the same *pixels* is proved while reading, by the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept
from slsgu.data.samples import Sample
from slsgu.data.sources.drawings import DrawingSource
from slsgu.data.sources.folders import FolderSource
from slsgu.data.splits.folder_splits import choose_files
from slsgu.data.splits.partition import SPLITS
from slsgu.errors import DataError
from slsgu.utils.files import json_sha256
from slsgu.utils.statistics import wilson

FEW = 5  # forget images below which a note says what can be proved with them


@dataclass(frozen=True)
class Limits:
    """How many images are used; None is no limit (drawings have no end: their default).

    Attributes:
        gradient, search, test: images per class in each split.
        retain_gradient, retain_search: retain images in all. Where a taxonomy has many classes,
            each gives fewer than its limit, but never less than one.

    Raises:
        DataError: a limit is less than one.
    """

    gradient: int | None = 50
    search: int | None = 25
    test: int | None = 50
    retain_gradient: int | None = 500
    retain_search: int | None = 500

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            if limit is not None and (type(limit) is not int or limit < 1):
                raise DataError(f"{name} limit is {limit!r}; give 1 or more images")

    def of(self, split: str) -> int | None:
        """The limit of one split."""
        value: int | None = getattr(self, split)
        return value

    def capped(self, split: str, retained: int) -> int | None:
        """The limit for a retain class, where `retained` classes share the total.

        >>> Limits().capped("gradient", 10), Limits().capped("gradient", 250)
        (50, 2)
        """
        limit = self.of(split)
        total: int | None = getattr(self, f"retain_{split}", None)
        if total is None:
            return limit
        share = max(1, total // max(retained, 1))
        return share if limit is None else min(limit, share)


@dataclass(frozen=True, eq=False)
class Splits:
    """The samples of each split, ordered by leaf; what they are; and what was left out.

    Attributes:
        notes: for people, with a few names each.
        reserved: pictures whose pixels no other file may bring in: of those to be forgotten, where
            what is kept comes from elsewhere, the ones that are as large as one that is kept.
        forgotten: contents of all pictures of a forget set of its own, also of those in no split.
        left_out: entries of tables and shards that are not used, each with its set and the reason.
    """

    gradient: tuple[Sample, ...]
    search: tuple[Sample, ...]
    test: tuple[Sample, ...]
    description: dict[str, Any]
    notes: tuple[str, ...] = ()
    left_out: tuple[dict[str, str], ...] = ()
    reserved: tuple[Sample, ...] = ()
    forgotten: frozenset[str] = frozenset()

    def of(self, split: str) -> tuple[Sample, ...]:
        """The samples of one split, by its name."""
        samples: tuple[Sample, ...] = getattr(self, split)
        return samples

    @cached_property
    def sha256(self) -> str:
        """Identity of all three sets: which content, under which leaf, in which split."""
        return json_sha256([[identity(sample) for sample in self.of(x)] for x in SPLITS])


def identity(sample: Sample) -> list[str | None]:
    """Everything about a sample that decides a result: label, content, caption if it has one."""
    parts = [None if sample.leaf is None else sample.leaf.key, sample.fingerprint]
    return parts if sample.caption is None else [*parts, sample.caption]


def how_divided(
    samples: Mapping[str, Sequence[Sample]], limits: Limits, seed: int
) -> dict[str, Any]:
    """What a description of splits says about their sizes, as JSON values."""
    return {
        "counts": {split: len(samples[split]) for split in SPLITS},
        "limits": {split: limits.of(split) for split in SPLITS},
        "seed": seed,
    }


def few_forget(samples: Mapping[str, Sequence[Sample]], forget: Collection[Concept]) -> list[str]:
    """A note that says what can be proved, if there are few images to forget.

    Args:
        samples: of each split.
        forget: leaves that are to be forgotten; none is no reason to say anything.
    """
    counts = {split: sum(x.leaf in forget for x in samples[split]) for split in SPLITS}
    total = sum(counts.values())
    if not 0 < total < FEW:
        return []
    low, high = wilson(0, counts["test"])
    return [
        f"only {total} image(s) to forget: even if none of the {counts['test']} test image(s) is "
        f"recognised afterwards, the true accuracy may be {low:.0%} to {high:.0%} (95 % interval)"
    ]


def make_splits(
    source: FolderSource | DrawingSource,
    *,
    request: Request | None,
    limits: Limits,
    seed: int = 0,
) -> Splits:
    """Divide a source into gradient, search and test images.

    With `train/` and `test/` folders, gradient and search images come from the first. Otherwise
    each class is divided about 50 / 20 / 30 by content. Drawings have a seed for each split.

    Args:
        source: where the pictures are.
        request: what is to be forgotten; its leaves must have images in every split, and only the
            others share the retain totals. None treats every leaf as retained.
        limits: images per class.
        seed: another seed chooses other images.

    Raises:
        DataError: a leaf to be forgotten has too few images, or nothing is left to keep. There may
            be no other images at all if something above what is to be forgotten can be kept.
    """
    assert request is None or request.taxonomy is source.taxonomy, "leaves compare by identity"
    forget = frozenset(request.forget_leaves) if request is not None else frozenset()
    notes: Sequence[str] = ()
    retained = 1
    if isinstance(source, DrawingSource):
        chosen = _drawings(source, forget, limits, seed)
    else:
        retained = len({leaf for part in source.parts.values() for leaf in part} - forget)
        bounds = {
            leaf: {
                split: limits.of(split) if leaf in forget else limits.capped(split, retained)
                for split in SPLITS
            }
            for leaf in source.taxonomy.leaves
        }
        chosen, notes = choose_files(source, bounds, forget, seed)
    description = {**source.describe(), **how_divided(chosen, limits, seed)}
    splits = Splits(
        gradient=tuple(chosen["gradient"]),
        search=tuple(chosen["search"]),
        test=tuple(chosen["test"]),
        description=description,
        notes=(*source.notes, *notes, *few_forget(chosen, forget)),
    )
    has_kept = {split: any(x.leaf not in forget for x in splits.of(split)) for split in SPLITS}
    if retained == 0 and request is not None:
        if all(request.keeps_above(leaf) for leaf in forget):
            return splits  # the knowledge-tracing setting
        raise DataError(
            f"all images are of {request.title}, and no level above it has other classes, so "
            "nothing can be kept: add images of other classes, or give a taxonomy that puts it "
            "below a parent"
        )
    for split in SPLITS:
        if not has_kept[split]:
            why = "; ".join(splits.notes) or "add images or classes"
            raise DataError(
                f"no image of another class is left to keep in the {split} split: {why}"
            )
    return splits


def _drawings(
    source: DrawingSource, forget: frozenset[Concept], limits: Limits, seed: int
) -> dict[str, list[Sample]]:
    endless = {split: Limits().of(split) for split in SPLITS if limits.of(split) is None}
    finite = replace(limits, **endless)
    retained = len(source.taxonomy.leaves) - len(forget)
    chosen: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for leaf in source.taxonomy.leaves:
            count = finite.of(split) if leaf in forget else finite.capped(split, retained)
            assert count is not None
            chosen[split] += source.samples(leaf, split, count, seed)
    return chosen
