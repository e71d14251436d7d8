"""The distinct samples of one kind, divided among the splits as they come."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from slsgu.data.sources.records import PairSample
from slsgu.data.splits.partition import SMALL_CLASS, SPLITS, by_count, by_rank, rank


class Pool:
    """Samples, each of another content.

    Args:
        bounds: the most samples of each split; None for all.
    """

    def __init__(self, bounds: Mapping[str, int | None], seed: int) -> None:
        self.bounds, self.seed = bounds, seed
        self.distinct: dict[str, PairSample] = {}
        self._members: dict[str, list[PairSample]] = {split: [] for split in SPLITS}

    def add(self, sample: PairSample) -> None:
        self.distinct[sample.fingerprint] = sample
        split = by_rank(rank(sample.fingerprint, self.seed), SPLITS)
        self._members[split].append(sample)

    @property
    def full(self) -> bool:
        """Whether no further sample would be used."""
        return len(self.distinct) > SMALL_CLASS and all(
            limit is not None and len(self._members[split]) >= limit
            for split, limit in self.bounds.items()
        )

    def remove(self, content: str) -> None:
        """Take a picture out again, if it is there."""
        sample = self.distinct.pop(content, None)
        if sample is not None:
            self._members[by_rank(rank(content, self.seed), SPLITS)].remove(sample)

    def divide(self) -> dict[str, list[PairSample]] | None:
        """The samples of each split; None where there are too few to give every split one."""
        members = self._members
        if len(self.distinct) < len(SPLITS):
            return None
        if len(self.distinct) <= SMALL_CLASS or not all(members.values()):
            ranked = sorted(
                self.distinct.values(), key=lambda sample: rank(sample.fingerprint, self.seed)
            )
            sizes = by_count(len(ranked), SPLITS)
            ends = list(itertools.accumulate(sizes.values()))
            members = {
                split: ranked[end - size : end]
                for (split, size), end in zip(sizes.items(), ends, strict=True)
            }
        return {split: members[split][: self.bounds[split]] for split in SPLITS}
