"""The curves of all layers that were searched, in one picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.results import fake_result
from matplotlib.figure import Figure

import slsgu.report.html as report
from slsgu.evaluation.summary import Summary
from slsgu.report.plots import curve, curves
from slsgu.report.plots.curves import BEST_STEP, BEYOND, EVALUATED, NO_CURVE
from slsgu.report.plots.drawn import Drawn
from slsgu.report.plots.results import SERIES
from slsgu.search.curve import WholeCurve

STEPS = np.geomspace(0.01, 1.6, 30)


def falling() -> WholeCurve:
    """A curve on which the concept goes and little else does, unlike any trial of the result."""
    values = dict.fromkeys(("forget_coarse", "retain_fine", "retain_coarse"), 0.9 - 0.01 * STEPS)
    forget = np.clip(1 - STEPS, 0, 1)
    before = {key: np.ones(30) for key in (*values, "forget_fine")}
    summary = Summary(
        before, {**values, "forget_fine": forget}, values, 1 - forget, 0.9 + 0 * STEPS,
        0.9 + 0 * STEPS, forget,
    )  # fmt: skip
    return WholeCurve(STEPS, 0.2 * STEPS, summary, evaluations=4, differs=1, images=60)


@pytest.fixture
def result() -> Any:
    found = fake_result()
    first, *others = (c for c in found.trace.candidates if c.trials)
    searched = (replace(first, curve=falling(), part=60), *others)
    return replace(found, edit=replace(found.edit, trace=replace(found.trace, candidates=searched)))


def drawn(result: Any, **options: Any) -> Figure:
    trace = result.trace
    best = [trace.best(each) for each in trace.candidates]
    return curves(trace.candidates, best, result.goal, **{"width": 9, "columns": 3, **options})


def test_each_layer_has_a_panel_with_the_same_axes(result: Any) -> None:
    panels = drawn(result).axes
    assert len(panels) == len(result.trace.candidates) > 2
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in panels}) == 1
    titles = [" ".join(text.get_text() for text in ax.texts) for ax in panels]
    assert "60 images" in titles[0] and "error" in titles[0]
    assert all("no curve" in title and "images" not in title for title in titles[1:])


def test_lines_are_the_curve_and_dots_what_was_evaluated(result: Any) -> None:
    figure = drawn(result)
    first, second = figure.axes[:2]
    lines = {str(line.get_label()): line for line in first.lines}
    forget = lines[SERIES[0].label]
    assert np.allclose(np.asarray(forget.get_ydata()), falling().summary.forget_accuracy)
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert len(dots) == 1 and len(dots[0].get_xdata()) == len(result.trace.candidates[0].trials)
    other = next(line for line in second.lines if line.get_label() == SERIES[0].label)
    assert forget.get_linestyle() == "-" and other.get_linestyle() != "-"  # control
    best = result.trace.best(result.trace.candidates[0])
    assert lines[BEST_STEP].get_xdata() == [best.relative_step] * 2


def test_what_is_kept_is_a_share_of_what_was(result: Any) -> None:
    first, *others = result.trace.candidates
    whole = falling()
    before = {**whole.summary.before, "retain_fine": np.full(30, 0.5)}
    whole = replace(whole, summary=replace(whole.summary, before=before))
    searched = (replace(first, curve=whole), *others)
    trace = replace(result.trace, candidates=searched)
    result = replace(result, edit=replace(result.edit, trace=trace))
    (line,) = [x for x in drawn(result).axes[0].lines if x.get_label() == SERIES[2].label]
    assert np.allclose(np.asarray(line.get_ydata()), falling().summary.after["retain_fine"] / 0.5)


def test_a_curve_of_a_part_says_so_also_where_its_step_was_evaluated_on_all(result: Any) -> None:
    def title(**part: int | None) -> str:
        first, *others = result.trace.candidates
        searched = (replace(first, **part), *others)
        told = replace(result, edit=replace(
            result.edit, trace=replace(result.trace, candidates=searched)
        ))  # fmt: skip
        return " ".join(text.get_text() for text in drawn(told).axes[0].texts)

    assert "60 images" in title(part=None, curve_part=60)
    assert "60 images" in title(part=60, curve_part=60)
    assert "images" not in title(part=None, curve_part=None)  # control


def test_what_lies_beyond_a_panel_is_marked(result: Any) -> None:
    def panel(factor: float) -> tuple[Any, list[str]]:
        first, second, *others = result.trace.candidates
        long = replace(falling(), relative=factor * STEPS)
        trials = tuple(replace(t, relative_step=t.relative_step * factor) for t in second.trials)
        searched = [replace(first, curve=long), replace(second, trials=trials), *others]
        best = [max(c.trials, key=lambda t: t.relative_step) for c in searched]
        figure = curves(searched, best, result.goal, width=9, columns=3)
        return figure, [text.get_text() for text in figure.legends[0].get_texts()]

    figure, legend = panel(200)
    first, second = figure.axes[:2]
    edge = first.get_xlim()[1]
    arrows = [line for line in first.lines if line.get_marker() == ">"]
    assert arrows and all(line.get_xdata() == [edge] for line in arrows)
    assert max(falling().relative) < edge  # control: the usual curve does not reach it
    assert any(f"{BEST_STEP} " in text.get_text() for text in second.texts)
    assert {EVALUATED, NO_CURVE, BEYOND, BEST_STEP} <= set(legend)
    figure, legend = panel(0.2)  # control: nothing leaves
    assert BEYOND not in legend and {EVALUATED, NO_CURVE} <= set(legend)
    assert not any(f"{BEST_STEP} " in x.get_text() for ax in figure.axes for x in ax.texts)


def test_the_large_curve_follows_the_whole_curve_too(result: Any) -> None:
    candidate = result.trace.candidates[0]
    whole = curve(candidate, result.goal, Figure().add_subplot())
    tried = curve(candidate.trials, result.goal, Figure().add_subplot())
    counts = [
        max(len(line.get_xdata()) for line in ax.lines if line.get_label() == SERIES[0].label)
        for ax in (whole, tried)
    ]
    assert counts == [len(STEPS), len(candidate.trials)]


def test_where_the_goal_is_met_is_said_of_the_curve(result: Any) -> None:
    goal = replace(result.goal, floors={})
    ((first, last),) = Drawn.of(result.trace.candidates[0], goal).met
    assert last == len(STEPS) - 1
    assert falling().summary.forget_accuracy[first] <= goal.target
    assert falling().summary.forget_accuracy[first - 1] > goal.target


def test_the_report_has_one_picture_of_all_layers_and_says_what_to_trust(result: Any) -> None:
    page = report.html(result, command="slsgu", patch=None)
    assert page.count("All layers that were searched") == 1
    assert "lost on 60 search images" in page and "≤ 8.9% wrong" in page
    for candidate in result.trace.candidates:
        assert candidate.score.layer in page.replace("<wbr>", "")
    (only,) = [c for c in result.trace.candidates if c.score.layer == result.trace.chosen.layer]
    trace = replace(result.trace, candidates=(replace(only, curve=falling()),))
    single = replace(result, edit=replace(result.edit, trace=trace))
    page = report.html(single, command="slsgu", patch=None)
    assert "All layers that were searched" not in page  # control
    assert "interpolated from 4 evaluations" in page and "1 of 60 images" in page
