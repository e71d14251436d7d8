"""Text merge: let the texts of a concept mean what its siblings' names mean, in closed form.

No picture is used. Let T be a linear map that moves every text t by T z, where z is the text as the
map is given it: what goes into the last projection of the texts, or the text's embedding itself.
Let X be the columns z of the texts that are to be forgotten, D their embeddings less the places
where they are to go, and A the second moment of z over the texts that are kept, each with a weight.
Then

    t <- t - a D (X' A^-1 X)^-1 X' A^-1 z

is, at a = 1, the smallest change of what is kept (in the metric of A) after which every text of X
lies where it is to go. A text that is orthogonal to X in this metric does not move at all: what is
heavy in A stays.

As a change of the last projection of the texts, W <- W + T, it leaves the image side as it was. The
transposed map does the same to the scores t'v of images from the other side: with z = t, an image
embedding v moves by T'v, which is the change T'W of the last projection of the image side.

A is damped as in `slsgu.direction.kfac`. Prompts of one concept are nearly alike: beside its name,
which goes all the way to its place, X has only the main directions in which they differ from it
(`main_directions`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slsgu.direction.kfac import damped

DAMPING = 1e-3
RANK = 0.1  # the least energy of a direction beside a name, as a share of the name's own
TOWARDS_ALL = 0.5  # the share of the way from the siblings' mean to that of all names
FURTHEST = 2.0  # how far beyond its place a name may go, as a share of the way there
_ROUNDING = 1e-9  # energies below this share of the largest are those of names that are alike


@dataclass(frozen=True, eq=False)
class Leaving:
    """The texts of one concept that is to be forgotten.

    Attributes:
        targets: z of each text, its name first [i, k].
        differences: the text less the place where it is to go [o, k].
    """

    targets: Tensor
    differences: Tensor


def place_to_go(siblings: Tensor, everything: Tensor, towards_all: float) -> Tensor:
    """Where a text is to go: between the mean of its siblings and that of all names.

    At the mean of its siblings a name still wins where it has but one sibling, or where all are far
    from each other. On the way to the mean of all names it keeps their company and stands back.

    Args:
        siblings: mean embedding of the siblings [d].
        everything: mean embedding of all names that are kept [d].
        towards_all: the share of the way to go.
    """
    return (1 - towards_all) * siblings + towards_all * everything


def at_length(name: Tensor, place: Tensor) -> Tensor:
    """A place, further along the way from the name, until it is as long as embeddings are.

    A mean of names is short. Texts are normalised after the last projection, which would lengthen
    it, and noise with it: of names that have little in common the mean would win everywhere. So the
    dial goes on, to p + g (p - t) with the least g at which the length is 1, but no more than
    `FURTHEST`.

    Args:
        name: its embedding of length 1, t [d].
        place: p, no longer than 1 [d].
    """
    away = place - name
    square = float(away @ away)
    if square < _ROUNDING:
        return place
    along, missing = float(place @ away), max(0.0, 1 - float(place @ place))
    further = (-along + math.sqrt(along**2 + square * missing)) / square
    return place + min(further, FURTHEST) * away


def text_merged(
    leaving: Sequence[Leaving],
    moment: Tensor,
    *,
    dial: float = 1.0,
    damping: float = DAMPING,
    rank: float = RANK,
) -> Tensor:
    """T: the change of every text's embedding as a linear map of z [o, i], fp64.

    Args:
        leaving: the texts to be forgotten, by concept.
        moment: A, the undamped second moment of what is kept [i, i].
        dial: a, how far; 0 changes nothing.
        damping: share of the mean diagonal of A that is added to its diagonal.
        rank: see `main_directions`; above 1, only names count.
    """
    metric = damped(moment, damping)
    parts = [main_directions(each, metric, rank) for each in leaving]
    targets = torch.cat([each.targets for each in parts], dim=1)
    differences = torch.cat([each.differences for each in parts], dim=1)
    solved = torch.linalg.solve(metric, targets)  # A^-1 X
    inverse = torch.linalg.pinv(targets.T @ solved, rtol=_ROUNDING, hermitian=True)
    change: Tensor = differences @ inverse @ solved.T
    return -dial * change


def main_directions(leaving: Leaving, metric: Tensor, rank: float) -> Leaving:
    """The name of a concept, and the main directions in which its other texts differ from it.

    Directions are orthogonal in the metric of A^-1, and their energy x' A^-1 x is a mean over the
    texts. To move one that is nearly a mixture of what is kept would move what is kept.

    Args:
        metric: A, damped [i, i].
        rank: the least energy of a direction, as a share of the name's.
    """
    targets, differences = leaving.targets, leaving.differences
    solved = torch.linalg.solve(metric, targets)
    energy = targets[:, 0] @ solved[:, 0]
    along = (targets[:, 0] @ solved[:, 1:]) / energy  # [k - 1]
    rest = targets[:, 1:] - torch.outer(targets[:, 0], along)
    rest_differences = differences[:, 1:] - torch.outer(differences[:, 0], along)
    values, vectors = torch.linalg.eigh(rest.T @ torch.linalg.solve(metric, rest))
    main = vectors[:, values / max(len(values), 1) >= rank * energy]
    return Leaving(
        torch.cat([targets[:, :1], rest @ main], dim=1),
        torch.cat([differences[:, :1], rest_differences @ main], dim=1),
    )


def second_moment(rows: Tensor, weights: Tensor) -> Tensor:
    """The weighted second moment of texts [i, i], per text.

    Args:
        rows: z of each text [n, i].
        weights: of each text [n].
    """
    return rows.T @ (weights[:, None] * rows) / len(rows)
