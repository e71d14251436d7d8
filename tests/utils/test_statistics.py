"""The interval of a difference between two readings of the same items covers what it says."""

from __future__ import annotations

import numpy as np
import pytest

from slsgu.utils.statistics import paired_error


def covered(count: int, better: float, worse: float, trials: int = 4000) -> float:
    """How often the 95 % interval holds the true difference, for items that one of two readings
    alone gets right with these probabilities."""
    rng = np.random.Generator(np.random.PCG64(0))
    drawn = rng.choice([1.0, -1.0, 0.0], (trials, count), p=[better, worse, 1 - better - worse])
    halves = np.array([1.959964 * paired_error(row) for row in drawn])
    return float((np.abs(drawn.mean(axis=1) - (better - worse)) <= halves).mean())


@pytest.mark.parametrize(
    ("count", "better", "worse"), [(20, 0.1, 0.1), (50, 0.1, 0.02), (200, 0.05, 0.02)]
)
def test_the_interval_covers_the_difference(count: int, better: float, worse: float) -> None:
    assert covered(count, better, worse) > 0.93


def test_with_many_items_it_is_the_standard_error_of_the_mean() -> None:
    drawn = np.random.Generator(np.random.PCG64(1)).normal(0.03, 0.2, 5000)
    assert paired_error(drawn) == pytest.approx(drawn.std() / 5000**0.5, rel=0.02)
    few = np.full(5, 1.0)  # control: with few, agreement is not certainty
    assert paired_error(few) > 0.1 > few.std() / 5**0.5
