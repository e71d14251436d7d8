"""Names beside marks: marks that lie on top of each other share one list of names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import BboxBase

from slsgu.report.plots.style import GREY, text_width

SIZE = 7.5  # of the letters, in points
TOGETHER = 8.0  # marks whose middles lie as near as this, in points, share a list
_LINE = SIZE * 1.25
_MARK = 4.0  # half a mark
_STEPS = 36  # places around a mark at which its list is tried
_APART = 4.0  # between two names side by side
_NEAR = 10.0  # a list further from its mark than this gets a line to it
_FAR = (7.0, 15.0, 26.0, 40.0, 58.0, 80.0, 105.0, 135.0)

Box = tuple[float, float, float, float]  # left, low, right, high, in points
Place = tuple[float, float]


def name_marks(marks: Mapping[str, Place], colours: Mapping[str, str], ax: Axes) -> None:
    """Name every mark, where the name covers the fewest marks and names.

    Args:
        marks: the place of each, in the figure's own numbers, by its name.
        colours: of each name.
    """
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    unit = ax.figure.dpi / 72
    dots: dict[str, Place] = {}
    for name, place in marks.items():
        x, y = ax.transData.transform(place) / unit
        dots[name] = (float(x), float(y))
    taken = [_box(text.get_window_extent(), unit) for text in ax.texts]
    if legend := ax.get_legend():
        taken.append(_box(legend.get_window_extent(), unit))
    frame = _box(ax.bbox, unit)
    marked = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in dots.values()]
    # The longest lists first: they find a place the least easily.
    for names in sorted(_together(dots), key=lambda names: (-len(names), -dots[names[0]][1])):
        dot = dots[names[0]]
        size = (max(text_width(name, SIZE) for name in names) + 2, len(names) * _LINE)
        others = [place for name, place in dots.items() if name not in names]
        best: tuple[float, Box, float] | None = None
        for box, far in _places(dot, size):
            if best is not None and far / 4 >= best[0]:
                break  # nothing from here on can cost less
            cost = _cost(dot, box, far, others, marked, taken, frame)
            if best is None or cost < best[0]:
                best = cost, box, far
        assert best is not None
        _, box, far = best
        taken.append(box)
        if far > _NEAR:
            taken += [(x - 1, y - 1, x + 1, y + 1) for x, y in _line(dot, box)]
        _write(names, colours, ax, (marks[names[0]], dot), box, line=far > _NEAR)


def _box(extent: BboxBase, unit: float) -> Box:
    """An area of pixels, in points."""
    left, low, right, high = (float(x) / unit for x in extent.extents)
    return left, low, right, high


def _together(dots: Mapping[str, Place]) -> list[list[str]]:
    """Names of marks that lie on top of each other, highest first."""
    lists: list[list[str]] = []
    for name, (x, y) in sorted(dots.items(), key=lambda item: (-item[1][1], item[1][0])):
        for names in lists:
            left, high = dots[names[0]]
            if math.dist((x, y), (left, high)) <= TOGETHER:
                names.append(name)
                break
        else:
            lists.append([name])
    return lists


def _places(dot: Place, size: tuple[float, float]) -> Iterator[tuple[Box, float]]:
    """Boxes around a mark, and how far each is from it."""
    wide, high = size[0] / 2, size[1] / 2
    for far in _FAR:
        for turn in range(_STEPS):
            angle = 2 * np.pi * turn / _STEPS
            x = dot[0] + (far + wide) * np.cos(angle)
            y = dot[1] + (far + high) * np.sin(angle)
            yield (x - wide, y - high, x + wide, y + high), far


def _cost(
    dot: Place,
    box: Box,
    far: float,
    others: Sequence[Place],
    marked: Sequence[Box],
    taken: Sequence[Box],
    frame: Box,
) -> float:
    """What speaks against a place: what it covers, which other marks it stands beside, what its
    line crosses, and how far it is."""
    inside = frame[0] <= box[0] and box[2] <= frame[2] and frame[1] <= box[1] and box[3] <= frame[3]
    covered = sum(_overlap(box, mark) for mark in marked)
    covered += sum(10 * _overlap(box, name, apart=_APART) for name in taken)
    crossed = 0
    if far > _NEAR:
        for x, y in _line(dot, box):
            crossed += sum(
                a <= x <= c and b <= y <= d
                for a, b, c, d in (*marked, *taken)
                if not (a <= dot[0] <= c and b <= dot[1] <= d)
            )
    beside = sum(max(0.0, 1.2 * _NEAR - math.dist(other, _nearest(other, box))) for other in others)
    return covered + 2 * beside + 60 * crossed + far / 4 + (0 if inside else 1e4)


def _overlap(one: Box, other: Box, *, apart: float = 0.0) -> float:
    """The area that two boxes share, or would if one were wider by `apart`."""
    wide = min(one[2], other[2]) - max(one[0], other[0]) + apart
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _line(dot: Place, box: Box) -> list[Place]:
    """Points on the line from a mark to its names."""
    x, y = _nearest(dot, box)
    return [
        (dot[0] + share * (x - dot[0]), dot[1] + share * (y - dot[1]))
        for share in np.linspace(0.0, 1.0, 12)
    ]


def _nearest(dot: Place, box: Box) -> Place:
    """The point of a box that is nearest to a mark."""
    return min(max(dot[0], box[0]), box[2]), min(max(dot[1], box[1]), box[3])


def _write(
    names: Sequence[str],
    colours: Mapping[str, str],
    ax: Axes,
    mark: tuple[Place, Place],
    box: Box,
    *,
    line: bool,
) -> None:
    place, (x, y) = mark
    if line:
        end = _nearest((x, y), box)
        ax.annotate(
            "", place, (end[0] - x, end[1] - y), textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 1,
                        "shrinkB": 3},
            zorder=2,
        )  # fmt: skip
    # Letters stand on the side where the mark is.
    if box[0] > x:
        side, across = "left", box[0] + 1
    elif box[2] < x:
        side, across = "right", box[2] - 1
    else:
        side, across = "center", (box[0] + box[2]) / 2
    for row, name in enumerate(names):
        ax.annotate(
            name, place, (across - x, box[3] - (row + 0.5) * _LINE - y),
            textcoords="offset points", ha=side, va="center", fontsize=SIZE,
            color=colours[name], zorder=4, parse_math=False,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
