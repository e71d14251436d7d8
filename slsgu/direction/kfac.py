"""K-FAC: how much harm a change of one layer does to what must be kept, to second order.

Answers that must be kept are a distribution over classes for each image. The harm of a small
change of the weights is the divergence of that distribution, half of `change' F change` with F
the Fisher matrix (eq. 6 of the paper, whose diagonal SSD uses). For a layer with inputs a and
output gradients g, F is approximated by a Kronecker product (K-FAC, Martens and Grosse 2015):

    F = E[a a'] x E[g g']

with both moments over tokens. Preconditioning a gradient with the inverse of F gives the step
with the most forgetting per unit of harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

INPUT_DAMPING = 1.0  # share of the mean diagonal that is added to a factor before it is inverted:
OUTPUT_DAMPING = 0.1  # chosen on both data sets, docs/results.md


@dataclass(frozen=True, eq=False)
class KroneckerFisher:
    """Kronecker factors of one layer, fp64.

    Attributes:
        inputs: second moment of the layer's inputs [i, i].
        outputs: second moment of the gradients of its outputs [o, o].
        transposed: whether the weight is stored as [i, o] (OpenCLIP's raw projections), not as
            [o, i, ...].
    """

    inputs: Tensor
    outputs: Tensor
    transposed: bool

    def precondition(self, gradient: Tensor) -> Tensor:
        """`outputs^-1 gradient inputs^-1`, both damped; shape and dtype of the gradient."""
        matrix = self._as_matrix(gradient)  # [o, i]
        left = torch.linalg.solve(damped(self.outputs, OUTPUT_DAMPING), matrix)
        both = torch.linalg.solve(damped(self.inputs, INPUT_DAMPING), left.T).T
        stored: Tensor = both.T if self.transposed else both
        return stored.reshape(gradient.shape).to(gradient)

    def harm(self, change: Tensor) -> float:
        """`change' F change`, undamped: twice the divergence that a small change causes."""
        matrix = self._as_matrix(change)
        return float((self.outputs @ matrix @ self.inputs * matrix).sum())

    def efficiency(self, gradient: Tensor) -> float:
        """Forgetting per unit of harm: how much the forget loss gains along the preconditioned
        gradient, over the root of the harm. Steps of any length have the same, so layers can be
        compared by it. Zero for a gradient of zero."""
        direction = self.precondition(gradient)
        harm = self.harm(direction)
        gain = float((direction.double() * gradient.double()).sum())
        return gain / harm**0.5 if harm > 0 else 0.0

    def _as_matrix(self, weight: Tensor) -> Tensor:
        matrix = weight.detach().to(self.inputs).flatten(1)
        return matrix.T if self.transposed else matrix


def damped(factor: Tensor, share: float) -> Tensor:
    """A factor plus `share` of its mean diagonal on the diagonal; the unit matrix for zeros."""
    scale = factor.diagonal().mean()
    if not scale > 0:
        return torch.eye(len(factor)).to(factor)
    return factor / scale + share * torch.eye(len(factor)).to(factor)
