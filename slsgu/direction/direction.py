"""From a gradient to the direction in which a layer moves, looked up by name.

The update is `theta + step * direction`, with a positive step: forgetting ascends the forget
loss. (Equation 9 of the paper has a minus sign, which is wrong for a loss of `1 - cos`.)

A direction is a value that search, patch and report receive. A new kind is one more function
here; what it needs beyond the gradient goes into `DirectionContext`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from slsgu.direction.kfac import KroneckerFisher
from slsgu.models.layers import Layer

Need = Literal["curvature"]


@dataclass(frozen=True)
class DirectionContext:
    """What a direction may be computed from.

    Attributes:
        layer: the layer that moves.
        weight: its weights, fp32.
        forget: gradient of the forget loss, of the same shape.
        retain: gradient of the retain loss, of the same shape.
        fisher: how much harm a change of the layer does; None where it is not known, as for gains.
    """

    layer: Layer
    weight: Tensor
    forget: Tensor
    retain: Tensor
    fisher: KroneckerFisher | None = None


@dataclass(frozen=True)
class Direction:
    """A way from gradients to a direction.

    Attributes:
        function: from what is known of a layer to a tensor of the layer's shape.
        needs: what must be measured before; `curvature` fills `DirectionContext.fisher`.
    """

    function: Callable[[DirectionContext], Tensor]
    needs: frozenset[Need] = frozenset()

    def __call__(self, context: DirectionContext) -> Tensor:
        return self.function(context)


def gradient(context: DirectionContext) -> Tensor:
    """The raw gradient of the forget loss, as in the paper."""
    return context.forget


def keep_aware(context: DirectionContext) -> Tensor:
    """The most forgetting per unit of harm: the gradient, preconditioned with the Fisher matrix of
    what must be kept (`slsgu.direction.kfac`). Where that is not known, the raw gradient."""
    return context.forget if context.fisher is None else context.fisher.precondition(context.forget)


DIRECTIONS: dict[str, Direction] = {
    "keep-aware": Direction(keep_aware, needs=frozenset({"curvature"})),
    "gradient": Direction(gradient),
}


def first_step(weight_norm: float, direction: Tensor) -> float:
    """The first step size tried: one that moves the layer by a tenth of its norm.

    `0.1 * |theta| / |direction|`, as in the published code; Algorithm 1 prints `Importance / 10`,
    which is its inverse up to a factor and does not work.
    """
    return 0.1 * weight_norm / float(direction.norm())
