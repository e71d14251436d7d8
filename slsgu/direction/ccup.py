"""CCUP: project the texts of a concept out of the embedding space (arXiv 2512.14137).

With U an orthonormal basis of the span of the concept's text embeddings X,

    e <- e - U U' e

after which no embedding has a part along any text of the concept. It needs no picture either, and
is here to compare with: what lies near the concept, as its parents' texts, loses its part too.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Singular values below this share of the largest say how templates differ, not what the name is. To
# project them out, too, costs everything else as much and forgets nothing more.
SMALLEST = 0.1


def projected_out(targets: Tensor) -> Tensor:
    """The change of every embedding as a linear map, -U U' [d, d], fp64.

    Args:
        targets: X, the embeddings of the concept's texts, one column each [d, k].
    """
    vectors, values, _ = torch.linalg.svd(targets, full_matrices=False)
    basis: Tensor = vectors[:, values > SMALLEST * values[0]]
    change: Tensor = -basis @ basis.T
    return change
