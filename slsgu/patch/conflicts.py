"""Patches that meet: in a layer that several change, or because one is given twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from slsgu.errors import LayerMismatchError
from slsgu.patch.patch import Patch
from slsgu.patch.weights import same_values


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

    Each of them was measured alone; what their sum does must be measured. Patches that expect other
    weights of a layer are of two models, as of the two text encoders of one pipeline.

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
            if not same_values(*(patches[i].original[name] for i in (first, second))):
                continue
            one, other = (patches[i].delta[name].double().flatten() for i in (first, second))
            norms = float(one.norm() * other.norm())
            # Rounding may lead beyond 1.
            cosine = max(-1.0, min(1.0, float(torch.dot(one, other)) / norms)) if norms else None
            found.append(Conflict(name, first, second, cosine))
    return found


def refuse_repeated(patches: Sequence[tuple[str, Patch]]) -> None:
    """Refuse files that hold one patch, be it at two scales: their steps would add up without a
    word. (In Python, `patch + patch` is what it says, and its file is one.)

    Args:
        patches: each with the name of its file. Parts of two are the same if they say the same of
            themselves, but for a scale, and the two change a layer in common. A part that says
            nothing is nobody's copy.

    Raises:
        LayerMismatchError: two files hold the same patch.
    """
    for (file, patch), (other, second) in combinations(patches, 2):
        if file == other or patch.delta.keys().isdisjoint(second.delta):
            continue
        said = [{**part, "scale": None} for part in second.parts if part]
        for part in patch.parts:
            if part and {**part, "scale": None} in said:
                paths = ", ".join(part.get("request", {}).get("paths", [])) or "something"
                raise LayerMismatchError(
                    f"{file} and {other} hold the same patch, to forget {paths}: their steps would "
                    "add up. Give one of them. To take a larger step, use a scale"
                )
