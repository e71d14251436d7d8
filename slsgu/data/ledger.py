"""Which pictures each split has used, by their pixels, and which were left out and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from slsgu.errors import DataError


class Skipped(NamedTuple):
    """A picture that could not be read."""

    name: str
    reason: str


class Overlap(NamedTuple):
    """A picture of `split` that was left out because `other` holds the same pixels."""

    name: str
    split: str
    other: str


class Ledger:
    """Keeps gradient, search and test pictures apart: the first split to claim pixels has them.

    Claims come in the order gradient, search, test, since that is the order of the pipeline: the
    test split loses a picture that was used before, never the other way round.

    >>> ledger = Ledger()
    >>> ledger.claim("aa", "gradient"), ledger.claim("aa", "gradient"), ledger.claim("aa", "test")
    (True, True, False)
    >>> ledger.check()
    """

    def __init__(self) -> None:
        self._claims: dict[str, set[str]] = {}
        self._skipped: dict[Skipped, None] = {}  # a picture that is read twice is listed once
        self._overlaps: dict[Overlap, None] = {}
        self._watching: list[set[str]] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[set[str]]:
        """The pictures that are claimed within, also those that were claimed before."""
        seen: set[str] = set()
        self._watching.append(seen)
        try:
            yield seen
        finally:
            self._watching.remove(seen)

    def claim(self, pixels: str, split: str) -> bool:
        """Whether `split` may use a picture: False if another split has the same pixels.

        Args:
            pixels: the picture's `pixel_hash`.
            split: gradient, search or test.
        """
        if self.owner(pixels, besides=split) is not None:
            return False
        self._claims.setdefault(split, set()).add(pixels)
        for seen in self._watching:
            seen.add(pixels)
        return True

    def owner(self, pixels: str, *, besides: str = "") -> str | None:
        """The split that has claimed these pixels, other than `besides`; None if none has."""
        return next(
            (s for s, claimed in self._claims.items() if s != besides and pixels in claimed), None
        )

    def hashes(self, split: str) -> tuple[str, ...]:
        """The pixel hashes a split has claimed, sorted."""
        return tuple(sorted(self._claims.get(split, ())))

    def restore(self, split: str, hashes: Iterable[str]) -> None:
        """Claim what an earlier run used, from its cache.

        Raises:
            DataError: another split has claimed some of it already.
        """
        hashes = tuple(hashes)
        taken = sum(not self.claim(pixels, split) for pixels in hashes)
        if taken:
            raise DataError(
                f"{taken} of {len(hashes)} pictures that an earlier run used for the {split} split "
                "are in another split now; compute it again"
            )

    def skip(self, name: str, reason: str) -> None:
        """Record a picture that could not be read."""
        self._skipped[Skipped(name, reason)] = None

    def overlap(self, name: str, split: str, other: str) -> None:
        """Record a picture of `split` that `other` holds already."""
        self._overlaps[Overlap(name, split, other)] = None

    @property
    def skipped(self) -> list[Skipped]:
        return list(self._skipped)

    @property
    def overlaps(self) -> list[Overlap]:
        return list(self._overlaps)

    def why(self, split: str) -> str:
        """What may have emptied a split: its first few losses in brackets, or nothing."""
        lost = [f"{item.name}: {item.reason}" for item in self.skipped[:3]]
        shared = [item for item in self.overlaps if item.split == split]
        lost += [f"{item.name}: same pixels as in the {item.other} split" for item in shared[:3]]
        return f" ({'; '.join(lost)})" if lost else ""

    def check(self) -> None:
        """Prove that no two splits share a picture. An AssertionError is a bug in slsgu."""
        splits = sorted(self._claims)
        for i, one in enumerate(splits):
            for two in splits[i + 1 :]:
                shared = self._claims[one] & self._claims[two]
                assert not shared, f"{len(shared)} pictures are in both {one} and {two}"
