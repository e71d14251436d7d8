"""From a gradient to the direction in which a layer moves, looked up by name.

The update is `theta + step * direction`, with a positive step: forgetting ascends the forget
loss. (Equation 9 of the paper has a minus sign, which is wrong for a loss of `1 - cos`.)

A direction is a value that search, patch and report receive. A new kind is one more function
here; what it needs beyond the gradient goes into `DirectionContext`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from slsgu.direction.kfac import Metric
from slsgu.models.layers import Layer


@dataclass(frozen=True)
class DirectionContext:
    """What a direction may be computed from.

    Attributes:
        layer: the layer that moves.
        weight: its weights, fp32.
        forget: gradient of the forget loss, of the same shape.
        retain: gradient of the retain loss, of the same shape.
        metric: how much harm a change of the layer does; None where it is not known, as for gains.
    """

    layer: Layer
    weight: Tensor
    forget: Tensor
    retain: Tensor
    metric: Metric | None = None


Direction: TypeAlias = Callable[[DirectionContext], Tensor]


def gradient(context: DirectionContext) -> Tensor:
    """The raw gradient of the forget loss, as in the paper."""
    return context.forget


def keep_aware(context: DirectionContext) -> Tensor:
    """The most forgetting per unit of harm: the gradient, preconditioned with the metric of what
    must be kept (`slsgu.direction.kfac`). Without a metric, the raw gradient."""
    return context.forget if context.metric is None else context.metric.precondition(context.forget)


DIRECTIONS: dict[str, Direction] = {"keep-aware": keep_aware, "gradient": gradient}
NEEDS_METRIC = frozenset({"keep-aware"})


def first_step(weight_norm: float, direction: Tensor) -> float:
    """The first step size tried: one that moves the layer by a tenth of its norm.

    `0.1 * |theta| / |direction|`, as in the published code; Algorithm 1 prints `Importance / 10`,
    which is its inverse up to a factor and does not work.
    """
    return 0.1 * weight_norm / float(direction.norm())
