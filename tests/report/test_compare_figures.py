"""The figures of a comparison: every method is named once, beside its mark; nothing collides."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from slsgu.report.plots.compare import CONTOURS, FIGURES, q_u_seconds, quality_utility, save_figures


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
    return {x.get_text(): x for x in found if not x.get_text().startswith("Q-U")}


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
