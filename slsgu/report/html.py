"""The report of a run: `result.json` for programs, `report.html` for people."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slsgu.evaluation.metrics import WORDS
from slsgu.evaluation.per_class import describe_named_again, per_class
from slsgu.report.headline import verdict
from slsgu.report.page import rendered
from slsgu.report.pictures import (
    curve_pictures,
    examples,
    pareto_pictures,
    similarity_pictures,
)
from slsgu.report.values import (
    about_facts,
    four_rows,
    level_names,
    level_title,
    moved_view,
    overlaps,
    patch_sha256,
    plain,
    result_json,
    skipped,
    tower_of,
)
from slsgu.report.way import images_of, way_of
from slsgu.search.found_again import describe_found, describe_tested
from slsgu.search.met_ranges import describe_start, describe_unseen
from slsgu.utils.files import write_text
from slsgu.utils.wording import share

if TYPE_CHECKING:
    from slsgu.pipeline.result import Outcome
    from slsgu.search.method import SearchTrace

SHOWN_CLASSES = 10  # rows of the table of classes that are not folded away


def to_json(
    result: Outcome, *, patch: Path | None, report: Path | None, command: str | None = None
) -> dict[str, Any]:
    """The result as plain JSON values, fractions as fractions (design, section 5).

    Args:
        patch, report: where they were written; None if they were not.
        command: the command line; None takes the one recorded in the patch.
    """
    value = result_json(result, patch=patch, report=report, command=command)
    return {**value, "version": metadata_version()}


def write(result: Outcome, path: Path, *, command: str, patch: Path | None) -> None:
    """Write the report: one file that needs no other and runs no script.

    Args:
        path: the HTML file.
        command: the command line that made the result.
        patch: where the patch was written; None if it was not.

    Raises:
        SlsguError: the disk refuses.
    """
    write_text(path, html(result, command=command, patch=patch))


def html(result: Outcome, *, command: str, patch: Path | None) -> str:
    """The report as text. The same result gives the same text."""
    return rendered("report.html.j2", _view(result, command, patch))


def metadata_version() -> str:
    from slsgu.version import __version__

    return __version__


def _view(result: Outcome, command: str, patch: Path | None) -> dict[str, Any]:
    """Everything the template names. Text is cleaned here, escaped there."""
    task, proof, trace = result.task, result.proof, result.trace
    classes = per_class(proof)
    classes.sort(key=lambda row: (-abs(row["after"] - row["before"]), not row["forgotten"]))
    rows = proof.measures.levels
    levels = [
        {"names": plain(level_names(proof.exam, row)), "title": level_title(row.level), "row": row}
        for row in rows
    ]
    words = {
        "title": task.request.title,
        "verdict": verdict(result),
        "four": four_rows(result),
        "scores": _scores(result),
        "also": [each.to_json() for each in result.also],
        "moved": moved_view(result),
        "classes": classes,
        "named_again": describe_named_again(classes, task.request.title),
        "skipped": skipped(result),
        "overlaps": overlaps(result),
        "facts": _facts(result, patch),
        "settings": {
            name: {WORDS.get(key, key): item for key, item in value.items()}
            if isinstance(value, dict)
            else value
            for name, value in result.edit.settings.items()
        },
        "notes": task.splits.notes,
        "candidates": [] if trace is None else _candidates(trace),
        "passed_over": [] if trace is None else _passed_over(trace),
        "command": command,
        "versions": _versions(),
        "examples": examples(result),
    }
    return {
        **plain(words),
        "levels": levels,
        "not_measured": _not_measured(result),
        "unmeasurable": [e for e, row in zip(levels, rows, strict=True) if not row.measurable],
        "shown_classes": SHOWN_CLASSES,
        "pareto": [] if trace is None else pareto_pictures(trace),
        "curves": None if trace is None else curve_pictures(trace),
        "similarity": similarity_pictures(result),
        "success": result.success,
        "patched": result.patch is not None,
        "way": way_of(result.edit),
    }


def _scores(result: Outcome) -> list[dict[str, Any]]:
    measures = result.proof.measures
    return [
        {"name": name, "value": getattr(measures, key), "interval": measures.intervals.get(key)}
        for name, key in (("Q-U", "q_u"), ("Quality", "quality"), ("Utility", "utility"))
    ]


def _candidates(trace: SearchTrace) -> list[dict[str, Any]]:
    """The rows of the table of layers that were searched."""
    return [
        {
            **candidate.to_json(trace.best(candidate)),
            "chosen": candidate.score.layer == trace.chosen.layer,
        }
        for candidate in trace.candidates
        if candidate.trials
    ]


def _passed_over(trace: SearchTrace) -> list[dict[str, Any]]:
    """The layers that were not searched, by the reason why."""
    reasons: dict[str, list[str]] = {}
    for candidate in trace.candidates:
        if not candidate.trials:
            reasons.setdefault(candidate.passed_over or "", []).append(candidate.score.layer)
    return [{"reason": reason, "layers": layers} for reason, layers in reasons.items()]


def _not_measured(result: Outcome) -> list[str]:
    """The floors that cannot be enforced, since nothing was measured, in words."""
    return [WORDS[key] for key in result.goal.unmeasured(result.proof.measures)]


def _facts(result: Outcome, patch: Path | None) -> list[tuple[str, str]]:
    """The request and what it was carried out on, as name and value."""
    task, request = result.task, result.task.request
    under = [leaf.name for leaf in request.forget_leaves]
    model = task.clip.describe()
    data = task.splits.description
    pretrained = f" · {model['pretrained']}" if model["pretrained"] else ""
    return [
        ("Forget", ", ".join(concept.key for concept in request.concepts)),
        *about_facts(result.about),
        ("Classes under it", f"{len(under)}: {', '.join(under)}"),
        ("Taxonomy", f"{request.taxonomy.name}, {len(request.taxonomy.leaves)} classes"),
        ("Model", f"{model['name']}{pretrained}"),
        ("Model SHA-256", str(model["sha256"])),
        *_edit_facts(result),
        ("Images", f"{data.get('root', '')} ({data.get('kind', '')})"),
        ("Images used", _images_used(result)),
        ("Floors not measured", ", ".join(_not_measured(result)) or "none"),
        ("Templates", f"{len(task.templates)}, such as “{task.templates[0]}”"),
        ("Seed", str(task.seed)),
        ("Time", _time(result)),
        ("Patch", "not written" if patch is None else str(patch)),
        ("Patch SHA-256", patch_sha256(result, patch) or "-"),
    ]


def _edit_facts(result: Outcome) -> list[tuple[str, str]]:
    """Which layers moved, and how."""
    details, layers = result.edit.patch.metadata, result.edit.patch.layers
    request = result.task.request
    tower = tower_of(layers)
    place = f" ({tower} tower)" if tower else ""
    facts = [
        ("Method", str(details.get("method", "unknown"))),
        ("Layer" if len(layers) == 1 else "Layers", ", ".join(layers) + place),
    ]
    if result.trace is not None:
        chosen, settings = result.trace.chosen, result.trace.settings
        start = describe_start(chosen)
        step = f"{chosen.step:.6g} ({share(chosen.relative_step, digits=2)} the norm of the layer's"
        facts += [
            ("Step size", f"{start}{step} weights)"),
            ("Unseen images", describe_unseen(chosen.measures, result.goal)),
            ("By example images", describe_found(chosen.measures, result.goal, request)),
            ("Forget loss, direction", f"{settings.forget_loss_used}, {settings.direction_used}"),
        ]
    if tested := describe_tested(result.proof.measures, result.goal, request):
        facts.append(("By example images, test", tested))
    return facts


def _images_used(result: Outcome) -> str:
    searched, tested = len(result.task.splits.search), len(result.proof.samples)
    made = filter(None, [images_of(result.edit), f"search {searched}", f"test {tested}"])
    counted = "; ".join(made)
    if result.trace is None:
        return counted
    counts = result.trace.gradients.counts
    return f"gradient {counts['forget']} to forget + {counts['retain']} to keep; {counted}"


def _time(result: Outcome) -> str:
    seconds = result.seconds
    steps = ", ".join(f"{name} {s:.1f} s" for name, s in seconds.items() if name != "total")
    return f"{seconds['total']:.1f} s" + (f" ({steps})" if steps else "")


def _versions() -> dict[str, str]:
    names = ("torch", "open_clip_torch", "numpy", "matplotlib")
    versions = {"slsgu": metadata_version(), "python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # vendored or built by hand
            continue
    return versions
