"""The interval of a difference between two readings of the same items covers what it says."""

from __future__ import annotations

import numpy as np
import pytest

from slsgu.utils.statistics import paired_error, wilson


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


@pytest.mark.parametrize("count", [1, 3, 4, 10, 29, 96, 1000])
def test_the_interval_of_all_ends_at_one_and_of_none_at_zero(count: int) -> None:
    """To the bit: what was found always, and is found always, has not risen above its interval."""
    low, high = wilson(count, count)
    assert high == 1.0 and 0.0 < low < 1.0
    low, high = wilson(0, count)
    assert low == 0.0 and 0.0 < high < 1.0
    low, high = wilson(count / 2, count)  # control
    assert 0.0 < low < 0.5 < high < 1.0
