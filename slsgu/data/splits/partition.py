"""Which split an image belongs to, by its content: pure functions on hashes.

The rank of an image is a hash of its content and a seed, read as a number in [0, 1). A large class
is cut at fixed ranks, so the split of an image depends on nothing but its bytes. A small class is
sorted by rank and cut by count, which gives exact shares and at least one image each; a new image
then moves at most one image across each boundary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SPLITS = ("gradient", "search", "test")
"""In this order they claim pictures: a later split loses what an earlier one has."""

SHARES = {"gradient": 0.5, "search": 0.2, "test": 0.3}
"""How the images of a class are divided where limits do not bind."""

SMALL_CLASS = 128
"""Classes up to this size are cut by count. Above it, cutting at fixed ranks misses the shares by
little, and spares reading files that the limits leave out anyway."""


def rank(identity: str | bytes, seed: int) -> float:
    """A number in [0, 1) that looks random and never changes.

    >>> rank("a", 0) == rank("a", 0), rank("a", 0) == rank("a", 1)
    (True, False)
    """
    data = identity.encode() if isinstance(identity, str) else identity
    digest = hashlib.sha256(b"%d:" % seed + data).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # exact in a float


def by_rank(place: float, splits: Sequence[str]) -> str:
    """The split of a rank, where `SHARES` are cut at fixed places.

    >>> by_rank(0.49, SPLITS), by_rank(0.5, SPLITS), by_rank(0.7, SPLITS)
    ('gradient', 'search', 'test')
    """
    total = sum(SHARES[split] for split in splits)
    end = 0.0
    for split in splits:
        end += SHARES[split] / total
        if place < end:
            return split
    return splits[-1]  # the shares may add up to a hair under one


def by_count(count: int, splits: Sequence[str]) -> dict[str, int]:
    """How many of `count` images each split gets: by `SHARES`, at least one each.

    Needs `count >= len(splits)`. The first split takes what rounding leaves.

    >>> by_count(10, ("gradient", "search", "test"))
    {'gradient': 5, 'search': 2, 'test': 3}
    >>> by_count(3, ("gradient", "search", "test")), by_count(7, ("gradient", "search"))
    ({'gradient': 1, 'search': 1, 'test': 1}, {'gradient': 5, 'search': 2})
    """
    assert count >= len(splits), f"{count} images cannot fill {len(splits)} splits"
    total = sum(SHARES[split] for split in splits)
    sizes = {split: max(1, round(count * SHARES[split] / total)) for split in splits[1:]}
    return {splits[0]: count - sum(sizes.values()), **sizes}
