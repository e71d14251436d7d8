"""What an edit does to images that it was not chosen on, from the margins on those it was.

A step is chosen on a handful of images. That none of ten keeps its name also happens where a fifth
of all images would. The margin says more: by how much the name of an image wins or loses against
the best other name, as a difference of cosines. Within a class margins are close to normal, so
their mean m and standard deviation s over n images estimate the share of unseen images that keep
their name:

    share = Phi(z),  z = m / s

and z has a standard error of about sqrt(1 / n + z^2 / (2 (n - 1))) (the delta method). The
probability that the share is at most a target t follows from both:

    Phi((Phi^-1(t) - z) / error)

Classes that are forgotten together have a mean and a spread of their own each; shares are averaged
by images, and their errors with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FEWEST = 3  # images, for a spread to mean anything
NARROWEST = 1e-6  # a spread of cosines that rounding alone could give
FARTHEST = (-30.0, 6.0)  # z beyond these is taken for these, so that shares stay numbers
LEAST_TARGET = 0.01  # no number of images proves that none at all keeps its name
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Unseen:
    """What margins say of unseen images of the concept.

    Attributes:
        share: the share of them that is expected to keep its name.
        error: standard error of the share, on the scale of z.
        count: images that were asked.
    """

    share: float
    error: float
    count: int

    def probability(self, target: float) -> float:
        """The probability that the share is at most a target; of targets below `LEAST_TARGET`,
        that it is at most this."""
        wanted = _NORMAL.inv_cdf(min(max(target, LEAST_TARGET), 1 - LEAST_TARGET))
        return _NORMAL.cdf((wanted - _NORMAL.inv_cdf(self.share)) / self.error)

    def to_json(self) -> dict[str, float]:
        return {"share": self.share, "error": self.error, "count": self.count}


def unseen(margins: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]) -> Unseen | None:
    """Estimate the share of unseen images that keep their name.

    Args:
        margins: of each image, the score of its own name less that of the best other one [N].
        classes: the class of each image [N]. Those of classes with fewer than `FEWEST` images are
            taken together, and left out if they are fewer even so.

    Returns:
        The estimate, or None where there are too few images for one.

    >>> few = unseen(np.array([-0.02, -0.01, -0.03]), np.zeros(3, np.int64))
    >>> more = unseen(np.array([-0.02, -0.01, -0.03] * 10), np.zeros(30, np.int64))
    >>> round(few.share, 3), round(few.probability(0.1), 2)
    (0.023, 0.73)
    >>> round(more.share, 3), round(more.probability(0.1), 2)
    (0.008, 1.0)
    """
    shares, weights, errors = [], [], []
    for rows in _groups(classes):
        count = len(rows)
        spread = max(float(margins[rows].std(ddof=1)), NARROWEST)
        z = float(np.clip(margins[rows].mean() / spread, *FARTHEST))
        shares.append(math.erfc(-z / math.sqrt(2)) / 2)  # exact where `cdf` is rounded to 0
        weights.append(count)
        errors.append(_NORMAL.pdf(z) * (1 / count + z * z / (2 * (count - 1))) ** 0.5)
    if not shares:
        return None
    parts = np.array(weights) / sum(weights)
    share = float(parts @ shares)
    density = _NORMAL.pdf(_NORMAL.inv_cdf(share))
    error = float(np.linalg.norm(parts * (np.array(errors) / density)))
    return Unseen(share, error, sum(weights))


def _groups(classes: npt.NDArray[np.int64]) -> Iterable[npt.NDArray[np.intp]]:
    """The rows of each class; those of classes with few images in one group."""
    values, counts = np.unique(classes, return_counts=True)
    small = np.isin(classes, values[counts < FEWEST])
    if small.sum() >= FEWEST:
        yield np.flatnonzero(small)
    for value in values[counts >= FEWEST]:
        yield np.flatnonzero(classes == value)
