"""Accuracy before and after an edit, and what follows from it: quality, utility, Q-U.

The definitions are those of the design, section 5 (the knowledge-tracing paper's, with the
ratios clipped to 1, which is what reproduces its Table 2). Plain numpy: correctness in, numbers
out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from slsgu.concepts.request import KEPT, STATES
from slsgu.evaluation.found import Found
from slsgu.evaluation.lost import Lost
from slsgu.evaluation.moved import Moved, means
from slsgu.evaluation.summary import Floats, Summary
from slsgu.evaluation.unseen import Unseen
from slsgu.utils.statistics import wilson

Bools = npt.NDArray[np.bool_]

KEYS = ("forget_fine", *KEPT)
WORDS = {  # the four accuracies and what else has a floor, for people
    "forget_fine": "requested images at the finest level",
    "forget_coarse": "requested images at coarser levels",
    "retain_fine": "other images at the finest level",
    "retain_coarse": "other images at coarser levels",
    STATES: "what the system reads of everything else",
}


@dataclass(frozen=True)
class Group:
    """The images whose accuracy at one level is one number.

    Attributes:
        level: depth in the taxonomy.
        column: the level's column in a correctness matrix.
        images: `forget` or `retain`.
        forgotten: whether this level is to be forgotten on these images.
        fine: whether this is the deepest level.
        classes: how many classes the level has; chance is one over it.
        mask: which images belong [N].
    """

    level: int
    column: int
    images: str
    forgotten: bool
    fine: bool
    classes: int
    mask: Bools


@dataclass(frozen=True)
class LevelAccuracy:
    """Accuracy at one level on one group of images, before and after, with 95 % intervals."""

    level: int
    images: str
    forgotten: bool
    fine: bool
    count: int
    chance: float
    before: float
    after: float
    before_interval: tuple[float, float]
    after_interval: tuple[float, float]
    measurable: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "images": self.images,
            "before": self.before,
            "after": self.after,
            "count": self.count,
            "forgotten": self.forgotten,
            "chance": self.chance,
            "before_interval": list(self.before_interval),
            "after_interval": list(self.after_interval),
            "measurable": self.measurable,
        }


@dataclass(frozen=True)
class Measures:
    """What an edit did on one set of images. A value that is not defined is None.

    Attributes:
        forget_accuracy: the highest accuracy left at any level that is to be forgotten
            (measurable levels, or all where none is). Zero where nothing is to be forgotten.
        unseen: what margins say of unseen images of the concept; None where they were not asked,
            or are of too few images.
        found: how often a few images find the concept again, without its name; None likewise.
        moved: how far what a system reads has moved; None where the edit is for no other system.
        lost: the class that loses most of what must be kept; None where there is none to tell of.
    """

    before: dict[str, float | None]
    after: dict[str, float | None]
    counts: dict[str, int]
    kept_ratios: dict[str, float | None]
    quality: float | None
    utility: float | None
    q_u: float | None
    forget_accuracy: float
    levels: tuple[LevelAccuracy, ...]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    unseen: Unseen | None = None
    found: Found | None = None
    moved: Moved | None = None
    lost: Lost | None = None

    @property
    def forget_fine_after(self) -> float:
        value = self.after["forget_fine"]
        return 1.0 if value is None else value

    @property
    def shares_kept(self) -> dict[str, float | None]:
        """What floors are held against, by their names: what remains of each accuracy, and of what
        a system reads of everything else."""
        return {**self.kept_ratios, STATES: None if self.moved is None else self.moved.stays}

    @property
    def scores(self) -> dict[str, float | None]:
        """Quality, utility and Q-U, by the names that they have in files."""
        return {"quality": self.quality, "utility": self.utility, "q_u": self.q_u}

    def figures(self) -> dict[str, Any]:
        """The four accuracies before and after, their counts, and the scores, as JSON values."""
        return {
            "before": self.before, "after": self.after, "counts": self.counts, **self.scores
        }  # fmt: skip

    def summary(self) -> dict[str, float | None]:
        """What a search goes by, as JSON values: what is left, what remains, and the scores."""
        return {
            "forget_accuracy": self.forget_accuracy,
            "retained_accuracy": self.after["retain_fine"],
            **self.scores,
            "unseen_share": None if self.unseen is None else self.unseen.share,
            "found": None if self.found is None else self.found.after,
            **means(self.moved),
        }

    def differences(self) -> dict[str, float | None]:
        """Quality, utility, Q-U, and `change_<key>`, after minus before, of the four accuracies."""
        values = self.scores
        for key in KEYS:
            old, new = self.before[key], self.after[key]
            values[f"change_{key}"] = None if old is None or new is None else new - old
        return values

    @property
    def unmeasurable(self) -> list[LevelAccuracy]:
        """Levels whose accuracy before the edit cannot be told from chance."""
        return [row for row in self.levels if not row.measurable]


def quality_utility(
    forgotten: Sequence[float], kept: Sequence[float]
) -> tuple[float | None, float | None, float | None]:
    """Quality, utility and Q-U from ratios after / before.

    Args:
        forgotten: the ratio A of each level that is to be forgotten.
        kept: the ratios of what is to be kept.

    >>> quality_utility([0.5], [1.0, 1.2])
    (0.5, 1.0, 0.6666666666666666)
    >>> quality_utility([], [1.0])
    (None, 1.0, None)
    """
    scores = _quality_utility(
        *(np.array([ratios], dtype=np.float64) for ratios in (forgotten, kept))
    )
    quality, utility, q_u = (_or_none(values[0]) for values in scores)
    return quality, utility, q_u


def _quality_utility(forgotten: Floats, kept: Floats) -> tuple[Floats, Floats, Floats]:
    """Quality, utility and Q-U [R] of R cases, from ratios [R, .]; NaN is left out of means."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, as wanted
        worst = np.nanmax(forgotten, axis=1) if forgotten.shape[1] else _nans(len(forgotten))
        quality = 1 - np.minimum(1, worst)
        utility = np.nanmean(np.minimum(1, kept), axis=1)
        total = quality + utility
        q_u = np.where(total == 0, 0.0, 2 * quality * utility / total)
    return quality, utility, q_u


def measure(groups: list[Group], before: Bools, after: Bools) -> Measures:
    """Compare correctness before and after an edit.

    Args:
        groups: which images and levels are to be forgotten and kept.
        before: whether image n was right at level column l, before the edit [N, L].
        after: the same after it [N, L], for the same images.
    """
    return _compare(tuple(_level_accuracy(group, before, after) for group in groups))


def summarise(levels: Sequence[LevelAccuracy], before: Floats, after: Floats) -> Summary:
    """The four accuracies and what follows from them.

    Args:
        levels: G groups of images with their accuracy before the edit, which decides what is
            measurable.
        before, after: accuracy of each group in each of R cases [R, G].
    """
    places = {id(row): index for index, row in enumerate(levels)}

    def mean(key: str, values: Floats) -> Floats:
        rows = _rows(levels, key)
        rows = [row for row in rows if row.measurable] or rows
        columns = [places[id(row)] for row in rows]
        return values[:, columns].mean(axis=1) if columns else _nans(len(values))

    old = {key: mean(key, before) for key in KEYS}
    new = {key: mean(key, after) for key in KEYS}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {
            key: np.where(old[key] > 0, new[key] / old[key], np.nan)
            if any(row.measurable for row in _rows(levels, key))
            else _nans(len(after))
            for key in KEPT
        }
        targets = [i for i, row in enumerate(levels) if row.forgotten and row.measurable]
        forgotten = np.where(before[:, targets] > 0, after[:, targets] / before[:, targets], np.nan)
    quality, utility, q_u = _quality_utility(forgotten, np.stack([*ratios.values()], axis=1))
    rows = targets or [i for i, row in enumerate(levels) if row.forgotten]
    accuracy_left = after[:, rows].max(axis=1) if rows else np.zeros(len(after))
    return Summary(old, new, ratios, quality, utility, q_u, accuracy_left)


def _compare(levels: tuple[LevelAccuracy, ...]) -> Measures:
    accuracies = [
        np.array([[getattr(row, moment) for row in levels]]) for moment in ("before", "after")
    ]
    summary = summarise(levels, *accuracies)
    return Measures(
        before={key: _or_none(values[0]) for key, values in summary.before.items()},
        after={key: _or_none(values[0]) for key, values in summary.after.items()},
        counts={key: max((row.count for row in _rows(levels, key)), default=0) for key in KEYS},
        kept_ratios={key: _or_none(values[0]) for key, values in summary.kept_ratios.items()},
        quality=_or_none(summary.quality[0]),
        utility=_or_none(summary.utility[0]),
        q_u=_or_none(summary.q_u[0]),
        forget_accuracy=float(summary.forget_accuracy[0]),
        levels=levels,
    )


def _level_accuracy(group: Group, before: Bools, after: Bools) -> LevelAccuracy:
    count = int(group.mask.sum())
    right_before = int(before[group.mask, group.column].sum())
    right_after = int(after[group.mask, group.column].sum())
    chance = 1 / group.classes
    interval = wilson(right_before, count)
    return LevelAccuracy(
        level=group.level,
        images=group.images,
        forgotten=group.forgotten,
        fine=group.fine,
        count=count,
        chance=chance,
        before=right_before / count,
        after=right_after / count,
        before_interval=interval,
        after_interval=wilson(right_after, count),
        measurable=interval[0] > chance,
    )


def _rows(levels: Sequence[LevelAccuracy], key: str) -> list[LevelAccuracy]:
    """The rows that the mean named `key` is taken over."""
    images, fine = key.split("_")
    if key == "forget_fine":
        return [row for row in levels if row.images == "forget" and row.fine]
    if key == "forget_coarse":
        return [row for row in levels if row.images == "forget" and not row.forgotten]
    return [row for row in levels if row.images == images and row.fine == (fine == "fine")]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _nans(count: int) -> Floats:
    return np.full(count, np.nan)
