"""The figures of a comparison: every method is named once, beside its mark; nothing collides."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from slsgu.report.plots.compare import CONTOURS, FIGURES, q_u_seconds, quality_utility, save_figures
from slsgu.report.plots.names import SIZE


def row(
    method: str, kind: str = "baseline", failed: str = "", **means: float | None
) -> dict[str, Any]:
    return {"method": method, "kind": kind, "failed": failed, "means": means}


ROWS = [
    row(f"method-{i}", quality=0.9 + i / 200, utility=0.95 - i / 150, q_u=0.9 + i / 200,
        all_seconds=1.0 + i, distance=i / 40)
    for i in range(16)
]  # fmt: skip
ROWS.append(row("ours", "ours", quality=1, utility=1, q_u=1, all_seconds=0, distance=0))


def names(ax: Axes) -> dict[str, Annotation]:
    found = [x for x in ax.texts if isinstance(x, Annotation)]
    return {x.get_text(): x for x in found if x.get_text() and not x.get_text().startswith("Q-U")}


def axes() -> Axes:
    return Figure(figsize=(7.4, 5.2), layout="constrained").add_subplot()


@pytest.mark.parametrize("draw", [draw for draw, _ in FIGURES.values()])
def test_every_method_is_named_and_no_name_covers_another(draw: Any) -> None:
    ax = axes()
    draw(ROWS, ax)
    found = names(ax)
    assert found.keys() == {row["method"] for row in ROWS}
    boxes = [x.get_window_extent() for x in found.values()]
    covered = [a.overlaps(b) for a, b in itertools.combinations(boxes, 2)]
    assert not any(covered)
    one, two = list(found.values())[:2]  # control: in one place they do
    two.xy, two.xyann = one.xy, one.xyann
    assert two.get_window_extent().overlaps(one.get_window_extent())


def test_marks_on_top_of_each_other_share_one_list() -> None:
    """Each name for itself would stand beside a mark that is another's."""
    twins = [row(name, q_u=1.0, all_seconds=9.0) for name in ("one", "two", "three")]
    ax = axes()
    q_u_seconds([*twins, row("far", q_u=0.6, all_seconds=90.0)], ax)
    boxes = {name: text.get_window_extent() for name, text in names(ax).items()}
    listed = [boxes[name] for name in ("one", "two", "three")]
    step = 1.25 * SIZE * ax.figure.dpi / 72
    for higher, lower in itertools.pairwise(listed):
        assert higher.y0 - lower.y0 == pytest.approx(step, abs=3)
        sides = [(box.x0, box.x1, box.x0 + box.x1) for box in (higher, lower)]
        assert min(abs(a - b) for a, b in zip(*sides, strict=True)) < 1
    alone = ax.transData.transform((90.0, 0.6))
    assert abs(boxes["far"].x0 - alone[0]) < 20 * ax.figure.dpi / 72


def test_every_name_stands_nearest_to_its_own_mark() -> None:
    """Those that lie apart; where that is not possible a line leads to the mark."""
    ax = axes()
    q_u_seconds(ROWS, ax)
    dots = {x["method"]: (max(x["means"]["all_seconds"], 1e-3), x["means"]["q_u"]) for x in ROWS}
    places = {name: ax.transData.transform(dot) for name, dot in dots.items()}
    led = [tuple(x.xy) for x in ax.texts if isinstance(x, Annotation) and not x.get_text()]
    for name, text in names(ax).items():
        box = text.get_window_extent()

        def away(other: str, box: Any = box) -> float:
            x, y = places[other]
            return float(np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1)))

        assert min(places, key=away) == name or dots[name] in led


def test_lines_of_equal_q_u_are_named_at_their_lower_end() -> None:
    ax = axes()
    quality_utility(ROWS, ax)
    ends = {x.get_text(): x.xy for x in ax.texts if x.get_text().startswith("Q-U")}
    bottom = ax.get_ylim()[0]
    assert len(ends) > 1 and all(x == 1 or y == bottom for x, y in ends.values())
    for level in [x for x in CONTOURS if f"Q-U {x:g}" in ends]:
        quality, utility = ends[f"Q-U {level:g}"]
        assert 2 * quality * utility / (quality + utility) == pytest.approx(level)


def test_what_is_not_measured_has_no_mark() -> None:
    ax = axes()
    q_u_seconds([*ROWS, row("blind", q_u=None, all_seconds=3.0)], ax)
    assert "blind" not in names(ax) and "ours" in names(ax)


def test_without_a_mark_there_is_no_legend() -> None:
    """matplotlib would warn of one that is empty."""
    ax = axes()
    q_u_seconds([], ax)
    assert ax.get_legend() is None
    assert q_u_seconds(ROWS, axes()).get_legend() is not None  # control


def test_the_files_are_pictures(tmp_path: Path) -> None:
    value = {"rows": [*ROWS, row("lost", failed="no")], "request": {"concepts": ["pug"]}}
    paths = save_figures(value, tmp_path)
    assert [path.name for path in paths] == list(FIGURES)
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 500
