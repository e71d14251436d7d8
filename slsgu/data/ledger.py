"""Which pictures each split has used, by their pixels, and which were left out and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from slsgu.data.images import UnreadableImageError, pixel_hash
from slsgu.data.samples import Sample
from slsgu.errors import DataError

RESERVED = "forget"  # the set that has pixels to itself, where `Overlap` names a split


class Skipped(NamedTuple):
    """A picture that could not be read."""

    name: str
    reason: str


class Overlap(NamedTuple):
    """A picture of `split` that was left out because `other`, a split or the forget set, holds the
    same pixels."""

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

    Args:
        reserved: pixels that only some pictures may have, by fingerprint: those of pictures that
            are to be forgotten, wherever another file has them too.
    """

    def __init__(self, reserved: Mapping[str, AbstractSet[str]] | None = None) -> None:
        self.reserved = dict(reserved or {})
        self._claims: dict[str, set[str]] = {}
        self._skipped: dict[Skipped, None] = {}  # a picture that is read twice is listed once
        self._overlaps: dict[Overlap, None] = {}
        self._watching: list[set[str]] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[set[str]]:
        """The pictures that are claimed within, also those that were claimed before."""
        claimed: set[str] = set()
        self._watching.append(claimed)
        try:
            yield claimed
        finally:
            self._watching.remove(claimed)

    def claim(self, pixels: str, split: str, fingerprint: str | None = None) -> bool:
        """Whether `split` may use a picture: False if another split has the same pixels, or if
        they are reserved for other pictures.

        Args:
            pixels: the picture's `pixel_hash`.
            split: gradient, search or test.
            fingerprint: the picture's own; None for one that was claimed by an earlier run.
        """
        if self.owner(pixels, besides=split, fingerprint=fingerprint) is not None:
            return False
        self._claims.setdefault(split, set()).add(pixels)
        for claimed in self._watching:
            claimed.add(pixels)
        return True

    def owner(
        self, pixels: str, *, besides: str = "", fingerprint: str | None = None
    ) -> str | None:
        """Who has these pixels: a split other than `besides`, or the forget set, if the picture is
        none of it; None if nobody has."""
        if fingerprint is not None and fingerprint not in self.reserved.get(pixels, {fingerprint}):
            return RESERVED
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
        conflicts = sum(not self.claim(pixels, split) for pixels in hashes)
        if conflicts:
            raise DataError(
                f"{conflicts} of {len(hashes)} pictures that an earlier run used for the {split} "
                "split are in another split now; compute it again"
            )

    def for_others(self, forgotten: Iterable[Sample] = ()) -> Ledger:
        """An empty ledger for data sets that are measured beside the splits: what was used to make
        an edit, or is to be forgotten, proves nothing there either.

        Args:
            forgotten: pictures to be forgotten that no split before the test has used.
        """
        ledger = Ledger({**self.pixels_of(forgotten), **self.reserved})
        for split in ("gradient", "search"):
            ledger.restore(split, self.hashes(split))
        return ledger

    def add(self, other: Ledger, what: str = "") -> None:
        """Record what another ledger has left out; `what` it is of comes before the names."""
        what = what and f"{what}: "
        for skipped in other.skipped:
            self.skip(what + skipped.name, skipped.reason)
        for overlap in other.overlaps:
            self.overlap(what + overlap.name, overlap.split, overlap.other)

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
        reasons = [f"{item.name}: {item.reason}" for item in self.skipped[:3]]
        shared = [item for item in self.overlaps if item.split == split]
        reasons += [f"{item.name}: same pixels as in the {item.other} set" for item in shared[:3]]
        return f" ({'; '.join(reasons)})" if reasons else ""

    @staticmethod
    def pixels_of(samples: Iterable[Sample]) -> dict[str, set[str]]:
        """The pixels of pictures, as `reserved` takes them. Decodes them; what cannot be read is
        passed over."""
        fingerprints: dict[str, set[str]] = {}
        for sample in samples:
            with contextlib.suppress(UnreadableImageError):
                fingerprints.setdefault(pixel_hash(sample.read()), set()).add(sample.fingerprint)
        return fingerprints

    def check(self) -> None:
        """Prove that no two splits share a picture. An AssertionError is a bug in slsgu."""
        splits = sorted(self._claims)
        for i, one in enumerate(splits):
            for two in splits[i + 1 :]:
                shared = self._claims[one] & self._claims[two]
                assert not shared, f"{len(shared)} pictures are in both {one} and {two}"
