"""Interpolated features: as given at the steps that are known, a polynomial between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slsgu.evaluation.interpolated import Interpolant, lagrange, next_step


def through(degree: int, steps: list[float], seed: int = 0) -> tuple[torch.Tensor, Interpolant]:
    """Coefficients of a path of some degree, and what goes through it at some steps."""
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.randn(degree + 1, 5, 3, generator=generator, dtype=torch.float64)
    values = torch.stack([path(coefficients, step) for step in steps])
    return coefficients, Interpolant(tuple(steps), values)


def path(coefficients: torch.Tensor, step: float) -> torch.Tensor:
    powers = torch.tensor([step**k for k in range(len(coefficients))], dtype=torch.float64)
    return torch.tensordot(powers, coefficients, dims=1)


@pytest.mark.parametrize("steps", [[0.0, 1.0], [0.0, 0.1, 0.3, 2.0], [0.0, 1.0, 2.0, 4.0, 8.0]])
def test_a_path_of_as_low_a_degree_is_reproduced(steps: list[float]) -> None:
    coefficients, told = through(len(steps) - 1, steps)
    for step in np.linspace(0, steps[-1], 17):
        expected = path(coefficients, step).float()
        assert torch.allclose(told.at(step), expected, rtol=1e-5, atol=1e-5)
    coefficients, told = through(len(steps), steps)  # control: of one degree more it is not
    middle = (steps[-1] + steps[-2]) / 2
    assert not torch.allclose(told.at(middle), path(coefficients, middle).float(), atol=1e-2)


def test_what_is_known_comes_back_to_the_bit() -> None:
    steps = [0.0, 0.7, 0.9, 3.0]
    _, told = through(9, steps)
    for step, values in zip(steps, told.values, strict=True):
        assert torch.equal(told.at(step), values.float())
    some = told.rows(torch.tensor([True, False, True, False, False]))
    assert torch.equal(some.at(1.5), told.at(1.5)[[0, 2]])
    assert told.steps[-1] == some.steps[-1] == 3.0


def test_shares_add_up_to_one_however_many_steps_are_known() -> None:
    known: list[float] = [0.0, 1e6]
    places = np.linspace(0, 1e6, 201)[1:]
    while len(known) < 16:
        known = sorted([*known, next_step(known, places)])
    shares = [lagrange(known, float(step)) for step in places]
    assert np.allclose([row.sum() for row in shares], 1)
    assert max(np.abs(row).sum() for row in shares) < 8  # the Lebesgue constant
    even = list(np.linspace(0, 1e6, 16))  # control: at even distances it is in the hundreds
    assert max(np.abs(lagrange(even, float(step))).sum() for step in places) > 100


def test_the_next_step_is_where_answers_differ_and_never_a_known_one() -> None:
    places = np.arange(1.0, 9.0)
    assert next_step([0.0, 8.0], places) == 4.0
    apart = np.array([0, 5, 0, 9, 0, 5, 0, 9])
    assert next_step([0.0, 8.0], places, apart) == 4.0  # 8 is known
    assert next_step([0.0, 4.0, 8.0], places, apart) in (2.0, 6.0)
    assert next_step([0.0, 4.0, 8.0], places, 0 * apart) == next_step([0.0, 4.0, 8.0], places)
