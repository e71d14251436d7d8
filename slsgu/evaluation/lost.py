"""The class that an edit costs most of what must be kept: a mean over many classes hides that one
of them is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slsgu.concepts.taxonomy import Concept, told_apart

FEWEST = 3  # images that must have been right before, for a class to count
HALF = 0.5  # of the images that were right, which a class may lose
TOLD = 0.1  # share of its images, from which on a loss is said


@dataclass(frozen=True)
class Lost:
    """The class that loses most of what must be kept.

    Attributes:
        name: of the class; its path where another has the same name.
        count: its images.
        before, after: its accuracy.
        ruined: whether any class, this or another, loses more than half of the images that were
            right, at any level that must be kept.
        level: the level at which its images are asked for, where that is not the finest.
        requested: whether it is one that is to be forgotten, and loses a group that it must keep.
    """

    name: str
    count: int
    before: float
    after: float
    ruined: bool
    level: int | None = None
    requested: bool = False

    @property
    def share(self) -> float:
        """Of its images, those that are lost."""
        return round(self.before - self.after, 9)

    def describe(self) -> str | None:
        """What is lost, in a sentence without its full stop; None where it is little."""
        if self.share < TOLD:
            return None
        what = "are named right"
        if self.level is not None:
            what = f"are given the right group at level {self.level}"
        which = f"of everything else, {self.name} loses most"
        if self.requested:
            which = f"{self.name} loses most beyond what was asked"
        return (
            f"{which}: {self.before:.1%} of its {self.count} images {what} before, "
            f"{self.after:.1%} after"
        )

    def to_json(self) -> dict[str, Any]:
        """For `result.json`; what steers the search alone is left out."""
        value = asdict(self)
        del value["ruined"]
        return value


def most_lost(
    classes: Sequence[Concept],
    labels: npt.NDArray[np.int64],
    before: npt.NDArray[np.bool_],
    after: npt.NDArray[np.bool_],
) -> Lost | None:
    """The class that loses the largest share of its images; None where none has `FEWEST`.

    Args:
        classes: C classes.
        labels: the class of each kept image [N].
        before, after: whether each is right without and with the edit [N].

    >>> from slsgu.concepts.taxonomy import Taxonomy
    >>> dog, cat = Taxonomy.parse(["dog", "cat"]).leaves
    >>> right = np.ones(6, dtype=bool)
    >>> left = np.array([1, 1, 1, 1, 0, 0], dtype=bool)
    >>> found = most_lost([dog, cat], np.array([0, 0, 0, 1, 1, 1]), right, left)
    >>> found.name, round(found.after, 2), found.ruined
    ('cat', 0.33, True)
    """
    count = len(classes)
    images = np.bincount(labels, minlength=count)
    old, new = (np.bincount(labels[right], minlength=count) for right in (before, after))
    enough = old >= FEWEST
    if not enough.any():
        return None
    shares = np.where(enough, (old - new) / np.maximum(images, 1), -np.inf)
    worst = int(shares.argmax())
    number = int(images[worst])
    return Lost(
        name=told_apart(classes)[worst],
        count=number,
        before=float(old[worst]) / number,
        after=float(new[worst]) / number,
        ruined=bool((enough & (new < HALF * old)).any()),
    )
