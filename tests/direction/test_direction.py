"""What holds of every direction in the table, also of one that is added."""

from __future__ import annotations

import pytest
import torch

from slsgu.direction.direction import DIRECTIONS, Direction, DirectionContext
from slsgu.direction.kfac import KroneckerFisher
from slsgu.models.layers import Layer


def context(*, fisher: bool) -> DirectionContext:
    weight, forget, retain = (torch.randn(5, 3) for _ in range(3))
    rows, gradients = torch.randn(50, 3).double(), torch.randn(50, 5).double()
    factors = KroneckerFisher(rows.T @ rows / 50, gradients.T @ gradients / 50, transposed=False)
    layer = Layer("some.weight", "vision", "matrix", (5, 3), block=0)
    return DirectionContext(layer, weight, forget, retain, factors if fisher else None)


def problems(direction: Direction, given: DirectionContext) -> list[str]:
    """What is wrong with a direction in one context."""
    found = direction(given)
    if found.shape != given.weight.shape or found.dtype != given.weight.dtype:
        return [f"it has shape {tuple(found.shape)} and {found.dtype}"]
    rise = float((found * given.forget).sum())
    return [] if rise > 0 else [f"the forget loss rises by {rise} along it"]


@pytest.mark.parametrize("fisher", [False, True])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_forget_loss_rises_along_every_direction(name: str, fisher: bool) -> None:
    """Also where the curvature is not known."""
    for _ in range(10):
        assert problems(DIRECTIONS[name], context(fisher=fisher)) == []


def test_a_direction_downhill_or_of_another_shape_is_noticed() -> None:
    given = context(fisher=False)
    assert problems(Direction(lambda c: -c.forget), given)
    assert problems(Direction(lambda c: c.forget.T), given)
    assert problems(Direction(lambda c: c.forget.double()), given)
