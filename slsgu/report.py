"""The report of a run: `result.json` for programs, `report.html` for people."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from slsgu.files import write_text
from slsgu.measures import WORDS
from slsgu.report_data import (
    best_trial,
    four_rows,
    level_names,
    level_title,
    overlaps,
    patch_sha256,
    per_class,
    plain,
    result_json,
    skipped,
    verdict,
)
from slsgu.report_pictures import (
    curve_pictures,
    examples,
    pareto_pictures,
    similarity_pictures,
)
from slsgu.wording import share

if TYPE_CHECKING:
    from slsgu.candidates import Candidate
    from slsgu.pipeline import Result

SHOWN_CLASSES = 10  # rows of the table of classes that are not folded away


def to_json(
    result: Result, *, patch: Path | None, report: Path | None, command: str | None = None
) -> dict[str, Any]:
    """The result as plain JSON values, fractions as fractions (design, section 5).

    Args:
        patch, report: where they were written; None if they were not.
        command: the command line; None takes the one recorded in the patch.
    """
    value = result_json(result, patch=patch, report=report, command=command)
    return {**value, "version": metadata_version()}


def write(result: Result, path: Path, *, command: str, patch: Path | None) -> None:
    """Write the report: one file that needs no other and runs no script.

    Args:
        path: the HTML file.
        command: the command line that made the result.
        patch: where the patch was written; None if it was not.

    Raises:
        SlsguError: the disk refuses.
    """
    write_text(path, html(result, command=command, patch=patch))


def html(result: Result, *, command: str, patch: Path | None) -> str:
    """The report as text. The same result gives the same text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pct": percent, "pts": points, "span": interval, "num": number}
    template = environment.from_string(
        files("slsgu").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    page: str = template.render(**_view(result, command, patch))
    return page


def percent(value: float | None) -> str:
    """A fraction as a percentage with one decimal; a dash where it is not defined.

    >>> percent(0.973), percent(None)
    ('97.3%', '–')
    """
    return "–" if value is None else f"{value:.1%}"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points.

    >>> points(-0.021), points(0.0)
    ('−2.1', '0.0')
    """
    if value is None:
        return "–"
    text = f"{value * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def interval(bounds: tuple[float, float] | None, signed: bool = False) -> str:
    """An interval of fractions, in percent.

    >>> interval((0.95, 0.984)), interval((-0.02, 0.01), signed=True)
    ('95.0–98.4', '−2.0 to +1.0')
    """
    if bounds is None:
        return ""
    if signed:
        return f"{points(bounds[0])} to {points(bounds[1])}"
    return f"{bounds[0] * 100:.1f}–{bounds[1] * 100:.1f}"


def number(value: float | None) -> str:
    """A quantity without a unit, to four figures."""
    return "–" if value is None else f"{value:.4g}"


def metadata_version() -> str:
    from slsgu import __version__

    return __version__


def _view(result: Result, command: str, patch: Path | None) -> dict[str, Any]:
    """Everything the template names. Text is cleaned here, escaped there."""
    plan, proof = result.plan, result.proof
    classes = per_class(proof.exam, proof)
    classes.sort(key=lambda row: (-abs(row["after"] - row["before"]), not row["forgotten"]))
    rows = proof.measures.levels
    levels = [
        {"names": plain(level_names(proof.exam, row)), "title": level_title(row.level), "row": row}
        for row in rows
    ]
    words = {
        "title": plan.request.title,
        "verdict": verdict(result),
        "four": four_rows(result),
        "scores": _scores(result),
        "also": [each.to_json() for each in result.also],
        "classes": classes,
        "skipped": skipped(result),
        "overlaps": overlaps(result),
        "facts": _facts(result, patch),
        "settings": {
            name: {WORDS.get(key, key): item for key, item in value.items()}
            if isinstance(value, dict)
            else value
            for name, value in plan.settings_used.items()
        },
        "notes": plan.splits.notes,
        "candidates": [_candidate(result, c) for c in result.candidates if c.trials],
        "passed_over": _passed_over(result),
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
        "pareto": pareto_pictures(result),
        "curves": curve_pictures(result),
        "similarity": similarity_pictures(result),
        "success": result.success,
        "patched": result.patch is not None,
    }


def _scores(result: Result) -> list[dict[str, Any]]:
    measures = result.proof.measures
    return [
        {"name": name, "value": getattr(measures, key), "interval": measures.intervals.get(key)}
        for name, key in (("Q-U", "q_u"), ("Quality", "quality"), ("Utility", "utility"))
    ]


def _candidate(result: Result, candidate: Candidate) -> dict[str, Any]:
    """A row of the table of layers that were searched."""
    return {
        **candidate.to_json(best_trial(result, candidate)),
        "chosen": candidate.score.layer == result.chosen.layer,
    }


def _passed_over(result: Result) -> list[dict[str, Any]]:
    """The layers that were not searched, by the reason why."""
    reasons: dict[str, list[str]] = {}
    for candidate in result.candidates:
        if not candidate.trials:
            reasons.setdefault(candidate.passed_over or "", []).append(candidate.score.layer)
    return [{"reason": reason, "layers": layers} for reason, layers in reasons.items()]


def _not_measured(result: Result) -> list[str]:
    """Of what floors nothing is known, in words."""
    return [WORDS[key] for key in result.goal.unmeasured(result.proof.measures)]


def _facts(result: Result, patch: Path | None) -> list[tuple[str, str]]:
    """The request and what it was carried out on, as name and value."""
    plan, request, chosen = result.plan, result.plan.request, result.chosen
    under = [leaf.name for leaf in request.forget_leaves]
    model = plan.clip.describe()
    data = plan.splits.description
    counts, seconds = result.gradients.counts, result.seconds
    pretrained = f" · {model['pretrained']}" if model["pretrained"] else ""
    words = {"asked_by": "Asked by", "reason": "Reason"}
    return [
        ("Forget", ", ".join(concept.key for concept in request.concepts)),
        *((words.get(key, key), text) for key, text in result.about.items()),
        ("Classes under it", f"{len(under)}: {', '.join(under)}"),
        ("Taxonomy", f"{request.taxonomy.name}, {len(request.taxonomy.leaves)} classes"),
        ("Model", f"{model['name']}{pretrained}"),
        ("Model SHA-256", str(model["sha256"])),
        ("Layer", f"{chosen.layer} ({result.tower} tower)"),
        (
            "Step size",
            f"{chosen.step:.6g} ({share(chosen.relative_step, digits=2)} the norm of the layer's "
            "weights)",
        ),
        (
            "Forget loss, direction",
            f"{plan.settings.forget_loss_used}, {plan.settings.direction_used}",
        ),
        ("Images", f"{data.get('root', '')} ({data.get('kind', '')})"),
        (
            "Images used",
            f"gradient {counts['forget']} to forget + {counts['retain']} to keep; "
            f"search {len(plan.splits.search)}; test {len(result.proof.samples)}",
        ),
        ("Floors not measured", ", ".join(_not_measured(result)) or "none"),
        ("Templates", f"{len(plan.templates)}, such as “{plan.templates[0]}”"),
        ("Seed", str(plan.settings.seed)),
        (
            "Time",
            f"{seconds['total']:.1f} s (gradients {seconds['gradients']:.1f} s, "
            f"search {seconds['search']:.1f} s)",
        ),
        ("Patch", "not written" if patch is None else str(patch)),
        ("Patch SHA-256", patch_sha256(result, patch) or "-"),
    ]


def _versions() -> dict[str, str]:
    names = ("torch", "open_clip_torch", "numpy", "matplotlib")
    found = {"slsgu": metadata_version(), "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # vendored or built by hand
            continue
    return found
