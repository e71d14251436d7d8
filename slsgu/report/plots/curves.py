"""The curves of all layers that were searched, in one picture: small multiples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from slsgu.report.plots.drawn import FORGET, Drawn
from slsgu.report.plots.results import SERIES, Series, percent_axis
from slsgu.report.plots.style import (
    GREY,
    INK,
    MET,
    VERMILLION,
    bare,
    fit,
    log_ticks,
    short_layers,
)

if TYPE_CHECKING:
    from slsgu.search.choice import Trial
    from slsgu.search.goal import Goal
    from slsgu.search.layer import Candidate

BEST_STEP, CHOSEN = "best step", ", chosen"
EVALUATED, NO_CURVE, BEYOND = "evaluated", "no curve between them", "goes on beyond"
_DASHES = (0, (2, 1.5))
_PANEL, _TITLE, _ACROSS, _BELOW = 1.22, 0.46, 0.5, 0.22  # inches
# Of the norm of a layer: shorter changes show nothing, and longer ones leave nothing to show.
_SHORTEST, _LONGEST = 0.03, 8.0


def curves(
    candidates: Sequence[Candidate],
    best: Sequence[Trial],
    goal: Goal,
    *,
    width: float,
    columns: int,
    chosen: str | None = None,
) -> Figure:
    """One panel for each layer: accuracy on what is to be forgotten, and how much of the other
    accuracies is kept, against the length of the change as a share of the layer's norm. All panels
    have the same axes.

    Lines are curves, dots the steps that were evaluated. Where a curve is not known, dashes join
    what is. An arrow at the right edge marks a line that goes on beyond it, and a number there a
    best step.

    Args:
        candidates: layers that were searched, with at least one trial each.
        best: the best trial of each.
        width: of the figure, in inches.
        columns: panels in a row.
        chosen: the layer that was chosen.
    """
    rows = -(-len(candidates) // columns)
    height = rows * (_PANEL + _TITLE + _BELOW) + (0.85 if columns > 2 else 1.0)
    figure = Figure(figsize=(width, height))
    drawn = [Drawn.of(candidate, goal) for candidate in candidates]
    low = max(_SHORTEST, min(min(each.relative) for each in drawn))
    high = max(1.5 * low, min(_LONGEST, max(max(each.relative) for each in drawn)))
    names = short_layers([candidate.score.layer for candidate in candidates])
    across = width / columns
    for place, (candidate, each) in enumerate(zip(candidates, drawn, strict=True)):
        row, column = divmod(place, columns)
        top = height - row * (_PANEL + _TITLE + _BELOW) - _TITLE
        box = (column * across + _ACROSS, top - _PANEL, across - _ACROSS - 0.1, _PANEL)
        left, bottom, wide, high_ = box
        ax = figure.add_axes((left / width, bottom / height, wide / width, high_ / height))
        _panel(ax, candidate, each, best[place], goal, (low, 1.15 * high))
        _title(ax, names[place], candidate, best[place], chosen=candidate.score.layer == chosen)
    for ax in figure.axes[-columns:]:
        ax.set_xlabel("length of the change", fontsize=7.5, color=INK, labelpad=2)
    handles, labels = _legend(figure.axes)
    figure.legend(
        handles, labels, loc="lower left", ncols=min(len(labels), max(2, columns)), frameon=False,
        fontsize=8, borderaxespad=0.1, labelcolor=INK, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    return figure


def _panel(
    ax: Axes,
    candidate: Candidate,
    drawn: Drawn,
    best: Trial,
    goal: Goal,
    limits: tuple[float, float],
) -> None:
    """Lines, dots where a step was evaluated, a band where the goal is met, the best step."""
    bare(ax, grid="y")
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    ax.set_ylim(-0.05, 1.09)
    for first, last in drawn.met:
        ends = drawn.relative[first] / 1.03, drawn.relative[last] * 1.03
        ax.axvspan(*ends, color=MET, linewidth=0, zorder=0)
    for series in sorted(SERIES, key=lambda each: -each.width):
        values = _values(drawn, series)
        if values is None:
            continue
        ax.plot(
            drawn.relative, values, color=series.colour, linewidth=0.6 * series.width,
            linestyle="-" if candidate.curve is not None else _DASHES, label=series.label,
        )  # fmt: skip
        _mark_end(ax, drawn.relative, values, series)
    tried = Drawn.of_trials(candidate.trials, goal)
    if FORGET in tried.after and not candidate.exact:  # there, as it is the line that falls
        ax.plot(
            tried.relative, tried.after[FORGET], color=VERMILLION, marker="o", markersize=3.6,
            markeredgecolor="white", markeredgewidth=0.4, linestyle="none", zorder=3,
            label=EVALUATED,
        )  # fmt: skip
    if best.relative_step <= limits[1]:
        ax.axvline(best.relative_step, color=INK, linewidth=0.9, zorder=1.5, label=BEST_STEP)
    else:
        ax.annotate(
            f"{BEST_STEP} {best.relative_step:,.0%} \N{RIGHTWARDS ARROW}", (1, 0.5), (-3, 0),
            xycoords="axes fraction", textcoords="offset points", ha="right", va="center",
            fontsize=7, color=INK, parse_math=False,
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "linewidth": 0},
        )  # fmt: skip
    percent_axis(ax, "y")
    ticks = log_ticks(*limits, most=4)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{100 * tick:,.3g} %" for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=7)


def _mark_end(ax: Axes, relative: Sequence[float], values: Sequence[float], series: Series) -> None:
    """An arrow where a line leaves the panel at the right."""
    edge = ax.get_xlim()[1]
    leaves = [at for at in range(len(relative) - 1) if relative[at] <= edge < relative[at + 1]]
    if not leaves:
        return
    ends = slice(leaves[-1], leaves[-1] + 2)
    lengths = np.log(np.maximum(relative[ends], 1e-9))  # as the axis has them
    height = np.interp(np.log(edge), lengths, values[ends])
    ax.plot(
        [edge], [height], color=series.colour, marker=">", markersize=4.5, linestyle="none",
        clip_on=False, zorder=4, label=BEYOND,
    )  # fmt: skip


def _title(ax: Axes, name: str, candidate: Candidate, best: Trial, *, chosen: bool) -> None:
    """The layer and its tower; under them its best Q-U, and how far the curve is to be trusted."""
    width = ax.bbox.width * 72 / ax.figure.dpi + 20
    q_u = best.measures.q_u
    told = [] if q_u is None else [f"Q-U {q_u:.1%}"]
    if candidate.curve is None:
        told.append("no curve")
    elif not candidate.exact:
        told.append(f"error \N{LESS-THAN OR EQUAL TO} {candidate.curve.error:.1%}")
    else:
        told.append("exact")
    if part := candidate.part or candidate.curve_part:
        told.append(f"{part} images")
    tower = candidate.score.tower
    ax.annotate(
        fit(f"{name} ({tower})", 9 if chosen else 8.2, width), (0, 1), (-20, 14),
        xycoords="axes fraction", textcoords="offset points", fontsize=8, color=INK,
        fontweight="bold" if chosen else "normal", parse_math=False,
    )  # fmt: skip
    ax.annotate(
        fit(", ".join(told) + (CHOSEN if chosen else ""), 7.5, width), (0, 1), (-20, 5),
        xycoords="axes fraction", textcoords="offset points", fontsize=7.2, color=GREY,
        parse_math=False,
    )  # fmt: skip


def _legend(panels: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    """Every label that occurs in a panel, once: first the lines, in any panel's solid form, then
    what marks and dashes are."""
    found: dict[str, Artist] = {}
    dashed = False
    for ax in panels:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            dashed = dashed or (isinstance(handle, Line2D) and handle.is_dashed())
            found.setdefault(str(label), handle)
    colours = {series.label: series for series in SERIES}
    for label, series in colours.items():
        if label in found:
            found[label] = Line2D([], [], color=series.colour, linewidth=0.6 * series.width)
    if BEYOND in found:
        found[BEYOND] = Line2D([], [], color=GREY, marker=">", markersize=4.5, linestyle="none")
    if dashed:
        found[NO_CURVE] = Line2D([], [], color=GREY, linewidth=1.2, linestyle=_DASHES)
    last = [label for label in (BEST_STEP, EVALUATED, NO_CURVE, BEYOND) if label in found]
    order = [label for label in found if label not in last] + last
    return [found[label] for label in order], order


def _values(drawn: Drawn, series: Series) -> list[float] | None:
    """Accuracy left of what is to be forgotten; share kept of the rest."""
    after, before = drawn.after.get(series.key), drawn.before.get(series.key)
    if after is None or before is None:
        return None
    return [value if series.key == FORGET else value / max(before, 1e-9) for value in after]
