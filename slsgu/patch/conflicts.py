"""Layers that several patches change, and how much the changes have to do with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from slsgu.patch.patch import Patch


@dataclass(frozen=True)
class Conflict:
    """Two patches that change one layer.

    Attributes:
        layer: its name.
        first, second: the places of the two in the sequence of patches.
        cosine: between the two changes. 0: they do not touch each other. Towards 1 they are the
            same change, which the sum makes twice; towards -1 each takes back the other. None if
            one of them is zero.
    """

    layer: str
    first: int
    second: int
    cosine: float | None


def conflicts(patches: Sequence[Patch]) -> list[Conflict]:
    """Every pair of patches that change the same layer, by layer.

    Each of them was measured alone; what their sum does must be measured.

    >>> one, zero = torch.ones(4), torch.zeros(4)
    >>> patch = Patch({"w": one}, {"w": zero})
    >>> conflicts([patch, -patch])
    [Conflict(layer='w', first=0, second=1, cosine=-1.0)]
    """
    layers = dict.fromkeys(name for patch in patches for name in patch.layers)
    found = []
    for name in layers:
        holders = [i for i, patch in enumerate(patches) if name in patch.delta]
        for first, second in combinations(holders, 2):
            one, other = (patches[i].delta[name].double().flatten() for i in (first, second))
            norms = float(one.norm() * other.norm())
            # Rounding may lead beyond 1.
            cosine = max(-1.0, min(1.0, float(torch.dot(one, other)) / norms)) if norms else None
            found.append(Conflict(name, first, second, cosine))
    return found
