"""The figures of an audit: where knowledge lives, and how fast it comes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from slsgu.report.pictures import svg
from slsgu.report.plots.style import BLUE, FAINT, GREY, INK, VERMILLION, bare, drawing, short_layers

if TYPE_CHECKING:
    from slsgu.audit.probe import ProbeReading

NEVER = "#009E73"
STYLES: Mapping[str, tuple[str, str, str]] = {
    "before": (BLUE, "o", "before"),
    "after": (VERMILLION, "s", "after"),
    "never_knew": (NEVER, "D", "never knew"),
}


def stage_curve(readings: Iterable[ProbeReading]) -> dict[str, str] | None:
    """The linear probe by stage, as a picture; None where fewer than two stages were read."""
    rows = [x for x in readings if x.probe == "linear probe" and x.before is not None]
    if len(rows) < 2:
        return None
    with drawing():
        figure = Figure(figsize=(10.2, 3.6))
        ax = figure.add_axes((0.065, 0.25, 0.92, 0.65))
        _axes(ax)
        for key, (colour, marker, label) in STYLES.items():
            points = [(i, getattr(x, key)) for i, x in enumerate(rows)]
            points = [(i, value) for i, value in points if value is not None]
            if points:
                x, y = zip(*points, strict=True)
                size = 8 if key == "before" else 5
                ax.plot(x, y, color=colour, marker=marker, label=label, markersize=size,
                        markerfacecolor="white" if key == "before" else colour)  # fmt: skip
        chance = rows[0].chance or 0.0
        ax.axhline(chance, color=GREY, linewidth=0.8, linestyle=":", label="chance")
        names = short_layers([row.setting for row in rows], 18)
        ax.set_xticks(range(len(rows)), names, rotation=18, ha="right", parse_math=False)
        ax.legend(loc="lower right", frameon=False, ncols=4, labelcolor=INK)
        told = ", ".join(f"{x.setting} {x.before:.2f} to {x.after:.2f}" for x in rows)
        return {"src": svg(figure), "alt": f"Accuracy of a linear probe by stage: {told}"}


def relearning_curves(readings: Iterable[ProbeReading]) -> list[dict[str, str]]:
    """Forget accuracy against steps, one picture for each schedule."""
    rows = [x for x in readings if x.probe == "relearning" and "curves" in x.extra]
    return [_relearning(row) for row in rows]


def _relearning(row: ProbeReading) -> dict[str, str]:
    extra: Mapping[str, Any] = row.extra
    with drawing():
        figure = Figure(figsize=(3.6, 2.6))
        ax = figure.add_axes((0.165, 0.185, 0.8, 0.68))
        _axes(ax)
        for key, label in (("after", "edited"), ("control", "never knew")):
            if key in extra["curves"]:
                colour, marker, _ = STYLES["after" if key == "after" else "never_knew"]
                ax.plot(extra["steps"], extra["curves"][key], color=colour, marker=marker,
                        markersize=4, label=label)  # fmt: skip
        ax.axhline(row.before or 0.0, color=BLUE, linewidth=1, linestyle="--", label="before")
        ax.set_xlabel("steps", color=INK, fontsize=8)
        ax.set_title(row.setting, fontsize=9, color=INK, loc="left", parse_math=False)
        ax.legend(loc="center right", frameon=False, fontsize=7, labelcolor=INK)
        told = ", ".join(f"{v:.2f}" for v in extra["curves"]["after"])
        return {"src": svg(figure), "alt": f"Accuracy while training on {row.setting}: {told}"}


def _axes(ax: Axes) -> None:
    bare(ax)
    ax.set_ylim(-0.03, 1.05)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    ax.tick_params(labelsize=8, colors=INK)
