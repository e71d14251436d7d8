"""Choose and divide the images of one class by content: pure functions on hashes.

A rank is the hash of (content, seed). It depends on nothing but the picture, so a new image
changes the place of no other, only the boundaries by one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

SPLITS = ("gradient", "search", "test")
"""In this order they claim pictures: a later split loses what an earlier one has."""

SHARES = {"gradient": 0.5, "search": 0.2, "test": 0.3}
"""How the images of a class are divided where limits do not bind."""

_SLACK = 1.25  # candidates for each image wanted, since some may be copies


def rank(identity: str | bytes, seed: int) -> str:
    """A place in an order that looks random and never changes.

    >>> rank("a", 0) == rank("a", 0), rank("a", 0) == rank("a", 1)
    (True, False)
    """
    data = identity.encode() if isinstance(identity, str) else identity
    return hashlib.sha256(b"%d:" % seed + data).hexdigest()


def divide(count: int, splits: Sequence[str]) -> dict[str, int]:
    """How many of `count` images each split gets: by `SHARES`, at least one each.

    Needs `count >= len(splits)`. The first split takes what rounding leaves.

    >>> divide(10, ("gradient", "search", "test"))
    {'gradient': 5, 'search': 2, 'test': 3}
    >>> divide(3, ("gradient", "search", "test")), divide(7, ("gradient", "search"))
    ({'gradient': 1, 'search': 1, 'test': 1}, {'gradient': 5, 'search': 2})
    """
    assert count >= len(splits), f"{count} images cannot fill {len(splits)} splits"
    total = sum(SHARES[split] for split in splits)
    sizes = {split: max(1, round(count * SHARES[split] / total)) for split in splits[1:]}
    return {splits[0]: count - sum(sizes.values()), **sizes}


def candidates(limits: Mapping[str, int | None]) -> int | None:
    """How many images of a class to look at so that every split can reach its limit; None for
    all of them. A power of two, so that a small change of a limit moves no image.

    >>> candidates({"gradient": 50, "search": 25}), candidates({"gradient": 50, "search": None})
    (128, None)
    """
    total = sum(SHARES[split] for split in limits)
    needed = 1
    for split, limit in limits.items():
        if limit is None:
            return None
        needed = max(needed, math.ceil(_SLACK * limit * total / SHARES[split]))
    return int(2 ** math.ceil(math.log2(needed)))
