"""The tables and the figure of together.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from photographs_rows import interval, percent, table

Row = dict[str, Any]
WAYS = {"at once": "one edit of all", "added": "a patch each, added",
        "own layers": "a patch each, on layers of their own",
        "in order": "one after the other"}  # fmt: skip
WORLDS = {"drawings": "drawings, embedded model", "dogs": "photographs of dogs, `imagenet-lite0`"}


def rows_of(rows: Row, world: str, way: str) -> dict[int, Row]:
    """The rows of one way in one world, by the number of concepts."""
    start = f"{world}/{way}/"
    return {int(key[len(start) :]): row for key, row in rows.items() if key.startswith(start)}


def scores(rows: Row, world: str) -> str:
    """Q-U of all concepts together, a column for each way."""
    found = {way: rows_of(rows, world, way) for way in WAYS}
    ways = [way for way in WAYS if found[way]]
    lines = [
        [str(number), *(_score(found[way].get(number)) for way in ways)]
        for number in sorted({number for way in ways for number in found[way]})
    ]
    return table(["concepts", *(WAYS[way] for way in ways)], lines)


def _score(row: Row | None) -> str:
    return "–" if row is None else f"{percent(row['q_u'])}{interval(row['interval'])}"


def largest(rows: Row, world: str) -> str:
    """What the largest number of concepts comes to, a line for each way."""
    lines = []
    for way, title in WAYS.items():
        found = rows_of(rows, world, way)
        if not found:
            continue
        row = found[max(found)]
        worst = max(row["left"], key=lambda name: row["left"][name])
        left = row["left"].values()
        lines.append([
            f"{max(found)}, {title}",
            percent(sum(left) / len(left)),
            f"{percent(row['left'][worst])} ({worst.split('/')[-1]})",
            percent(row["utility"]),
            *(percent(share) for share in row["found"] or (None, None)),
            str(len(row["layers"])),
        ])  # fmt: skip
    heads = [
        "concepts", "named right after: mean", "most", "utility",
        "found by five images: before", "after", "layers changed",
    ]  # fmt: skip
    return table(heads, lines)


def tables(rows: Row) -> dict[str, str]:
    """Every table, by name."""
    made: dict[str, Callable[[Row, str], str]] = {"scores": scores, "largest": largest}
    return {f"{world}-{name}": make(rows, world) for world in WORLDS for name, make in made.items()}


def draw(rows: Row, path: Path) -> None:
    """Q-U against the number of concepts, a panel for each world."""
    from matplotlib.figure import Figure

    from slsgu.report.plots.style import CYCLE, bare, drawing

    with drawing():
        whole = Figure(figsize=(7.6, 3.1))
        for index, (world, title) in enumerate(WORLDS.items()):
            ax = whole.add_axes((0.08 + 0.49 * index, 0.17, 0.4, 0.72))
            bare(ax, grid="y")
            for colour, way in zip(CYCLE, WAYS, strict=False):
                found = sorted(rows_of(rows, world, way).items())
                if found:
                    ax.plot(
                        [number for number, _ in found], [100 * row["q_u"] for _, row in found],
                        marker="o", markersize=4, color=colour, label=WAYS[way],
                    )  # fmt: skip
            ax.set_ylim(80, 101)  # one scale, so that the panels can be compared
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.set_xlabel("concepts")
            ax.set_title(f"Q-U [%], {title.replace('`', '')}", loc="left", fontsize=9)
        handles, labels = whole.axes[0].get_legend_handles_labels()
        whole.axes[-1].legend(handles, labels, frameon=False, fontsize=8, loc="lower right")
        whole.savefig(path, dpi=150)
