"""What a report says, as values: the JSON of a result, and the words and tables of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slsgu.concepts.request import KEPT, STATES
from slsgu.evaluation.exam import CAPTIONS
from slsgu.evaluation.metrics import KEYS, WORDS
from slsgu.evaluation.per_class import named_again, per_class
from slsgu.patch.header import made_from_texts
from slsgu.utils.statistics import wilson

if TYPE_CHECKING:
    from slsgu.evaluation.exam import Exam
    from slsgu.evaluation.metrics import LevelAccuracy, Measures
    from slsgu.pipeline.result import Outcome
    from slsgu.pipeline.text_run import TextOutcome


def plain(value: Any) -> Any:
    """A value as JSON knows it: no NaN, no infinity, no numpy, only text that can be encoded."""
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | Path):
        # A name of a file that is not UTF-8 carries lone surrogates, which no file can hold.
        return str(value).encode("utf-8", "replace").decode("utf-8")
    return value if value is None or isinstance(value, bool | int) else str(value)


def four_intervals(measures: Measures, moment: str) -> dict[str, tuple[float, float] | None]:
    """95 % Wilson intervals of the four accuracies, `before` or `after`.

    Where an accuracy is a mean over several levels of the same images this is conservative: a
    mean of answers to one image varies no more than one answer with the same chance of being
    right.
    """
    values = getattr(measures, moment)
    return {
        key: None
        if values[key] is None or not measures.counts[key]
        else wilson(values[key] * measures.counts[key], measures.counts[key])
        for key in KEYS
    }


def skipped(result: Outcome) -> list[dict[str, str]]:
    """Pictures that could not be read, also those that an earlier run met for its gradients."""
    trace = result.trace
    earlier = [] if trace is None else [(n, why) for n, why in trace.gradients.info["skipped"]]
    now = [(item.name, item.reason) for item in result.ledger.skipped]
    return [{"name": name, "reason": reason} for name, reason in dict.fromkeys(earlier + now)]


def overlaps(result: Outcome) -> list[dict[str, str]]:
    """Pictures left out because another split, or the forget set, holds the same pixels."""
    return [item._asdict() for item in result.ledger.overlaps]


def level_title(level: int) -> str:
    """What a level is called: `level 2`, or that of the images' own captions."""
    return "own caption" if level == CAPTIONS else f"level {level}"


def level_names(exam: Exam, row: LevelAccuracy) -> str:
    """The right answers for a row's images at its level, in words: `dog`, `7 classes`."""
    if row.level == CAPTIONS:
        return f"{round(1 / row.chance)} captions"
    if row.images == "retain":
        return f"{round(1 / row.chance)} classes"
    depths = exam.forget_depth
    mask = exam.forget & ((depths <= row.level) == row.forgotten)
    leaves = [leaf for leaf, included in zip(exam.leaves, mask, strict=True) if included and leaf]
    names = list(dict.fromkeys(exam.taxonomy.ancestor(leaf, row.level).name for leaf in leaves))
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} classes"


def four_rows(result: Outcome) -> list[dict[str, Any]]:
    """The four numbers of the paper's tables, with everything known about each. `left` is what the
    goal holds against the `bound`: for what is to be forgotten the highest accuracy at any level
    that must go, for the rest the share of the accuracy before."""
    measures, goal = result.proof.measures, result.goal
    before, after = (four_intervals(measures, moment) for moment in ("before", "after"))
    rows = []
    for key in KEYS:
        if measures.before[key] is None:
            continue
        if key in KEPT:
            value, bound = measures.kept_ratios[key], goal.floors.get(key)
            holds = None if bound is None or value is None else value >= bound
        else:
            value, bound, holds = measures.forget_accuracy, goal.target, goal.reached(measures)
        rows.append({
            "key": key,
            "name": WORDS[key].capitalize(),
            "aim": "keep" if key in KEPT else "forget",
            "count": measures.counts[key],
            "before": measures.before[key],
            "after": measures.after[key],
            "before_interval": before[key],
            "after_interval": after[key],
            "change": measures.differences()[f"change_{key}"],
            "change_interval": measures.intervals.get(f"change_{key}"),
            "left": value,
            "bound": bound,
            "holds": holds,
        })  # fmt: skip
    return rows


def about_facts(about: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a person wrote about a request, as name and value."""
    return [(key.replace("_", " ").capitalize(), text) for key, text in about.items()]


def patch_sha256(result: Outcome | TextOutcome, patch: Path | None) -> str | None:
    """Hash of the patch that a result holds; a later run may have put another one at `patch`."""
    return None if patch is None or result.patch is None else result.patch.file_sha256


def result_json(
    result: Outcome, *, patch: Path | None, report: Path | None, command: str | None
) -> dict[str, Any]:
    """The result as JSON values: design, section 5, and what else is known."""
    task, measures, trace = result.task, result.proof.measures, result.trace
    classes = per_class(result.proof)
    value = {
        "request": task.request.describe(),
        "model": task.clip.describe(),
        **_edit_json(result),
        "success": result.success,
        "before": measures.before,
        "after": measures.after,
        "counts": measures.counts,
        "levels": [row.to_json() for row in measures.levels],
        **measures.scores,
        "candidates": [] if trace is None else [c.to_json(trace.best(c)) for c in trace.candidates],
        "seconds": result.seconds,
        "patch": patch,
        "patch_sha256": patch_sha256(result, patch),
        "report": report,
        "shortfall": result.shortfall or None,
        "intervals": {
            **measures.intervals,
            "before": four_intervals(measures, "before"),
            "after": four_intervals(measures, "after"),
        },
        "kept_ratios": measures.kept_ratios,
        "not_measurable": [row.to_json() for row in measures.unmeasurable],
        "floors_not_measured": result.goal.unmeasured(measures),
        "found_again": _found(result, measures),
        "per_class": classes,
        "named_again": [row["path"] for row in named_again(classes)],
        "lost": None if measures.lost is None else measures.lost.to_json(),
        "losses": {} if trace is None else trace.gradients.losses,
        "gradient_images": {} if trace is None else trace.gradients.counts,
        "data": task.splits.description,
        "notes": task.splits.notes,
        "left_out": [*task.splits.left_out, *(x for each in result.also for x in each.entries)],
        "skipped": skipped(result),
        "overlaps": overlaps(result),
        "templates": task.templates,
        "settings": result.edit.settings,
        "command": result.command if command is None else command,
        **result.about,
        "also": [each.to_json() for each in result.also],
        "moved": _moved(result),
    }
    return dict(plain(value))


def _edit_json(result: Outcome) -> dict[str, Any]:
    """The edit: which method, which layer, how far; what does not apply to the method is null."""
    metadata, trace = result.edit.patch.metadata, result.trace
    layers = result.edit.patch.layers
    searched = result.measures.summary() if trace is None else trace.chosen.to_json()
    return {
        "method": metadata.get("method"),
        "without_images": made_from_texts(result.edit.patch.parts),
        "layers": layers,
        "layer": layers[0] if len(layers) == 1 else None,
        "tower": tower_of(layers),
        "step_size": metadata.get("step_size"),
        "relative_step": metadata.get("relative_step"),
        "goal": metadata.get("goal"),
        "merge": metadata.get("merge"),
        "merge_onto": metadata.get("merge_onto"),
        "unnamed": metadata.get("unnamed"),
        "direction": metadata.get("direction"),
        "forget_loss": metadata.get("forget_loss"),
        "search_split": searched,
        "unseen": _unseen(result),
        "found": _found(result, result.measures),
    }


def _unseen(result: Outcome) -> dict[str, Any] | None:
    """What the margins of search images say of unseen images; null where they are too few."""
    unseen, likely = result.measures.unseen, result.goal.probability(result.measures)
    return None if unseen is None else {**unseen.to_json(), "probability": likely}


def _found(result: Outcome, measures: Measures) -> dict[str, Any] | None:
    """How often a few images find the others; null where there are too few."""
    found = measures.found
    if found is None:
        return None
    leaves = zip(result.task.request.forget_leaves, found.each, strict=False)
    value = asdict(found) | {
        "never_knew": result.goal.unknown_share(found),
        "risen": found.risen,
        "easier": [leaf.key for leaf, change in leaves if change.risen],
    }
    del value["each"], value["concepts"]
    return value


def moved_view(result: Outcome) -> dict[str, Any] | None:
    """How far what a system reads has moved, beside what is wanted; None where the edit is for no
    system. `holds` is for the images and prompts of the report, which nothing was chosen on."""
    moved, goal = result.moved, result.goal
    if moved is None:
        return None
    rows = [
        {**asdict(row), "name": name, "word": word, "bound": bound, "holds": holds}
        for name, row, word, bound, holds in (
            ("With the concept", moved.concept, "at least", goal.moves,
             not goal.rests(result.proof.measures)),
            ("Without it", moved.kept, "at most", goal.most_moved,
             STATES not in goal.broken_floors(result.proof.measures)),
        )
        if row is not None
    ]  # fmt: skip
    return {"system": moved.system, "what": moved.what, "rows": rows}


def _moved(result: Outcome) -> dict[str, Any] | None:
    """How far what a system reads has moved; null where the edit is for none."""
    moved, searched = result.moved, result.measures.moved
    if moved is None:
        return None
    return {**moved.to_json(), "search": None if searched is None else searched.to_json()}


def tower_of(layers: Sequence[str]) -> str | None:
    """The tower that all of some layers are in; None where they are in both."""
    towers = {"vision" if name.startswith("visual.") else "language" for name in layers}
    return towers.pop() if len(towers) == 1 else None
