"""What an edit does: accuracy against step size (Figure 2 c, d), similarity (Figure 3), levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from slsgu.report.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    PURPLE,
    VERMILLION,
    bare,
    fit,
    log_ticks,
    number,
)

if TYPE_CHECKING:
    from slsgu.evaluation.metrics import LevelAccuracy, Measures
    from slsgu.search.candidates import Candidate
    from slsgu.search.choice import Trial
    from slsgu.search.goal import Goal

Matrix = npt.NDArray[np.float64]

MOST_CLASSES, MOST_FORGOTTEN = 12, 6
SIMILARITY_LABEL, LEVEL_LABEL = 84.0, 170.0  # points, the room that a figure leaves for labels

# name, label, colour, marker: what a curve shows. The markers differ too, for print.
SERIES = (
    ("forget", "to be forgotten", VERMILLION, "o"),
    ("forget_coarse", "forget images, coarser levels", PURPLE, "s"),
    ("retain_fine", "other images, finest level", BLUE, "^"),
    ("retain_coarse", "other images, coarser levels", GREEN, "D"),
)


# -- Figure 2 (c, d) ------------------------------------------------------------------------------


def curve(
    candidate_or_trials: Candidate | Sequence[Trial],
    goal: Goal,
    ax: Axes,
    *,
    chosen: float | None = None,
) -> Axes:
    """Accuracy on the search split against step size, for one layer: Figure 2 (c, d).

    Hollow markers at step 0 are the unedited model. Dotted lines are the target and the floors,
    each in the colour of what it bounds.

    Args:
        candidate_or_trials: at least one trial.
        chosen: the step that was taken; it is marked.
    """
    given = candidate_or_trials
    found = given if isinstance(given, Sequence) else given.trials
    trials = sorted(found, key=lambda trial: trial.step)
    assert trials, "nothing was tried"
    bare(ax, grid="y")
    steps = [trial.step for trial in trials]
    first = steps[0]
    span = max(steps[-1] / first, 2.0)
    zero = first / span**0.12  # where step 0 is drawn, left of the smallest step
    ax.set_xscale("log")
    ax.set_xlim(zero / span**0.05, steps[-1] * span**0.06)
    ax.set_ylim(-0.03, 1.04)
    for name, _, colour, marker in SERIES:
        found_values = [_value(trial.measures, name, after=True) for trial in trials]
        values = [value for value in found_values if value is not None]
        before = _value(trials[0].measures, name, after=False)
        if before is None or len(values) < len(trials):
            continue
        bound = goal.target if name == "forget" else goal.floors.get(name, 0) * before
        if bound > 0 or name == "forget":
            ax.axhline(bound, color=colour, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        ax.plot([zero, first], [before, values[0]], color=colour, linewidth=0.8, alpha=0.4)
        ax.plot(steps, values, color=colour, marker=marker, markersize=3.6, linewidth=1.3)
        ax.plot(
            [zero], [before], color=colour, marker=marker, markersize=4.2,
            markerfacecolor="white", linestyle="none", clip_on=False,
        )  # fmt: skip
    if chosen is not None:
        ax.axvline(chosen, color=INK, linewidth=1.0, zorder=0.9)
    _step_ticks(ax, steps, zero)
    ax.set_xlabel("step size", fontsize=8.5, color=INK)
    percent_axis(ax, "y")
    return ax


def curve_legend(*, chosen: bool = True) -> list[Line2D]:
    """Handles for a legend of `curve`, to be shared by several panels."""
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=1.3, label=label)
        for _, label, colour, marker in SERIES
    ]
    handles.append(
        Line2D([], [], color=GREY, linestyle=(0, (1, 2)), linewidth=1, label="target, floors")
    )
    if chosen:
        handles.append(Line2D([], [], color=INK, linewidth=1, label="chosen step"))
    return handles


def _value(measures: Measures, name: str, *, after: bool) -> float | None:
    if name != "forget":
        return (measures.after if after else measures.before)[name]
    rows = [row for row in measures.levels if row.forgotten]
    rows = [row for row in rows if row.measurable] or rows
    if not rows:
        return None
    return measures.forget_accuracy if after else max(row.before for row in rows)


def _step_ticks(ax: Axes, steps: Sequence[float], zero: float) -> None:
    ticks = log_ticks(min(steps) * 0.999, max(steps) * 1.001, most=4)
    if max(steps) / min(steps) < 1.5:
        ticks = [steps[len(steps) // 2]]
    ax.xaxis.set_major_locator(FixedLocator([zero, *ticks]))
    ax.xaxis.set_major_formatter(FixedFormatter(["0", *[number(tick) for tick in ticks]]))
    ax.xaxis.set_minor_locator(NullLocator())


def percent_axis(ax: Axes, which: str) -> None:
    """Ticks at every quarter, as percentages."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axis.set_major_formatter(FixedFormatter(["0 %", "25 %", "50 %", "75 %", "100 %"]))


# -- Figure 3 -------------------------------------------------------------------------------------


def similar_classes(before: Matrix, forgotten: set[int]) -> list[int]:
    """The classes of Figure 3: forgotten ones, then those that were most similar to them.

    Classes without images (rows of NaN) are left out.

    Args:
        before: mean cosine of the images of class i with the text of class j [C, C].
        forgotten: their indices.
    """
    seen = [i for i in range(len(before)) if not np.isnan(before[i]).any()]
    gone = [i for i in seen if i in forgotten][:MOST_FORGOTTEN]
    others = [i for i in seen if i not in forgotten]

    def nearness(i: int) -> float:
        return max((max(before[i, g], before[g, i]) for g in gone), default=0.0)

    return gone + sorted(others, key=lambda i: (-nearness(i), i))[: MOST_CLASSES - len(gone)]


def similarity(
    before: Matrix, after: Matrix, names: Sequence[str], forgotten: set[int], axes: Sequence[Axes]
) -> Sequence[Axes]:
    """Mean cosine between the images of a class and the text of another: Figure 3.

    At most 12 classes are shown; those to be forgotten come first, in bold, framed.

    Args:
        before, after: [C, C], images by rows.
        names: of the C classes.
        forgotten: indices of the classes to be forgotten.
        axes: two, one for each matrix.
    """
    shown = similar_classes(before, forgotten)
    grids = [matrix[np.ix_(shown, shown)] for matrix in (before, after)]
    low = min(float(np.nanmin(g)) for g in grids if g.size) if shown else 0.0
    high = max(float(np.nanmax(g)) for g in grids if g.size) if shown else 1.0
    gone = sum(i in forgotten for i in shown)
    labels = [fit(names[i], 9, SIMILARITY_LABEL) for i in shown]  # 8 points, but some are bold
    for ax, grid, title in zip(axes, grids, ("before", "after"), strict=True):
        ax.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        if not shown:
            ax.set_axis_off()
            continue
        ax.imshow(grid, cmap="Blues", vmin=low, vmax=high if high > low else low + 1)
        for (row, column), value in np.ndenumerate(grid):
            share = (value - low) / (high - low) if high > low else 0.0
            ax.text(
                column, row, _cosine(value), ha="center", va="center",
                fontsize=7.5 if len(shown) <= 10 else 6.8, color="white" if share > 0.65 else INK,
            )  # fmt: skip
        ax.set_xticks(
            range(len(shown)), labels, rotation=45, ha="right", rotation_mode="anchor",
            parse_math=False,
        )  # fmt: skip
        ax.set_yticks(range(len(shown)), labels, parse_math=False)
        ax.tick_params(length=0, labelsize=8, labelcolor=INK)
        for tick in [*ax.get_xticklabels()[:gone], *ax.get_yticklabels()[:gone]]:
            tick.set_fontweight("bold")
            tick.set_color(VERMILLION)
        ax.spines[:].set_visible(False)
        for i in range(gone):
            ax.add_patch(
                Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2)
            )
        ax.set_xlabel("text", fontsize=8.5, color=GREY)
    axes[0].set_ylabel("images", fontsize=8.5, color=GREY)
    return axes


def _cosine(value: float) -> str:
    text = f"{value:.2f}".replace("-0.00", "0.00")
    return text.replace("0.", ".", 1).replace("-", "\N{MINUS SIGN}")


# -- Levels ---------------------------------------------------------------------------------------


def levels(
    measures: Measures, ax: Axes, *, name: Callable[[LevelAccuracy], str] | None = None
) -> Axes:
    """Accuracy before (hollow) and after (filled) at every level, with 95 % intervals.

    A grey tick marks chance.

    Args:
        name: what a row is called; None says which images and which level.
    """
    rows = list(measures.levels)
    bare(ax, grid="x")
    ax.spines["left"].set_visible(False)
    for index, row in enumerate(rows):
        colour = VERMILLION if row.forgotten else BLUE
        up, down = index - 0.13, index + 0.13
        ax.plot([row.chance] * 2, [index - 0.3, index + 0.3], color="#A8B1BA", linewidth=1.2)
        ax.plot([row.before, row.after], [up, down], color=FAINT, linewidth=2.2, zorder=1)
        for bounds, value, y, face in (
            (row.before_interval, row.before, up, "white"),
            (row.after_interval, row.after, down, colour),
        ):
            ax.plot(bounds, [y, y], color=colour, linewidth=1.1, alpha=0.75, zorder=2)
            ax.plot(
                [value], [y], marker="o", markersize=5.5, markeredgecolor=colour,
                markerfacecolor=face, clip_on=False, zorder=3,
            )  # fmt: skip
    labels = [fit(name(row) if name else level_name(row), 8.5, LEVEL_LABEL) for row in rows]
    ax.set_yticks(range(len(rows)), labels, parse_math=False)
    ax.tick_params(axis="y", length=0, labelsize=8.5)
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.set_xlim(-0.02, 1.02)
    percent_axis(ax, "x")
    return ax


def level_name(row: LevelAccuracy) -> str:
    """Which images and which level, in words."""
    images = "forget images" if row.images == "forget" else "other images"
    return f"{images}, level {row.level}{' (finest)' if row.fine else ''}"
