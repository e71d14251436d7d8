"""Merge: make what is to be forgotten look like its siblings, in closed form.

The last projection of the image side maps pooled features h to embeddings W h. For each leaf to be
forgotten let d be the mean of its features less the mean of its siblings', D the columns d, and C
the second moment of the features that must be kept. Then

    W <- W - a (W D) (D' C^-1 D)^-1 D' C^-1

is, at a = 1, the smallest change of what is kept (in the metric of C) after which the mean
embedding of each leaf to be forgotten is that of its siblings: W D becomes (1 - a) W D.

C is damped: `DAMPING` of its mean diagonal is added to its diagonal, since there may be fewer kept
images than features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.direction.kfac import damped

DAMPING = 0.1


def merged(
    weight: Tensor, differences: Tensor, moment: Tensor, dial: float, damping: float
) -> Tensor:
    """The change of the weight [o, i], fp64.

    Args:
        weight: W [o, i].
        differences: D, one column for each leaf to be forgotten [i, k].
        moment: the undamped second moment of what is kept [i, i].
    """
    solved = torch.linalg.solve(damped(moment, damping), differences)  # C^-1 D
    gram = differences.T @ solved  # [k, k]
    # Leaves whose differences are not independent, as more leaves than features, share directions.
    change: Tensor = weight @ differences @ torch.linalg.pinv(gram, hermitian=True) @ solved.T
    return -dial * change
