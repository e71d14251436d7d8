"""Intervals of what was counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def wilson(correct: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion.

    >>> low, high = wilson(0, 50)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.071)
    """
    if count == 0:
        return 0.0, 1.0
    share = correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    # At the ends the bounds are 0 and 1; rounding must not leave them short of it.
    low = 0.0 if correct <= 0 else max(0.0, float(centre - half))
    high = 1.0 if correct >= count else min(1.0, float(centre + half))
    return low, high


def paired_error(differences: npt.NDArray[np.float64]) -> float:
    """Standard error of the mean of differences between two readings of the same items, each from
    -1 to 1. As Agresti and Min (2005) do for answers that are right or wrong, two items without a
    difference on average are added, so that a few items that all agree are not taken for certain.

    Args:
        differences: of the items [N].

    >>> round(paired_error(np.array([1.0, 0.0, 0.0, -1.0])), 3)
    0.289
    >>> paired_error(np.ones(2)) > 0
    True
    """
    count = len(differences) + 2
    squares = float(np.square(differences).sum()) + 1
    return float(np.sqrt(squares - differences.sum() ** 2 / count) / count)


def stratified_resamples(
    strata: npt.NDArray[np.int64], resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Bootstrap weights: how often each item is drawn in each resample, with replacement among the
    items of its own stratum, so that every stratum keeps its count.

    Args:
        strata: the stratum of each item [N].
        resamples: R.

    Returns:
        Counts [R, N].

    >>> weights = stratified_resamples(np.array([0, 0, 1]), 4, seed=0)
    >>> weights[:, :2].sum(axis=1).tolist(), weights[:, 2].tolist()
    ([2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        weights[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), resamples)
    return weights
