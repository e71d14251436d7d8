"""Figures: nothing overlaps or is cut off whatever the data, and what is drawn is the data."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.results import fake_result, fake_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from slsgu.report.plots import curve, pareto_figure, save_pareto, similar_classes, similarity
from slsgu.report.plots.pareto import CORNER, LABEL
from slsgu.report.plots.results import GOAL_MET, SERIES
from slsgu.report.plots.style import BLUE, MET, drawing, fit, short_layers, spread, text_width
from slsgu.search.choice import Trial
from slsgu.search.met_ranges import met_ranges
from slsgu.search.pareto import LayerScore


def boxes(texts: list[Text], figure: Figure) -> list[Bbox]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [text.get_window_extent(renderer) for text in texts]


def labels_of(ax: Axes) -> list[Text]:
    return [text for text in ax.texts if text.get_gid() == LABEL]


def corners_of(ax: Axes) -> list[Text]:
    return [text for text in ax.texts if text.get_gid() == CORNER]


def complaints(ax: Axes, labels: list[Text]) -> list[str]:
    """What is wrong with where the labels stand."""
    assert isinstance(ax.figure, Figure)
    found = []
    placed = boxes(labels, ax.figure)
    for (one, a), (two, b) in itertools.combinations(zip(labels, placed, strict=True), 2):
        if a.overlaps(b):
            found.append(f"{one.get_text()} over {two.get_text()}")
    points = np.concatenate([
        ax.transData.transform(np.asarray(dots.get_offsets())) for dots in ax.collections
    ])  # fmt: skip
    for label, box in zip(labels, placed, strict=True):
        if not (box.x0 >= ax.bbox.x0 and box.x1 <= ax.bbox.x1):
            found.append(f"{label.get_text()} leaves the panel")
        if not (box.y0 >= ax.bbox.y0 and box.y1 <= ax.figure.bbox.y1):
            found.append(f"{label.get_text()} leaves the figure")
        if any(box.padded(3).contains(x, y) for x, y in points):
            found.append(f"{label.get_text()} on a point")
    return found


def long_names(scores: list[LayerScore]) -> list[LayerScore]:
    return [
        replace(s, layer=f"visual.trunk.stages.{i}.blocks.{i}.some_module.attn.query_key_value")
        for i, s in enumerate(scores)
        if s.tower == "vision"
    ]


CASES = {
    "one": fake_scores(1, 0),
    "one and many": fake_scores(1, 60),
    "seven": fake_scores(7),
    "fifteen": fake_scores(15, 80),
    "forty": fake_scores(40),
    "zeros": fake_scores(6, zeros=True),
    "all zero": [LayerScore("visual.proj", "vision", "matrix", 0.1, 0.0, 0.0, True)],
    "long names": long_names(fake_scores(9)),
    "no front": fake_scores(0, 8),
}


@pytest.mark.parametrize("scores", CASES.values(), ids=CASES.keys())
def test_labels_never_collide(scores: list[LayerScore]) -> None:
    with drawing():
        figure = pareto_figure(scores, title="Which layers?")
        for ax in figure.axes:
            assert complaints(ax, [*labels_of(ax), *corners_of(ax)]) == []
            ticks = [t for t in ax.get_xticklabels() if t.get_text()]
            for a, b in itertools.combinations(boxes(ticks, figure), 2):
                assert not a.overlaps(b)
    towers = {score.tower for score in scores}
    assert len(figure.axes) == len(towers)
    labels = sum(len(labels_of(ax)) for ax in figure.axes)
    assert labels == sum(score.on_front for score in scores)


def test_labels_beside_their_dots_do_collide() -> None:
    """The control: the obvious placement fails the same checks."""
    figure = pareto_figure(CASES["fifteen"])
    ax = figure.axes[0]
    naive = [
        ax.text(s.alignment, s.importance, s.layer) for s in CASES["fifteen"] if s.on_front
    ]  # fmt: skip
    assert complaints(ax, naive)


@pytest.mark.parametrize("name", ["seven", "zeros", "one"])
def test_the_front_is_one_line_in_one_colour_through_all_its_members(name: str) -> None:
    ax = pareto_figure(CASES[name]).axes[0]
    front = [s for s in CASES[name] if s.tower == "vision" and s.on_front]
    (line,) = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
    assert line.get_color() == BLUE
    assert len(line.get_xdata()) == len(front)  # type: ignore[arg-type]
    assert list(line.get_ydata()) == sorted(s.importance for s in front)  # type: ignore[call-overload]
    assert list(line.get_xdata()) == sorted(line.get_xdata())  # type: ignore[call-overload]
    others = {line.get_color() for line in ax.lines} - {BLUE}
    assert len(others) == 1  # the leaders: no colour says which dot they belong to
    empty = pareto_figure(CASES["no front"]).axes[0]  # the control
    assert not any(line.get_drawstyle() == "steps-post" for line in empty.lines)


def test_the_better_corner_is_named_at_the_top_left() -> None:
    figure = pareto_figure(CASES["seven"])
    for ax in figure.axes:
        (corner,) = corners_of(ax)
        (box,) = boxes([corner], figure)
        assert "more important, less aligned" in corner.get_text()
        assert box.x0 < ax.bbox.x0 + 0.1 * ax.bbox.width
        assert box.y1 > ax.bbox.y0 + 0.9 * ax.bbox.height


def test_a_chosen_layer_is_ringed_and_its_bold_label_still_fits() -> None:
    scores = CASES["seven"]
    figure = pareto_figure(scores, chosen=scores[3].layer)
    ax = figure.axes[0]
    bold = [t.get_text() for t in labels_of(ax) if t.get_fontweight() == "bold"]
    assert bold == ["3.attn.out_proj"]
    assert complaints(ax, labels_of(ax)) == []
    plain = pareto_figure(scores).axes[0]
    assert len(ax.collections) == len(plain.collections) + 1


@pytest.mark.parametrize("name", ["fifteen", "one and many", "no front"])
def test_a_chosen_layer_off_the_front_is_ringed_and_labelled_too(name: str) -> None:
    scores = CASES[name]
    off = [s for s in scores if not s.on_front and s.tower == "vision"]
    chosen = sorted(off, key=lambda s: s.importance)[len(off) // 2]
    ax = pareto_figure(scores, chosen=chosen.layer).axes[0]
    plain = pareto_figure(scores).axes[0]
    assert "bold" not in [t.get_fontweight() for t in labels_of(plain)]  # control
    (bold,) = [t.get_text() for t in labels_of(ax) if t.get_fontweight() == "bold"]
    assert bold in chosen.layer and len(labels_of(ax)) == len(labels_of(plain)) + 1
    assert complaints(ax, labels_of(ax)) == []
    rings = [c for c in ax.collections if c.get_facecolor().size == 0]  # hollow
    (point,) = [offset for ring in rings for offset in ring.get_offsets()]
    assert tuple(point) == (chosen.alignment, chosen.importance)
    assert ax.get_title() == plain.get_title()  # it does not count as on the front


def test_zero_is_drawn_and_called_zero() -> None:
    for name, expected in (("zeros", True), ("seven", False)):
        ax = pareto_figure(CASES[name]).axes[0]
        assert ("0" in [t.get_text() for t in ax.get_xticklabels()]) == expected
    dots = sum(len(c.get_offsets()) for c in pareto_figure(CASES["zeros"]).axes[0].collections)
    assert dots == sum(score.tower == "vision" for score in CASES["zeros"])


def test_the_saved_figure_is_repeatable_and_its_numbers_lie_beside_it(tmp_path: Path) -> None:
    scores = CASES["seven"]
    title = "Which layers hold a $x and <b>\n and " + "very " * 40 + "long?"
    for name in ("one", "two"):
        save_pareto(scores, tmp_path / name / "pareto.png", title=title)
    one, two = (tmp_path / name / "pareto.png" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as image:
        assert round(image.info["dpi"][0]) == 150
        edge = np.asarray(image.convert("L"))
    assert edge[:, 0].min() == edge[:, -1].min() == edge[0].min() == edge[-1].min() == 255
    assert edge.min() < 255  # the control: there is ink elsewhere
    with (tmp_path / "one" / "pareto.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["layer"], float(r["importance"]), float(r["alignment"])) for r in rows] == [
        (s.layer, s.importance, s.alignment) for s in scores
    ]
    assert not list((tmp_path / "one").glob(".*"))


def test_the_saved_figure_marks_the_chosen_layer(tmp_path: Path) -> None:
    scores = CASES["seven"]
    for name, chosen in (("none", None), ("one", scores[3].layer), ("gone", "no.such.layer")):
        save_pareto(scores, tmp_path / f"{name}.png", title="x", chosen=chosen)
    none, one, gone = ((tmp_path / f"{n}.png").read_bytes() for n in ("none", "one", "gone"))
    assert one != none == gone


heights = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(sorted)


@given(heights, st.floats(0.001, 0.2))
@settings(max_examples=100, deadline=None)
def test_spread_keeps_order_gap_and_range(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 0, 1)
    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(placed))
    assert min(placed) >= -1e-9
    assert max(placed) <= 1 + 1e-9
    if all(b - a > gap for a, b in itertools.pairwise(wanted)) and len(wanted) * gap < 1:
        assert placed == pytest.approx(wanted, abs=max(gap, 1e-9) * len(wanted))


def test_spread_leaves_what_stands_well_apart() -> None:
    assert spread([0.1, 0.4, 0.9], 0.2, 0, 1) == [0.1, 0.4, 0.9]
    assert spread([0.1, 0.2, 0.9], 0.2, 0, 1) != [0.1, 0.2, 0.9]  # the control


def test_short_names_are_unique() -> None:
    names = [f"visual.trunk.stages.3.blocks.{i}.attn.query_key_value.weight" for i in range(30)]
    short = short_layers(names)
    assert len(set(short)) == 30
    assert max(map(len, short)) <= 30
    assert short_layers(["a.b.weight", "a.b"]) == ["a.b.weight", "a.b"]


def test_fitted_text_fits() -> None:
    name = "a $very$ long name\nof a class " * 5
    assert text_width(fit(name, 8, 80), 8) <= 80 < text_width(" ".join(name.split()), 8)


def test_the_curve_draws_the_trials() -> None:
    result = fake_result()
    candidate = result.trace.candidates[0]
    ax = Figure().add_subplot()
    assert curve(candidate, result.goal, ax, chosen=result.trace.chosen.step) is ax
    drawn = [(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in ax.lines]
    steps = tuple(trial.step for trial in candidate.trials)
    for values in (
        [trial.measures.forget_accuracy for trial in candidate.trials],
        [trial.measures.after["retain_fine"] for trial in candidate.trials],
        [trial.measures.after["forget_coarse"] for trial in candidate.trials],
    ):
        assert (steps, tuple(values)) in drawn
    assert (steps, (0.0,) * len(steps)) not in drawn  # the control
    horizontals = {line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2}  # type: ignore[index]
    assert result.goal.target in horizontals
    assert ax.get_xscale() == "log"


def bands(ax: Axes) -> list[tuple[float, float]]:
    """From where to where an area is shaded as meeting the goal."""
    shaded = [patch for patch in ax.patches if patch.get_facecolor() == to_rgba(MET)]
    return [
        (patch.get_x(), patch.get_x() + patch.get_width())
        for patch in shaded
        if isinstance(patch, Rectangle)
    ]


def test_a_band_marks_from_where_to_where_the_goal_is_met() -> None:
    result = fake_result()
    candidate, goal = result.trace.candidates[0], result.goal
    ranges = met_ranges(candidate.trials, goal)
    assert ranges, "the made-up result meets its goal"
    figure = Figure(figsize=(5, 3))
    ax = curve(candidate, goal, figure.add_subplot())
    for (low, high), (left, right) in zip(ranges, bands(ax), strict=True):
        assert left < low <= high < right
        missed = [t.step for t in candidate.trials if not goal.met(t.measures)]
        assert not any(left <= step <= right for step in missed)
    named = [text for text in ax.texts if text.get_text() == GOAL_MET]
    (box,) = boxes(named, figure)
    assert ax.bbox.x0 - 1 <= box.x0 and box.x1 <= ax.bbox.x1 + 1 and box.y0 >= ax.bbox.y1
    never = curve(candidate, replace(goal, target=-1.0), Figure().add_subplot())  # the control
    assert bands(never) == [] and GOAL_MET not in [t.get_text() for t in never.texts]


def luminance(colour: Any) -> float:
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def test_curves_that_coincide_are_seen_side_by_side_in_grey_too() -> None:
    result = fake_result()
    ax = curve(result.trace.candidates[0], result.goal, Figure().add_subplot())
    names = {series.label for series in SERIES}
    drawn = [line for line in ax.lines if line.get_label() in names]
    assert len(drawn) == len(names) == 4
    widths = [line.get_linewidth() for line in drawn]
    assert all(over < 0.75 * under for under, over in itertools.pairwise(widths))
    shades = [luminance(line.get_color()) for line in drawn]  # what lies on top is darker
    assert all(under - over > 0.08 for under, over in itertools.pairwise(shades))
    assert len({line.get_marker() for line in drawn}) == 4
    one_width = [5.0, 5.0]  # the control
    assert not all(over < 0.75 * under for under, over in itertools.pairwise(one_width))


def test_the_many_markers_of_a_finely_drawn_curve_take_turns() -> None:
    result = fake_result()
    trials = [
        replace(t, step=t.step * 32**k) for k in range(3) for t in result.trace.candidates[0].trials
    ]
    names = {series.label for series in SERIES}

    def marked(found: Sequence[Trial]) -> list[set[int]]:
        ax = curve(found, result.goal, Figure().add_subplot())
        lines = [line for line in ax.lines if line.get_label() in names]
        places = range(len(found))
        return [
            set(places if (every := line.get_markevery()) is None else places[every[0] :: every[1]])  # type: ignore[index]
            for line in lines
        ]

    turns = marked(trials)
    assert not any(a & b for a, b in itertools.combinations(turns, 2))
    assert set.union(*turns) == set(range(15))
    assert all(len(places) == 5 for places in marked(trials[:5]))  # the control: few, so all


def test_steps_that_were_tried_are_ticked_unless_the_curve_is_exact() -> None:
    result = fake_result()
    candidate = result.trace.candidates[0]
    for exact in (False, True):
        ax = curve(replace(candidate, exact=exact), result.goal, Figure().add_subplot())
        ticks = [c for c in ax.collections if isinstance(c, LineCollection)]
        assert sum(len(c.get_segments()) for c in ticks) == (0 if exact else len(candidate.trials))


def test_a_bound_that_several_share_is_named_once_where_there_is_room() -> None:
    result = fake_result()
    ax = curve(result.trace.candidates[0], result.goal, Figure().add_subplot())
    names = [text.get_text() for text in ax.texts]
    assert names.count("target") == 1 and sum(name.startswith("floor") for name in names) == 1
    far = replace(result.goal, floors={**result.goal.floors, "retain_fine": 0.3})
    spread_out = curve(result.trace.candidates[0], far, Figure().add_subplot())  # the control
    assert sum(text.get_text().startswith("floor") for text in spread_out.texts) == 2


def test_a_curve_of_one_trial_and_of_a_flat_taxonomy() -> None:
    result = fake_result("one", tree=["one", "two", "three"])
    ax = curve(result.trace.candidates[0].trials[:1], result.goal, Figure().add_subplot())
    boxes(list(ax.get_xticklabels()), ax.figure)  # type: ignore[arg-type]


def test_similar_classes_are_forgotten_ones_then_the_nearest() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    matrix = rng.uniform(0, 0.2, (30, 30))
    matrix[4, 9] = 0.9  # images of 4 look like the text of 9
    matrix[17, 4] = 0.8
    matrix[3] = np.nan
    shown = similar_classes(matrix, {4, 3})
    assert shown[:3] == [4, 9, 17]
    assert len(shown) == 12
    assert 3 not in shown
    assert len([i for i in similar_classes(matrix, set(range(5, 20))) if 5 <= i < 20]) == 6


def test_similarity_shows_the_numbers_on_one_scale() -> None:
    before = np.array([[0.31, 0.1], [0.2, 0.28]])
    after = np.array([[-0.04, 0.1], [0.2, 0.5]])
    axes = Figure().subplots(1, 2)
    similarity(before, after, ["<b>", "$x^2$"], {1}, axes)
    texts = [text.get_text() for text in axes[1].texts]
    assert texts == [".50", ".20", ".10", "\N{MINUS SIGN}.04"]  # class 1, forgotten, comes first
    scales = [ax.images[0].get_clim() for ax in axes]
    assert scales == [(-0.04, 0.5)] * 2
    bold = [t.get_text() for t in axes[0].get_yticklabels() if t.get_fontweight() == "bold"]
    assert bold == ["$x^2$"]


def test_similarity_without_images_draws_nothing() -> None:
    empty = np.full((3, 3), np.nan)
    axes = Figure().subplots(1, 2)
    similarity(empty, empty, ["a", "b", "c"], {0}, axes)
    assert not any(ax.images for ax in axes)
