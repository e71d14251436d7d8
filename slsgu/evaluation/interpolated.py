"""Features between a few true evaluations: a polynomial in the step, for any layer.

Features are a smooth function of the step, so a polynomial through a few of them says what they
are at every other step. What matters is what is answered. So the next evaluation is made where
the answers by the last two polynomials differ the most: there the last one is least sure, which
makes the evaluation a check of it, and there another one helps the most. Where they differ nowhere
it is Leja's point, the step farthest from those that are known by the product of its distances;
such points come to lie as those of Chebyshev do (Reichel 1990, "Newton interpolation at Leja
points").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slsgu.evaluation.summary import Floats


@dataclass(frozen=True, eq=False)
class Interpolant:
    """Features of N inputs, not normalised, by the polynomial through M steps.

    Attributes:
        steps: M different steps, 0 among them, ascending. Beyond the last one a polynomial says
            nothing.
        values: the features at each [M, N, d], float64.
    """

    steps: tuple[float, ...]
    values: Tensor

    def at(self, step: float) -> Tensor:
        """Features [N, d] at a step, float32; at one of the M steps what was given."""
        shares = torch.from_numpy(lagrange(self.steps, step)).to(self.values)
        features: Tensor = torch.tensordot(shares, self.values, dims=1).float()
        return features

    def rows(self, chosen: Tensor) -> Interpolant:
        """The same for some inputs.

        Args:
            chosen: which [N].
        """
        return Interpolant(self.steps, self.values[:, chosen])


def lagrange(steps: Sequence[float], step: float) -> Floats:
    """What each known step counts at another one [M]; barycentric, so that it stays exact for
    many (Berrut and Trefethen 2004, eq. 4.2).

    >>> lagrange([0.0, 1.0], 0.25).tolist(), lagrange([0.0, 1.0, 2.0], 1.0).tolist()
    ([0.75, 0.25], [0.0, 1.0, 0.0])
    """
    known = np.array(steps) / max(steps)
    distances = step / max(steps) - known
    if (distances == 0).any():
        return np.asarray(distances == 0, dtype=np.float64)
    between = known[:, None] - known[None, :] + np.eye(len(known))
    shares = 1 / between.prod(axis=1) / distances
    return np.asarray(shares / shares.sum())


def next_step(
    known: Sequence[float], places: Floats, apart: npt.NDArray[np.int64] | None = None
) -> float:
    """Where to evaluate next.

    Args:
        known: steps that were evaluated, 0 among them.
        places: steps that may be taken, ascending [R].
        apart: images whose answers differ by the last two polynomials at each [R]; None for
            nowhere.

    >>> next_step([0.0, 4.0], np.arange(1.0, 5.0))
    2.0
    >>> next_step([0.0, 4.0], np.arange(1.0, 5.0), np.array([0, 0, 7, 9]))
    3.0
    """
    away = np.abs(places[:, None] - np.array(known)[None, :]) / places[-1]
    with np.errstate(divide="ignore"):
        leja = np.log(away).sum(axis=1).round(9)  # equals are equal on every machine
    first = np.zeros(len(places)) if apart is None else apart
    free = ~(away == 0).any(axis=1)
    return float(places[np.lexsort((-places, leja, first, free))[-1]])
