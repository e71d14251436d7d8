"""Which layers matter: importance against alignment, the paper's Figure 2 (a, b)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from slsgu.report.plots.style import (
    BLUE,
    GREY,
    INK,
    bare,
    drawing,
    fit,
    heading,
    log_ticks,
    number,
    short_layers,
    spread,
    text_width,
)
from slsgu.utils.files import replacing, write_text

if TYPE_CHECKING:
    from slsgu.search.pareto import LayerScore

TOWERS = ("vision", "language")
LABEL = "layer-label"  # the gid of the labels, so that they can be found again
CORNER = "better-corner"  # and of the words that say where the better layers are
BETTER = "\N{NORTH WEST ARROW} better: more important, less aligned"
_SIZE = 8.0  # points
_LEADING = 1.55  # of the font size, from one label to the next
_STRIP = 15.0  # points, above all data and labels: room for BETTER
_PANEL = (5.4, 3.4)  # inches


def pareto(
    scores: Sequence[LayerScore], tower: str, ax: Axes, *, chosen: str | None = None
) -> Axes:
    """Importance against alignment for the layers of one tower: the paper's Figure 2 (a, b).

    Nothing can lie to the left of a front member at its own height, since it would beat it. So
    the labels stand in a column left of all data and each leader runs level from its dot, past
    nothing, and bends to its label only beyond the last layer. (Only the leader of a chosen layer
    that is not on the front may pass others.) The front itself is one line, a staircase: no layer
    lies above it or to its left.

    Args:
        scores: layers of any tower; others than `tower` are left out.
        ax: axes of their final size.
        chosen: the layer that was chosen; it gets a ring and a bold label wherever it is.
    """
    tower_scores = [s for s in scores if s.tower == tower and _finite(s)]
    bare(ax)
    _captions(ax, tower, tower_scores, chosen)
    if not tower_scores:
        return ax
    named = sorted(
        (s for s in tower_scores if s.on_front or s.layer == chosen),
        key=lambda s: (s.importance, s.alignment),
    )
    layout = _Layout(ax, tower_scores, named)
    _points(ax, layout, tower_scores)
    _labels(ax, layout, named, chosen)
    return ax


def pareto_figure(
    scores: Sequence[LayerScore], *, title: str = "", chosen: str | None = None
) -> Figure:
    """Both towers side by side; one panel if only one tower has layers."""
    towers = [tower for tower in TOWERS if any(s.tower == tower for s in scores)] or ["vision"]
    named = [s for s in scores if s.on_front or s.layer == chosen]
    most = max(sum(s.tower == tower for s in named) for tower in towers)
    panel_width, panel_height = _PANEL
    panel_height = max(panel_height, (most * _SIZE * _LEADING + _STRIP) / 72 / 0.9)
    left, right, bottom, gap = 0.75, 0.2, 0.6, 0.8  # inches
    top = 0.95 if title else 0.55
    width = left + len(towers) * panel_width + (len(towers) - 1) * gap + right
    height = bottom + panel_height + top
    figure = Figure(figsize=(width, height))
    for index, tower in enumerate(towers):
        corner = (left + index * (panel_width + gap)) / width
        ax = figure.add_axes((corner, bottom / height, panel_width / width, panel_height / height))
        pareto(scores, tower, ax, chosen=chosen)
    if title:
        figure.text(
            left / width, 1 - 0.14 / height, fit(title, 1.15 * 13, 72 * (width - left - right)),
            fontsize=13, fontweight="bold", color=INK, va="top", parse_math=False,
        )  # fmt: skip
    return figure


def save_pareto(
    scores: Sequence[LayerScore], path: Path, *, title: str, chosen: str | None = None
) -> None:
    """Write the figure as PNG, and the numbers in it beside it as `.csv`.

    Args:
        title: what stands above it.
        chosen: the layer that `apply` chose, if it ran; it gets a ring.

    Raises:
        SlsguError: the disk refuses.
    """
    with drawing():
        figure = pareto_figure(scores, title=title, chosen=chosen)
        with replacing(path) as part:
            figure.savefig(part, format="png", dpi=150)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["layer", "tower", "kind", "importance", "alignment", "cosine", "on_front"])
    rows.writerows(
        [s.layer, s.tower, s.kind, s.importance, s.alignment, s.cosine, int(s.on_front)]
        for s in scores
    )
    write_text(path.with_suffix(".csv"), text.getvalue())


def _captions(ax: Axes, tower: str, scores: Sequence[LayerScore], chosen: str | None) -> None:
    """Heading with the marks that occur, names of the axes, and where the better layers are."""
    count = sum(s.on_front for s in scores)
    marks = [
        f"\N{BLACK CIRCLE} on the front: {count} of {len(scores)} layers",
        *(["\N{MULTIPLICATION SIGN} other layers"] if count < len(scores) else []),
        *(["\N{LARGE CIRCLE} the chosen layer"] if chosen in {s.layer for s in scores} else []),
    ]
    heading(ax, f"{tower.capitalize()} tower", ",  ".join(marks))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("alignment  |cos(forget gradient, retain gradient)|", fontsize=8.5, color=INK)
    ax.set_ylabel("importance  |gradient| / |weights|", fontsize=8.5, color=INK)
    if scores:
        ax.annotate(
            BETTER, (0, 1), (5, -3), xycoords="axes fraction", textcoords="offset points",
            va="top", fontsize=8, fontstyle="italic", color=GREY, gid=CORNER,
        )  # fmt: skip


class _Layout:
    """Where dots and labels come to lie; sets the limits and ticks of the axes to it.

    Args:
        scores: the layers that are drawn, at least one.
        named: those of them that get a label, from the bottom up.

    Attributes:
        place: the dot of each layer, in data.
        across, up: the axes.
        names: the labels' texts, of font size `size`, in the order of `named`.
        levels: their heights, as fractions of the axes.
        column: their right edge, as a fraction of the axes; `elbow` is where leaders bend.
    """

    def __init__(self, ax: Axes, scores: Sequence[LayerScore], named: Sequence[LayerScore]) -> None:
        x, x_zero = _positive([s.alignment for s in scores])
        y, y_zero = _positive([s.importance for s in scores])
        self.place = {s.layer: dot for s, dot in zip(scores, zip(x, y, strict=True), strict=True)}
        points = 72 / ax.figure.dpi  # per pixel
        width, height = ax.bbox.width * points, ax.bbox.height * points
        self.names = short_layers([s.layer for s in named])
        # Of the font size; bold letters are wider.
        widest = 1.12 * max((text_width(name, 1.0) for name in self.names), default=0.0)
        self.size = min(
            _SIZE,
            0.45 * width / max(widest, 1e-9),
            0.97 * (height - _STRIP) / (_LEADING * max(len(self.names), 1)),
        )
        self.column = (widest * self.size + 10) / width if named else 0.0
        self.elbow = self.column + 0.05
        self.across = _Log(x, low=self.elbow + 0.03 if named else 0.04, high=0.96)
        roof = 1 - _STRIP / height
        self.up = _Log(y, low=0.06, high=roof - 0.03)
        heights = [self.up.fraction(self.place[s.layer][1]) for s in named]
        gap = _LEADING * self.size / height
        self.levels = spread(heights, gap, 0.03, roof - gap / 2)
        ax.set_xlim(self.across.at(0), self.across.at(1))
        ax.set_ylim(self.up.at(0), self.up.at(1))
        _ticks(ax, "x", x, x_zero)
        _ticks(ax, "y", y, y_zero)


def _points(ax: Axes, layout: _Layout, scores: Sequence[LayerScore]) -> None:
    """A cross for each layer, or a dot on the line of the front."""
    rest = [layout.place[s.layer] for s in scores if not s.on_front]
    if rest:
        rest_x, rest_y = zip(*rest, strict=True)
        ax.scatter(rest_x, rest_y, marker="x", s=16, linewidths=0.8, color="#555F6B")
    front = sorted(layout.place[s.layer] for s in scores if s.on_front)
    if front:
        front_x, front_y = zip(*front, strict=True)
        ax.plot(front_x, front_y, drawstyle="steps-post", color=BLUE, linewidth=1.6, zorder=2)
        ax.scatter(front_x, front_y, s=34, color=BLUE, edgecolors="white", linewidths=0.6, zorder=3)


def _labels(ax: Axes, layout: _Layout, named: Sequence[LayerScore], chosen: str | None) -> None:
    """Names in their column, each with a leader to its dot; a ring around the chosen one."""
    across, up = layout.across, layout.up
    for score, name, level in zip(named, layout.names, layout.levels, strict=True):
        dot_x, dot_y = layout.place[score.layer]
        ax.plot(
            [across.at(layout.column + 0.008), across.at(layout.elbow), dot_x],
            [up.at(level), dot_y, dot_y],
            color=GREY, linewidth=0.6, alpha=0.75, solid_joinstyle="round", zorder=1.5,
        )  # fmt: skip
        if score.layer == chosen:
            ax.scatter([dot_x], [dot_y], s=110, facecolors="none", edgecolors=INK, zorder=3)
        ax.text(
            across.at(layout.column), up.at(level), name, ha="right", va="center",
            fontsize=layout.size, color=INK, gid=LABEL, parse_math=False,
            fontweight="bold" if score.layer == chosen else "normal",
        )  # fmt: skip


class _Log:
    """Positive values on a log axis such that they fill a part of it.

    Args:
        low, high: where, as fractions of the axis, the smallest and the largest value come to lie.
    """

    def __init__(self, values: Sequence[float], *, low: float, high: float) -> None:
        first, last = math.log10(min(values)), math.log10(max(values))
        if last - first < 0.1:  # one value, or nearly: a decade around it
            middle = (first + last) / 2
            first, last = middle - 0.5, middle + 0.5
        self.unit = (last - first) / (high - low)
        self.origin = first - low * self.unit

    def at(self, fraction: float) -> float:
        return float(10 ** (self.origin + fraction * self.unit))

    def fraction(self, value: float) -> float:
        return (math.log10(value) - self.origin) / self.unit


def _finite(score: LayerScore) -> bool:
    return math.isfinite(score.importance) and math.isfinite(score.alignment)


def _positive(values: Sequence[float]) -> tuple[list[float], float | None]:
    """Values fit for a log axis, and where zero was put (None if there is none)."""
    least = min((v for v in values if v > 0), default=1e-3)
    if all(v > 0 for v in values):
        return list(values), None
    return [v if v > 0 else least / 4 for v in values], least / 4


def _ticks(ax: Axes, which: str, values: Sequence[float], zero: float | None) -> None:
    """Ticks where there are data (not under the labels); what is drawn at `zero` reads 0."""
    positive = [v for v in values if v != zero]
    ticks = log_ticks(min(positive) * 0.999, max(positive) * 1.001) if positive else []
    labels = [number(tick) for tick in ticks]
    if zero is not None:
        ticks, labels = [zero, *ticks], ["0", *labels]
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter(labels))
    axis.set_minor_locator(NullLocator())
