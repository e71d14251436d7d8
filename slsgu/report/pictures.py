"""The pictures of a report, as data URIs: figures as SVG, examples as small PNG or JPEG files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from slsgu.errors import DataError
from slsgu.report.plots import curve, curves, pareto, similar_classes, similarity
from slsgu.report.plots.results import SIMILARITY_LABEL
from slsgu.report.plots.style import INK, drawing, short_layer
from slsgu.search.met_ranges import describe_met

if TYPE_CHECKING:
    from slsgu.concepts.taxonomy import Concept
    from slsgu.evaluation.proof import Proof
    from slsgu.pipeline.result import Outcome
    from slsgu.search.goal import Goal
    from slsgu.search.layer import Candidate
    from slsgu.search.method import SearchTrace

EXAMPLES = 8  # of each kind
_SIDE = 128  # pixels on the page; a larger picture is scaled down to twice that
_AGAINST_STEPS = "Accuracy on the search images against step size"
_PNG_UP_TO = 64 * 64  # pixels: small pictures are kept exactly

Indices = npt.NDArray[np.intp]


def data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def svg(figure: Figure) -> str:
    """A figure as an SVG data URI, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri(buffer.getvalue(), "svg+xml")


# -- figures --------------------------------------------------------------------------------------


def pareto_pictures(trace: SearchTrace) -> list[dict[str, str]]:
    """One for each tower that has layers."""
    pictures = []
    for tower in ("vision", "language"):
        scores = [score for score in trace.scores if score.tower == tower]
        if not scores:
            continue
        height = max(3.9, 1.1 + 0.19 * sum(score.on_front for score in scores))
        with drawing():
            figure = Figure(figsize=(5.4, height))
            ax = figure.add_axes((0.14, 0.54 / height, 0.84, 1 - 1.04 / height))
            pareto(scores, tower, ax, chosen=trace.chosen.layer)
            front = ", ".join(short_layer(score.layer) for score in scores if score.on_front)
            alt = f"Importance against alignment, {tower} tower; on the front: {front or 'none'}"
            pictures.append({"src": svg(figure), "alt": alt})
    return pictures


def curve_pictures(trace: SearchTrace) -> dict[str, Any] | None:
    """Accuracy against step size: the chosen layer, large, and all layers in one picture; None
    where there is no trial."""
    goal = trace.goal
    searched = [candidate for candidate in trace.candidates if candidate.trials]
    if not searched:
        return None
    chosen = trace.chosen.layer
    searched.sort(key=lambda candidate: candidate.score.layer != chosen)
    with drawing():
        sizes: dict[str, tuple[tuple[float, float], int]] = {
            "src": ((10.8, 3.9), 4), "narrow": ((4.6, 4.3), 1)
        }  # fmt: skip
        large = {
            name: _large_curve(searched[0], goal, trace.chosen.step, size, columns=columns)
            for name, (size, columns) in sizes.items()
        }
        several = _several_curves(trace, searched) if len(searched) > 1 else None
    first, met_text = searched[0], describe_met(searched[0].trials, goal)
    return {
        **large,
        "alt": f"{_AGAINST_STEPS}, {chosen}: the goal is met {met_text}",
        "layer": chosen,
        "tower": first.score.tower,
        "trust": _trust(first),
        "step": trace.chosen.step,
        "met": met_text,
        "all": several,
    }


def _several_curves(trace: SearchTrace, searched: Sequence[Candidate]) -> dict[str, str]:
    """All layers in one picture, as wide as the page and as a small screen."""
    best = []
    for candidate in searched:
        trial = trace.best(candidate)
        assert trial is not None, candidate.score.layer  # it has trials
        best.append(trial)
    names = ", ".join(short_layer(each.score.layer) for each in searched)
    alt = f"{_AGAINST_STEPS}, one panel for each of the layers {names}"
    goal, chosen = trace.goal, trace.chosen.layer
    pictures = {
        name: svg(curves(searched, best, goal, width=width, columns=columns, chosen=chosen))
        for name, width, columns in (("src", 10.8, 4), ("narrow", 4.6, 2))
    }
    return {**pictures, "alt": alt}


def _trust(candidate: Candidate) -> str:
    """How the curve of a layer is known, and how far it is to be trusted, in sentences."""
    ticks = "Small ticks along the bottom are the steps that were evaluated."
    curve = candidate.curve
    if candidate.exact:
        return "Accuracy along this layer is known in closed form: the curves sample it."
    if curve is None:
        return f"{ticks} Between them nothing is known."
    return (
        f"The curves are interpolated from {curve.evaluations} evaluations of the model. At the "
        f"step that checked them, the answer of {curve.differs} of {curve.images} images was "
        f"another one; up to {curve.error:.1%} may be at others. {ticks}"
    )


def _large_curve(
    candidate: Candidate, goal: Goal, step: float, size: tuple[float, float], *, columns: int
) -> str:
    """The curve of the chosen layer with its legend, as wide as the page or as a small screen."""
    width, height = size  # inches
    rows = -(-4 // columns)
    figure = Figure(figsize=size)
    bottom = 0.6 + 0.2 * rows
    box = (0.6 / width, bottom / height, 1 - 0.72 / width, 1 - (bottom + 0.28) / height)
    ax = curve(candidate, goal, figure.add_axes(box), chosen=step)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower left", ncols=columns, frameon=False, fontsize=8.5,
        borderaxespad=0.2, labelcolor=INK,
    )  # fmt: skip
    return svg(figure)


def similarity_pictures(result: Outcome) -> list[dict[str, str]]:
    """Figure 3, before and after; empty where too few classes have images."""
    exam = result.proof.exam
    before, after = result.proof.similarity
    forgotten = forgotten_columns(result.proof)
    count = len(similar_classes(before, forgotten))
    if count < 2:
        return []
    names = class_names(exam.levels[-1].classes)
    reach = 0.37 * max(count, 6)  # inches, the side of a matrix
    width, height = SIMILARITY_LABEL / 72 + 0.35 + reach, SIMILARITY_LABEL / 100 + 0.65 + reach
    box = (1 - (reach + 0.08) / width, 1 - (reach + 0.28) / height, reach / width, reach / height)
    with drawing():
        figures = [Figure(figsize=(width, height)) for _ in range(2)]
        axes = [figure.add_axes(box) for figure in figures]
        similarity(before, after, names, forgotten, axes)
        return [
            {
                "src": svg(figure),
                "alt": f"Cosine similarity of images and texts, by class, {moment} the edit",
            }
            for figure, moment in zip(figures, ("before", "after"), strict=True)
        ]


def forgotten_columns(proof: Proof) -> set[int]:
    """Indices, at the finest level, of the classes to be forgotten."""
    return {int(label) for label in proof.exam.labels[proof.exam.forget, -1]}


def class_names(classes: Sequence[Concept]) -> list[str]:
    """Names, with the parent's where two classes share one."""
    names = [concept.name for concept in classes]
    return [
        concept.name if names.count(concept.name) == 1 else "/".join(concept.path[-2:])
        for concept in classes
    ]


# -- examples -------------------------------------------------------------------------------------


def examples(result: Outcome) -> dict[str, Any]:
    """Forget images, picked evenly whatever their outcome, and other images, the changed first."""
    proof = result.proof
    forget = np.flatnonzero(proof.exam.forget)
    others = np.flatnonzero(~proof.exam.forget)
    changed, broken, mended = _changes(proof, others)
    picked = [*_evenly(broken, EXAMPLES), *_evenly(mended, EXAMPLES), *_evenly(changed, EXAMPLES)]
    picked = list(dict.fromkeys(picked))[:EXAMPLES]
    if len(picked) < EXAMPLES:
        picked += _nearest(proof, set(picked))[: EXAMPLES - len(picked)]
    return {
        "forget": [_example(proof, index) for index in _evenly(forget, EXAMPLES)],
        "others": [_example(proof, index) for index in picked],
        "forget_count": len(forget),
        "others_count": len(others),
        "changed": len(changed),
        "broken": len(broken),
        "mended": len(mended),
    }


def _changes(proof: Proof, rows: Indices) -> tuple[Indices, Indices, Indices]:
    """Images whose answer at the finest level changed; those that got worse; those better."""
    old, new = proof.before.correct[rows, -1], proof.after.correct[rows, -1]
    changed = proof.before.predicted[rows, -1] != proof.after.predicted[rows, -1]
    return rows[changed], rows[old & ~new], rows[~old & new]


def _evenly(rows: Indices, count: int) -> list[int]:
    """At most `count` of the rows, evenly through them: no choice by eye, the same each time."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [int(rows[place]) for place in places]


def _nearest(proof: Proof, picked: set[int]) -> list[int]:
    """Unchanged images of the classes nearest to what was forgotten, one of each in turn."""
    forgotten = forgotten_columns(proof)
    labels = proof.exam.labels[:, -1]
    nearest = [i for i in similar_classes(proof.similarity[0], forgotten) if i not in forgotten]
    turns = [
        [int(i) for i in np.flatnonzero(labels == label) if i not in picked] for label in nearest
    ]
    longest = max((len(turn) for turn in turns), default=0)
    return [turn[i] for i in range(min(longest, EXAMPLES)) for turn in turns if i < len(turn)]


def _example(proof: Proof, index: int) -> dict[str, Any]:
    exam = proof.exam
    names = class_names(exam.levels[-1].classes)
    forgotten = exam.forgotten[index]  # [L]
    still = np.flatnonzero(forgotten & proof.after.correct[index])
    return {
        "src": _thumbnail(proof, index),
        "file": proof.samples[index].name,
        "label": names[exam.labels[index, -1]],
        "old": names[proof.before.predicted[index, -1]],
        "new": names[proof.after.predicted[index, -1]],
        "old_right": bool(proof.before.correct[index, -1]),
        "new_right": bool(proof.after.correct[index, -1]),
        # For an image to be forgotten, what the model still says of it that it should not.
        "forget": bool(forgotten.any()),
        "was_named": bool((forgotten & proof.before.correct[index]).any()),
        "still": [exam.levels[c].classes[exam.labels[index, c]].name for c in still],
    }


def _thumbnail(proof: Proof, index: int) -> str | None:
    """None where the picture cannot be read any more: a report must not fail for that."""
    try:
        image = proof.samples[index].read()
    except (DataError, OSError):
        return None
    buffer = io.BytesIO()
    if image.width * image.height <= _PNG_UP_TO:
        image.save(buffer, format="PNG")
        return data_uri(buffer.getvalue(), "png")
    image.thumbnail((2 * _SIDE, 2 * _SIDE))
    image.save(buffer, format="JPEG", quality=85)
    return data_uri(buffer.getvalue(), "jpeg")
