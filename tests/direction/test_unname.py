"""Unname: the name's score goes, what is kept moves as little as that allows, the bias too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slsgu.direction.kfac import OUTPUT_DAMPING, damped
from slsgu.direction.unname import constant_map, unnamed, unnaming


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_after_it_the_differences_score_nothing() -> None:
    weight, names, rows = random(5, 7), random(5, 2, seed=1), random(40, 5, seed=2)
    after = weight + unnamed(weight, names, unnaming(names, rows.T @ rows / 40), None)
    assert float((names.T @ after).abs().max()) < 1e-10
    assert float((names.T @ weight).abs().max()) > 0.1  # control


def test_no_other_change_that_does_it_harms_less() -> None:
    """In the metric of the damped moment of the outputs, for inputs that are white."""
    weight, names, rows = random(5, 7), random(5, 2, seed=1), random(40, 5, seed=2)
    moment = rows.T @ rows / 40
    metric = damped(moment, OUTPUT_DAMPING)
    change = unnamed(weight, names, unnaming(names, moment), None)
    harm = float((metric @ change * change).sum())
    beside = torch.eye(5, dtype=torch.float64) - names @ torch.linalg.pinv(names)
    for seed in range(20):
        other = change + 0.3 * beside @ random(5, 7, seed=10 + seed)
        assert float((names.T @ (weight + other)).abs().max()) < 1e-9
        assert float((metric @ other * other).sum()) > harm


def test_names_that_are_alike_are_taken_together() -> None:
    weight, one, rows = random(5, 7), random(5, 1, seed=1), random(40, 5, seed=2)
    twice = torch.cat([one, one], dim=1)
    moment = rows.T @ rows / 40
    single = unnamed(weight, one, unnaming(one, moment), None)
    assert torch.allclose(unnamed(weight, twice, unnaming(twice, moment), None), single)


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_the_part_of_the_bias_is_taken_with_the_mean_input(spread: float) -> None:
    """Exactly where all inputs are the mean, nearly where they are close to it."""
    weight, names, rows = random(5, 7), random(5, 1, seed=1), random(40, 5, seed=2)
    bias = random(5, seed=3)
    inputs = random(7, seed=4) + spread * random(200, 7, seed=5)
    constant = constant_map(inputs.mean(dim=0), inputs.T @ inputs / 200)
    offset = torch.outer(names.T @ bias, constant)
    change = unnamed(weight, names, unnaming(names, rows.T @ rows / 40), offset)
    left = ((inputs @ (weight + change).T + bias) @ names).abs().mean()
    without = unnamed(weight, names, unnaming(names, rows.T @ rows / 40), None)
    control = ((inputs @ (weight + without).T + bias) @ names).abs().mean()
    assert float(left) < (1e-9 if spread == 0 else 0.1 * float(control))
