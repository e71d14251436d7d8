"""Unname: let the name of what is to be forgotten score like its siblings' names, in closed form.

The last projection of the image side maps pooled features h to embeddings W h + b, and an image
scores t'(W h + b) for a class with the embedding t. For each class to be forgotten let u be its
embedding less the mean of its siblings', U the columns u, and G the second moment of the gradients
of the answers that must be kept with respect to embeddings. Then

    W <- W - G^-1 U (U' G^-1 U)^-1 (U' W + U' b c')

is the smallest change of the kept answers (in the metric of G) after which U'(W h + b) is zero for
every image: the name scores what its siblings' names score on average, which is never more than the
best of them. It is the counterpart of `slsgu.direction.merge`, on the side of the outputs. Images
are not moved to a place of their own, as they are by a step along the gradient; what told them
apart becomes smaller.

The bias cannot be edited with the weight. So c is a map of features that is 1 at their mean m and
varies little around it: c = C^-1 m / (m' C^-1 m), with C the second moment of the features.

G is damped as in `slsgu.direction.kfac`, and C by `CONSTANT_DAMPING`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.direction.kfac import OUTPUT_DAMPING, damped

CONSTANT_DAMPING = 0.01


def unnaming(differences: Tensor, outputs: Tensor) -> Tensor:
    """The map from scores U'(W h + b) [k] to what is taken from an embedding [o, k], fp64.

    Args:
        differences: U, one column for each class to be forgotten [o, k].
        outputs: the undamped second moment of the gradients of what is kept [o, o].
    """
    solved = torch.linalg.solve(damped(outputs, OUTPUT_DAMPING), differences)  # G^-1 U
    # More classes than dimensions, or names that are alike, share directions.
    taken: Tensor = solved @ torch.linalg.pinv(differences.T @ solved, hermitian=True)
    return taken


def unnamed(weight: Tensor, differences: Tensor, taken: Tensor, offset: Tensor | None) -> Tensor:
    """The change of the weight [o, i], fp64.

    Args:
        weight: W [o, i].
        differences: U [o, k].
        taken: of `unnaming` [o, k].
        offset: the bias's part, U' b c' [k, i]; None where there is no bias.
    """
    scores = differences.T @ weight  # [k, i]
    return -taken @ (scores if offset is None else scores + offset)


def constant_map(mean: Tensor, moment: Tensor) -> Tensor:
    """c: a linear map of features that is 1 at their mean and varies little around it [i].

    Args:
        mean: m [i].
        moment: the undamped second moment of the features [i, i].
    """
    solved = torch.linalg.solve(damped(moment, CONSTANT_DAMPING), mean)
    constant: Tensor = solved / (mean @ solved)
    return constant
