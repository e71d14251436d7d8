"""The contact sheet: every leaf of the menagerie, grouped by the tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.menagerie.draw import draw
from slsgu.menagerie.paths import TAXONOMY_FILE
from slsgu.utils.files import replacing

DPI = 100
PAPER, TEXT, QUIET = "#fbf9f4", "#2b2724", "#8a8177"


@dataclass(frozen=True)
class Layout:
    """Measures of the sheet, in pixels."""

    picture: int = 96
    gap: int = 6
    columns: int = 10
    rows: int = 2  # pictures of each leaf
    label: int = 34  # room for two lines of a leaf's name
    heading: int = 26
    title: int = 44
    margin: int = 28
    apart: int = 14  # extra room between groups

    @property
    def cell(self) -> int:
        return self.picture + self.gap

    @property
    def line(self) -> int:
        return self.heading + self.rows * self.cell + self.label


def lines_of(top: Concept, columns: int) -> list[list[tuple[str, list[Concept]]]]:
    """Groups of leaves below a top concept, filled into lines of at most ``columns`` leaves."""
    groups: dict[tuple[str, ...], list[Concept]] = {}
    for leaf in top.leaves():
        groups.setdefault(leaf.path[1:-1], []).append(leaf)
    lines: list[list[tuple[str, list[Concept]]]] = [[]]
    used = 0
    for path, leaves in groups.items():
        if used + len(leaves) > columns and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append((" · ".join(path), leaves))
        used += len(leaves)
    return lines


def wrap(name: str, width: int = 14) -> list[str]:
    """A leaf's name on at most two lines."""
    if len(name) <= width or " " not in name:
        return [name]
    cut = min((i for i, ch in enumerate(name) if ch == " "), key=lambda i: abs(2 * i - len(name)))
    return [name[:cut], name[cut + 1 :]]


def sheet_figure(*, seed: int = 0, layout: Layout | None = None) -> Figure:
    """The contact sheet as a figure of exactly the pixels it needs.

    Args:
        seed: stream of drawings.
        layout: measures.
    """
    m = layout or Layout()
    taxonomy = Taxonomy.load(TAXONOMY_FILE)
    blocks = [(top, lines_of(top, m.columns)) for top in taxonomy.tops]
    spans = [
        sum(len(leaves) * m.cell for _, leaves in line) + (len(line) - 1) * m.apart
        for _, lines in blocks
        for line in lines
    ]
    width = 2 * m.margin + max(spans) - m.gap
    height = 2 * m.margin + sum(m.title + len(lines) * m.line for _, lines in blocks)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    y = m.margin  # from the top
    for top, lines in blocks:
        place = (m.margin / width, 1 - (y + 12) / height)
        figure.text(*place, top.name, color=TEXT, size=17, weight="bold", va="center")
        y += m.title
        for line in lines:
            x = m.margin
            for heading, leaves in line:
                x = _group(figure, m, x, y, heading, leaves, seed, (width, height)) + m.apart
            y += m.line
    return figure


def contact_sheet(out: Path, *, seed: int = 0, layout: Layout | None = None) -> Path:
    """Draws the whole taxonomy as one PNG.

    Args:
        out: file to write.
        seed: stream of drawings.
        layout: measures.

    Returns:
        ``out``.
    """
    figure = sheet_figure(seed=seed, layout=layout)
    with replacing(out) as partial, partial.open("wb") as stream:
        figure.savefig(
            stream,
            format="png",
            dpi=DPI,
            facecolor=PAPER,
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )
    return out


def _group(
    figure: Figure,
    m: Layout,
    x: int,
    y: int,
    heading: str,
    leaves: Sequence[Concept],
    seed: int,
    sheet: tuple[int, int],
) -> int:
    """Places one group with its heading; returns where it ends."""
    width, height = sheet
    end = x + len(leaves) * m.cell - m.gap
    rule = 1 - (y + m.heading - 8) / height
    figure.text(x / width, rule + 3 / height, heading, color=QUIET, size=9.5, va="bottom")
    figure.add_artist(Line2D([x / width, end / width], [rule, rule], color=QUIET, linewidth=0.8))
    for column, leaf in enumerate(leaves):
        left = x + column * m.cell
        for row in range(m.rows):
            top = y + m.heading + row * m.cell
            picture = draw(leaf.name, row, seed=seed, size=m.picture)
            figure.figimage(np.asarray(picture), left, height - top - m.picture, origin="upper")
        middle = (left + m.picture / 2) / width
        below = y + m.heading + m.rows * m.cell
        # One text per line: matplotlib aligns several lines by their last one.
        for number, line in enumerate(wrap(leaf.name)):
            at = 1 - (below + 10 + 12 * number) / height
            figure.text(middle, at, line, color=TEXT, size=8.5, ha="center", va="baseline")
    return end + m.gap
