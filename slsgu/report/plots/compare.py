"""Methods side by side: what is forgotten against what is kept, what it costs, and what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from slsgu.report.plots.names import name_marks
from slsgu.report.plots.style import (
    BLUE,
    FAINT,
    GREY,
    INK,
    ORANGE,
    VERMILLION,
    bare,
    drawing,
    heading,
    log_ticks,
    number,
)
from slsgu.utils.files import replacing

KINDS = {  # colour, marker and what it is called
    "ours": (VERMILLION, "o", "ours"),
    "baseline": (BLUE, "s", "others"),
    "control": (GREY, "^", "controls"),
    "yours": (ORANGE, "D", "your own"),
}
CONTOURS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SHOWN = 0.5  # least Q-U of what is drawn: a method below it would crowd all others

Rows = Sequence[Mapping[str, Any]]


def quality_utility(rows: Rows, ax: Axes) -> Axes:
    """Quality against utility, with lines of equal Q-U."""
    points = _points(rows, "quality", "utility").values()
    left = max(-0.03, min((x for x, _ in points), default=0.0) - 0.08)
    low = max(-0.03, min((y for _, y in points), default=0.0) - 0.08)
    grid = np.linspace(1e-3, 1, 400)
    quality, utility = np.meshgrid(grid, grid)
    q_u = 2 * quality * utility / (quality + utility)
    ax.contour(quality, utility, q_u, levels=CONTOURS, colors=FAINT, linewidths=1, zorder=0)
    ax.set_xlim(left, 1 + 0.2 * (1 - left))
    ax.set_ylim(low, 1.0)
    for level in CONTOURS:  # at its lower end: where all is forgotten, or at the bottom
        end = (1.0, level / (2 - level))
        below = end[1] < low
        if below:
            end = (level * low / (2 * low - level) if 2 * low > level else 2.0, low)
        if left < end[0] <= 1:
            ax.annotate(
                f"Q-U {level:g}", end, (3, 3) if below else (3, -7), textcoords="offset points",
                fontsize=7, color=GREY,
            )  # fmt: skip
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in ax.get_xticks() if tick < 1 + 1e-9]))
    ax.set_xlabel("quality: how far the name is gone", fontsize=8.5, color=INK)
    ax.set_ylabel("utility: how much is kept", fontsize=8.5, color=INK)
    return _scatter(rows, "quality", "utility", ax)


def q_u_seconds(rows: Rows, ax: Axes) -> Axes:
    """Q-U against seconds, tuning included, on a logarithmic axis."""
    ax.set_xscale("log")
    ax.set_xlabel("seconds, tuning included", fontsize=8.5, color=INK)
    ax.set_ylabel("Q-U", fontsize=8.5, color=INK)
    _scatter(rows, "all_seconds", "q_u", ax, above=1e-3)
    ticks = log_ticks(*ax.get_xlim())
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([number(tick) for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())
    return ax


def q_u_distance(rows: Rows, ax: Axes) -> Axes:
    """Q-U against the distance to a model that never knew; a method should sit at the top left."""
    ax.set_xlabel(
        "how far example images find it from how a model that never knew does",
        fontsize=8.5, color=INK,
    )  # fmt: skip
    ax.set_ylabel("Q-U", fontsize=8.5, color=INK)
    return _scatter(rows, "distance", "q_u", ax)


FIGURES: dict[str, tuple[Callable[[Rows, Axes], Axes], str]] = {
    "compare-quality.png": (quality_utility, "By name: what is gone, and what is kept"),
    "compare-seconds.png": (q_u_seconds, "What it costs"),
    "compare-distance.png": (q_u_distance, "What can still be found"),
}


def save_figures(value: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the three figures of a comparison.

    Args:
        value: what compare.json holds.
        folder: where they are written.
    """
    concepts = " and ".join(value["request"]["concepts"])
    done = [row for row in value["rows"] if not row["failed"]]
    rows = [row for row in done if (row["means"]["q_u"] or 0.0) >= SHOWN]
    note = f"{concepts}, test images; the mean over seeds"
    if lower := len(done) - len(rows):
        note += f". Not drawn: {lower} without a Q-U of {SHOWN:g}"
    paths = []
    for name, (draw, title) in FIGURES.items():
        with drawing():
            figure = Figure(figsize=(7.4, 5.2), layout="constrained")
            ax = bare(figure.add_subplot(), grid="y")
            heading(ax, title, note)
            draw(rows, ax)
            with replacing(folder / name) as part:
                figure.savefig(part, dpi=150, format="png", metadata={"Software": None})
        paths.append(folder / name)
    return paths


def _points(rows: Rows, x: str, y: str) -> dict[str, tuple[float, float]]:
    """The place of each method that has one."""
    return {
        row["method"]: (row["means"][x], row["means"][y])
        for row in rows
        if row["means"].get(x) is not None and row["means"].get(y) is not None
    }


def _scatter(rows: Rows, x: str, y: str, ax: Axes, *, above: float | None = None) -> Axes:
    """A mark and a name for each method.

    Args:
        above: least value of x, on an axis that has no zero.
    """
    points = _points(rows, x, y)
    kinds = {row["method"]: row["kind"] for row in rows}
    if above is not None:
        points = {name: (max(a, above), b) for name, (a, b) in points.items()}
    for behind, (kind, (colour, marker, label)) in enumerate(KINDS.items()):
        own = [place for name, place in points.items() if kinds[name] == kind]
        if own:
            ax.scatter(
                [a for a, _ in own], [b for _, b in own], s=38, c=colour, marker=marker,
                label=label, edgecolors="white", linewidths=0.7, zorder=3 - behind / 10,
                clip_on=False,
            )  # fmt: skip
    ax.margins(0.08)
    if points:
        ax.legend(loc="best", fontsize=8, frameon=False)
    name_marks(points, {name: KINDS[kinds[name]][0] for name in points}, ax)
    return ax
