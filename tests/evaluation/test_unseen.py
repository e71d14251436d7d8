"""What the margins of a few images say of unseen ones, against drawn margins."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from slsgu.evaluation.unseen import LEAST_TARGET, unseen

ONE = np.zeros(10, np.int64)


def draws(mean: float, count: int, times: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, (times, count))


@pytest.mark.parametrize("mean", [-1.0, -1.645, -2.5, -4.0])
@pytest.mark.parametrize("count", [10, 50])
def test_a_target_is_promised_as_often_as_it_is_kept(mean: float, count: int) -> None:
    """Where the true share is above the target, 95 % is claimed about once in twenty times at
    most; the normal approximation gives away a little for few images."""
    true = NormalDist().cdf(mean)
    claims = [
        unseen(row, np.zeros(count, np.int64)).probability(0.05) >= 0.95
        for row in draws(mean, count, 2000)
    ]
    share = np.mean(claims)
    if true > 0.0501:
        assert share < 0.01
    elif true > 0.049:
        assert share < 0.08
    else:  # control: it is claimed where it is true, the more often the more images there are
        assert share > (0.9 if count == 50 or mean < -3 else 0.2)


def test_the_share_is_that_of_the_population() -> None:
    rows = draws(-1.0, 4000, 1)[0]
    estimate = unseen(rows, np.zeros(4000, np.int64))
    assert estimate is not None
    assert estimate.share == pytest.approx(NormalDist().cdf(-1.0), abs=0.01)
    assert estimate.error < 0.03 and estimate.count == 4000


def test_classes_have_a_spread_of_their_own() -> None:
    """Two classes far apart, both far below zero: one spread over both would reach above zero."""
    low, high = draws(-9, 20, 1)[0], draws(-4, 20, 1, seed=1)[0] / 4
    margins, classes = np.concatenate([low, high]), np.repeat([0, 1], 20)
    apart, together = unseen(margins, classes), unseen(margins, np.zeros(40, np.int64))
    assert apart is not None and together is not None
    assert apart.share < 1e-3 < together.share


def test_classes_of_one_image_are_taken_together() -> None:
    margins = draws(-3, 10, 1)[0]
    assert unseen(margins, np.arange(10)) == unseen(margins, ONE)
    # One image beside a class of ten is left out; two alone say nothing.
    assert unseen(np.append(margins, 5.0), np.append(ONE, 1)) == unseen(margins, ONE)
    assert unseen(margins[:2], ONE[:2]) is None and unseen(margins[:0], ONE[:0]) is None
    assert unseen(margins[:3], ONE[:3]) is not None  # control


@pytest.mark.parametrize("margin", [-1.0, 0.0, 1.0, 1e9, -1e9])
def test_margins_without_a_spread_give_numbers(margin: float) -> None:
    estimate = unseen(np.full(5, margin), ONE[:5])
    assert estimate is not None and 0 < estimate.share < 1
    assert 0 <= estimate.probability(0.05) <= 1
    assert (estimate.probability(0.05) > 0.95) == (margin < 0)


def test_no_number_of_images_proves_that_none_is_left() -> None:
    estimate = unseen(draws(-3.5, 50, 1)[0], np.zeros(50, np.int64))
    assert estimate is not None
    assert estimate.probability(0.0) == estimate.probability(LEAST_TARGET)
    assert estimate.probability(0.0) < estimate.probability(0.05)
