"""What an edit does: accuracy against step size (Figure 2 c, d), similarity (Figure 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from slsgu.evaluation.metrics import WORDS
from slsgu.report.plots.drawn import FORGET, Drawn
from slsgu.report.plots.style import (
    GREY,
    INK,
    MET,
    MET_INK,
    PURPLE,
    VERMILLION,
    bare,
    fit,
    log_ticks,
    number,
    text_width,
)

if TYPE_CHECKING:
    from slsgu.search.choice import Trial
    from slsgu.search.goal import Goal
    from slsgu.search.layer import Candidate

Matrix = npt.NDArray[np.float64]

MOST_CLASSES, MOST_FORGOTTEN = 12, 6
SIMILARITY_LABEL = 84.0  # points, the room that a figure leaves for labels


class Series(NamedTuple):
    """What a curve shows, and how: line width and marker size are in points, in a large panel."""

    key: str
    label: str
    colour: str
    marker: str
    width: float
    size: float


# Curves that coincide lie on one another like rings: the wider, the lighter, so that each is seen
# beside the narrower ones on it, in print without colours too. The markers differ as well.
SERIES = (
    Series(FORGET, "to be forgotten", "#F5A25D", "o", 5.4, 9.6),
    Series("forget_coarse", WORDS["forget_coarse"], PURPLE, "s", 2.3, 5.2),
    Series("retain_fine", WORDS["retain_fine"], "#0B3C6F", "^", 1.2, 4.2),
    Series("retain_coarse", WORDS["retain_coarse"], "#45B894", "D", 3.8, 7.0),
)
GOAL_MET, CHOSEN_STEP = "goal met", "chosen step"
_LARGE = 330.0  # points, the width of a panel in which widths and sizes are as given
_CLOSE = 0.12  # lines whose heights differ by less share a name
_MANY = 12  # points of a curve, from which on each curve marks only every fourth


# -- Figure 2 (c, d) ------------------------------------------------------------------------------


def curve(
    candidate_or_trials: Candidate | Sequence[Trial],
    goal: Goal,
    ax: Axes,
    *,
    chosen: float | None = None,
) -> Axes:
    """Accuracy on the search split against step size, for one layer: Figure 2 (c, d).

    Hollow markers at step 0 are the unedited model. Dotted lines are the target and the floors, a
    shaded band says from where to where the goal is met, small ticks at the bottom are the steps
    tried. The curves are labelled, so `ax.legend()` names them.

    Args:
        candidate_or_trials: at least one trial.
        chosen: the step that was taken; it is marked.
    """
    searched, exact = candidate_or_trials, False
    if isinstance(searched, Sequence):
        trials, drawn = searched, Drawn.of_trials(searched, goal)
    else:
        trials, exact, drawn = searched.trials, searched.exact, Drawn.of(searched, goal)
    assert trials, "nothing was tried"
    bare(ax, grid="y")
    steps = drawn.steps
    span = max(steps[-1] / steps[0], 2.0)
    zero = steps[0] / span**0.12  # where step 0 is drawn, left of the smallest step
    ax.set_xscale("log")
    ax.set_xlim(zero / span**0.05, steps[-1] * span**0.06)
    ax.set_ylim(-0.03, 1.04)
    scale = min(1.0, ax.bbox.width * 72 / ax.figure.dpi / _LARGE)
    bounds: dict[float, list[Series]] = {}
    for series in sorted(SERIES, key=lambda series: -series.width):
        values, before = drawn.after.get(series.key), drawn.before.get(series.key)
        if before is None or values is None:
            continue
        _draw(ax, series, [zero, *steps], [before, *values], scale)
        forget = series.key == FORGET
        bound = goal.target if forget else goal.floors.get(series.key, 0) * before
        if bound > 0 or forget:
            bounds.setdefault(round(bound, 3), []).append(series)
    _bounds(ax, bounds, zero * span**0.03, 6.5 + 1.5 * scale)
    _shade(ax, [(steps[first], steps[last]) for first, last in drawn.met], span**0.006)
    if not exact:
        tried = [trial.step for trial in trials]
        ax.vlines(tried, 0, 0.025, transform=ax.get_xaxis_transform(), color=INK, linewidth=0.8)
    if chosen is not None:
        ax.axvline(chosen, color=INK, linewidth=1.0, zorder=0.9)
        ax.annotate(
            CHOSEN_STEP, (chosen, 0.5), (2, 0), textcoords="offset points", rotation=90,
            va="center", fontsize=8, color=INK,
            bbox={"facecolor": "white", "linewidth": 0, "pad": 0.8},
        )  # fmt: skip
    _step_ticks(ax, steps, zero)
    ax.set_xlabel("step size", fontsize=8.5, color=INK)
    percent_axis(ax, "y")
    return ax


def _draw(
    ax: Axes, series: Series, steps: Sequence[float], values: Sequence[float], scale: float
) -> None:
    """One curve; its first point, the unedited model, is hollow and joined by a faint line."""
    width, size, colour = series.width * scale, series.size * scale, series.colour
    ax.plot(steps[:2], values[:2], color=colour, linewidth=width / 2, alpha=0.4)
    turn = sorted(SERIES, key=lambda other: -other.width).index(series)
    ax.plot(
        steps[1:], values[1:], color=colour, linewidth=width, label=series.label,
        marker=series.marker, markersize=size, markeredgecolor="white", markeredgewidth=scale / 2,
        markevery=(turn, len(SERIES)) if len(steps) > _MANY else None,
    )  # fmt: skip
    ax.plot(
        steps[:1], values[:1], color=colour, marker=series.marker, markersize=size + 1,
        markerfacecolor="white", linestyle="none", clip_on=False,
    )  # fmt: skip


def _bounds(ax: Axes, bounds: Mapping[float, Sequence[Series]], left: float, size: float) -> None:
    """Dotted lines where target and floors lie; one that several curves share is grey. Of lines
    that lie close together the lowest bears the name."""
    names = {b: "target" if shared[0].key == "forget" else "floor" for b, shared in bounds.items()}
    for bound, shared in bounds.items():
        colour = shared[0].colour if len(shared) == 1 else GREY
        ax.axhline(bound, color=colour, linewidth=1.1, linestyle=(0, (1, 2)), zorder=1)
        close = [b for b in bounds if abs(b - bound) < _CLOSE and names[b] == names[bound]]
        if bound > min(close):
            continue
        several = sum(len(bounds[b]) for b in close) > 1
        low = bound < _CLOSE  # there is no room for a name under it
        ax.annotate(
            names[bound] + "s" * several, (left, bound), (0, 2 if low else -2),
            textcoords="offset points", va="bottom" if low else "top", fontsize=size, color=GREY,
            path_effects=[withStroke(linewidth=2, foreground="white")],  # a curve may pass
        )  # fmt: skip


def _shade(ax: Axes, ranges: Sequence[tuple[float, float]], pad: float) -> None:
    """A band where the goal is met, and over the widest a bar at the top edge that says so.

    Args:
        pad: a factor by which a band reaches beyond its ends, so that one of a single step is seen.
    """
    for low, high in ranges:
        ax.axvspan(low / pad, high * pad, color=MET, linewidth=0, zorder=0)
    if not ranges:
        return
    ends = max(ranges, key=lambda ends: ends[1] / ends[0])
    ax.plot(
        ends, [1, 1], transform=ax.get_xaxis_transform(), color=MET_INK, linewidth=2.5,
        clip_on=False, solid_capstyle="butt",
    )  # fmt: skip
    left, right = (math.log(limit) for limit in ax.get_xlim())
    middle = (sum(math.log(end) for end in ends) / 2 - left) / (right - left)
    half = text_width(GOAL_MET, 8) * ax.figure.dpi / 72 / ax.bbox.width / 2
    ax.annotate(
        GOAL_MET, (min(max(middle, half), 1 - half), 1), (0, 3), xycoords="axes fraction",
        textcoords="offset points", ha="center", fontsize=8, color=MET_INK,
    )  # fmt: skip


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
    with_images = [i for i in range(len(before)) if not np.isnan(before[i]).any()]
    targets = [i for i in with_images if i in forgotten][:MOST_FORGOTTEN]
    others = [i for i in with_images if i not in forgotten]

    def nearness(i: int) -> float:
        return max((max(before[i, g], before[g, i]) for g in targets), default=0.0)

    return targets + sorted(others, key=lambda i: (-nearness(i), i))[: MOST_CLASSES - len(targets)]


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
    count = sum(i in forgotten for i in shown)
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
        for tick in [*ax.get_xticklabels()[:count], *ax.get_yticklabels()[:count]]:
            tick.set_fontweight("bold")
            tick.set_color(VERMILLION)
        ax.spines[:].set_visible(False)
        for i in range(count):
            ax.add_patch(
                Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2)
            )
        ax.set_xlabel("text", fontsize=8.5, color=GREY)
    axes[0].set_ylabel("images", fontsize=8.5, color=GREY)
    return axes


def _cosine(value: float) -> str:
    text = f"{value:.2f}".replace("-0.00", "0.00")
    return text.replace("0.", ".", 1).replace("-", "\N{MINUS SIGN}")
