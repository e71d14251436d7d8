"""From a classifier to an embedding space: directions for images, vectors for classes.

A classifier scores an image of features `h` for class i as `h . w_i + b_i`. Two things turn its
1000 weight vectors into the class embeddings of a CLIP model:

* what all classes share (their mean) changes no ranking and is removed, and a truncated singular
  value decomposition keeps the directions in which classes differ most, with the bias as one more
  input that is always 1;
* CLIP compares directions, not dot products. So one coordinate, which is 0 for every image, fills
  every class vector up to the same length: then the cosines rank as the dot products do.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

DIMENSIONS = 512
_GRID = 2.0**-16  # coarser than what two linear algebra libraries differ by, finer than fp16
_DAMPING = 0.1  # of the mean variance of the class vectors


@dataclass(frozen=True)
class Projection:
    """The embedding space.

    Attributes:
        weight: of the linear layer behind the image trunk [d, features]; its last row is zero.
        bias: of that layer [d].
        classes: class embeddings [classes, d] of length 1.
        length: the length that class vectors had before they were divided by it.
    """

    weight: Tensor
    bias: Tensor
    classes: Tensor
    length: float

    def group(self, members: list[int]) -> Tensor:
        """The embedding [d] of a concept that holds several classes: what tells its members from
        all classes, by linear discriminant analysis with class vectors in place of images.

        Args:
            members: class numbers; the embedding of a single one is its own.
        """
        if len(members) == 1:
            return self.classes[members[0]]
        direction = self._metric @ self.classes[members, :-1].double().mean(0)
        return normalize(pad(direction, (0, 1)), dim=0).float()

    @functools.cached_property
    def _metric(self) -> Tensor:
        """Inverse of the damped second moment of the class vectors [d - 1, d - 1]."""
        vectors = self.classes[:, :-1].double()
        moment = vectors.T @ vectors / len(vectors)
        moment.diagonal().add_(_DAMPING * moment.diagonal().mean())
        inverse: Tensor = torch.linalg.inv(moment)
        return inverse


def project(weight: Tensor, bias: Tensor, dimensions: int = DIMENSIONS) -> Projection:
    """The embedding space of a classifier.

    The same bits on every machine: computed in float64, with signs fixed, and rounded to a grid.

    Args:
        weight: of the classifier [classes, features].
        bias: of the classifier [classes].
        dimensions: length of an embedding; one of them is the coordinate that images do not have.
    """
    scores = torch.cat([weight, bias[:, None]], dim=1).double()
    scores -= scores.mean(0)
    _, _, directions = torch.linalg.svd(scores, full_matrices=False)
    directions = directions[: dimensions - 1]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = torch.round(directions * largest.sign() / _GRID) * _GRID
    vectors = scores @ directions.T
    squares = vectors.square().sum(1)
    rest = (squares.max() - squares).clamp(min=0).sqrt()
    classes = normalize(torch.cat([vectors, rest[:, None]], dim=1), dim=1)
    layer = pad(directions, (0, 0, 0, 1)).float()
    return Projection(
        layer[:, :-1].contiguous(),
        layer[:, -1].contiguous(),
        classes.float(),
        float(squares.max().sqrt()),
    )
