"""The audit on paper: `audit.json` for programs, `audit.html` for people, and the verdict that
leads the report of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slsgu.audit.probe import ProbeReading
from slsgu.audit.run import Audit
from slsgu.concepts.request import Request
from slsgu.errors import ArtifactError, SlsguError
from slsgu.report.audit_pictures import relearning_curves, stage_curve
from slsgu.report.page import rendered
from slsgu.report.values import plain
from slsgu.utils.files import read_json, write_json, write_text
from slsgu.utils.reading import read_text
from slsgu.utils.schema import (
    MisfitError,
    anything,
    count,
    flag,
    list_of,
    map_of,
    number,
    one_of,
    or_none,
    record,
    refuse_deep,
    text,
)
from slsgu.utils.wording import in_a_line
from slsgu.version import __version__

FILE, PAGE = "audit.json", "audit.html"
UNFINISHED = "audit.unfinished-{}.json"  # what has been read of an audit, by its key, until all is
BEGIN, END = "<!-- audit -->", "<!-- /audit -->"  # in report.html, what lies between is ours
_OURS = re.compile(f"{BEGIN}.*?{END}", re.S)


def _share(value: Any, key: str) -> None:
    """An accuracy, an area under a curve."""
    number(value, key)
    if not 0 <= value <= 1:
        raise MisfitError(f"{key} is {value}, and not a share from 0 to 1")


_FIGURES = record(
    {},
    {
        "positive": count,
        "negative": count,
        "steps": list_of(count),
        "curves": map_of(list_of(_share)),
        "way_back": number,
        "control_way_back": or_none(number),
        "faster": or_none(number),
        "teaches": number,
        "counts": flag,
        "classes": map_of(
            record(
                dict.fromkeys(("before", "after"), _share) | {"count": count, "pair_error": number}
            )
        ),
    },
)


def _extra(value: Any, key: str) -> None:
    """Further figures, those that are drawn or reasoned from."""
    _FIGURES(value, key)
    if (curves := value.get("curves")) is None:
        return
    steps = value.get("steps", [])
    if "after" not in curves or any(len(curve) != len(steps) for curve in curves.values()):
        raise MisfitError(f"{key}.curves does not fit {key}.steps")


_READING = record(
    {
        "probe": text,
        "setting": text,
        "count": count,
        "chance": or_none(_share),
        "before": or_none(_share),
        "after": or_none(_share),
        "never_knew": or_none(_share),
        "note": text,
        "kind": one_of("find", "keep", "trace"),
        "pair_error": or_none(number),
        "extra": _extra,
    }
)
HOLDS = record(
    {
        "schema": count,
        "key": text,
        "protocol": count,
        "edit": map_of(text),
        "request": record({"concepts": list_of(text)}),
        "model": map_of(anything),
        "data": map_of(anything),
        "towers": list_of(text),
        "reference": or_none(text),
        "seconds": map_of(number),
        "readings": list_of(_READING),
    }
)
"""What `audit.json` must hold, for it to be read again."""

TONES = {"removed": "good", "partly removed": "fair", "no verdict": "fair"}  # any other is bad


def write_audit(found: Audit, folder: Path, *, finished: bool = True) -> None:
    """Write `audit.json`; while there is more to be read, what there is, beside it.

    Raises:
        SlsguError: the disk refuses.
    """
    value = plain({**found.to_json(), "version": __version__})
    begun = folder / _unfinished(found.about["key"])
    write_json(folder / FILE if finished else begun, value)
    if finished:
        begun.unlink(missing_ok=True)


def _unfinished(key: str) -> str:
    """The file of an audit that has not read everything yet."""
    return UNFINISHED.format(key[:8])


def read_audit(
    folder: Path, say: Callable[[str], None] = lambda line: None, *, begun: str | None = None
) -> Audit | None:
    """The audit in a folder; None where there is none that can be read: it is then made again.

    Args:
        say: told of a file that is there and cannot be used.
        begun: the key of one that was interrupted, if that is meant.
    """
    path = folder / (FILE if begun is None else _unfinished(begun))
    if not os.path.lexists(path):
        return None
    try:
        value = read_json(path, "audit")
        if not isinstance(value, dict):
            raise MisfitError("it is no object")
        if value.get("schema") != 1:
            raise MisfitError("it is not of this version")
        refuse_deep(value)
        HOLDS(value, "")
        found = Audit.from_json(value)
        _ = found.to_json()  # values that fit one by one need not fit each other
    except (
        ArtifactError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
    ) as error:  # fmt: skip
        told = str(error) if str(path) in str(error) else f"{path}: {error}"
        say(f"note: the audit cannot be read and is made anew: {in_a_line(told)}")
        return None
    return found


def refuse_taken(folder: Path, request: Request) -> None:
    """Refuse a folder that holds the audit of another request, or an `audit.json` that is none. One
    that is damaged is replaced.

    Raises:
        ArtifactError: it does.
    """
    try:
        value = read_json(folder / FILE, "audit")
    except ArtifactError:
        return
    of = value.get("request") if isinstance(value, dict) else None
    wanted = request.describe()["paths"]
    if not isinstance(of, dict) or "readings" not in value:
        raise ArtifactError(
            f"{folder / FILE} is no audit, and would be replaced: give another --out, or leave it "
            "out"
        )
    if of.get("paths") != wanted:
        raise ArtifactError(
            f"{folder / FILE} is the audit of something else, not of {', '.join(wanted)}: give "
            "another --out, or leave it out"
        )


def remove_audit(folder: Path) -> None:
    """Take away an audit and its page."""
    begun = folder.glob(UNFINISHED.format("*"))
    for path in (folder / FILE, folder / PAGE, *begun):
        path.unlink(missing_ok=True)


def write_page(found: Audit, path: Path) -> None:
    """Write the audit as a page of its own.

    Raises:
        SlsguError: the disk refuses.
    """
    write_text(path, rendered("audit_page.html.j2", _view(found)))


def lead_report(folder: Path) -> bool:
    """Put the verdict at the head of the run's report.html, in place of an earlier one. An audit
    that has no verdict yet leads nothing.

    Returns:
        Whether there is a report, and an audit with a verdict.

    Raises:
        SlsguError: the disk refuses.
    """
    found, report = read_audit(folder), folder / "report.html"
    if found is None or not report.is_file():
        return False
    try:
        text = read_text(report, "the report")
    except SlsguError:
        return False
    leads = found.verdict.word != "no verdict"
    inside = f"\n{rendered('audit.html.j2', _view(found))}\n" if leads else ""
    section = f"{BEGIN}{inside}{END}"
    if _OURS.search(text):
        whole = _OURS.sub(lambda _: section, text, count=1)
    elif "<main>" in text:
        whole = text.replace("<main>", f"<main>\n{section}", 1)
    else:
        return False
    if whole != text:
        write_text(report, whole)
    return leads


def _view(found: Audit) -> dict[str, Any]:
    verdict = found.verdict
    groups: dict[str, list[ProbeReading]] = {}
    for reading in found.readings:
        groups.setdefault(reading.probe, []).append(reading)
    words = {
        "title": " and ".join(found.about["request"]["concepts"]),
        "word": verdict.word,
        "reasons": verdict.reasons,
        "reference": found.reference,
        "facts": _facts(found),
        "version": __version__,
        "seconds": sum(found.seconds.values()),
    }
    return {
        **plain(words),
        "tone": TONES.get(verdict.word, "bad"),
        "groups": [{"name": plain(name), "rows": _rows(own)} for name, own in groups.items()],
        "stages": stage_curve(found.readings),
        "relearning": relearning_curves(found.readings),
    }


def _rows(readings: list[ProbeReading]) -> list[dict[str, Any]]:
    rows = []
    for x in readings:
        row = {"setting": plain(x.setting), "note": plain(x.note), "kind": x.kind,
               "measurable": x.measurable, "count": x.count}  # fmt: skip
        if x.before is None or x.after is None or x.before_interval is None:
            rows.append({**row, "read": False})
            continue
        rows.append({
            **row, "read": True, "chance": x.chance, "before": x.before, "after": x.after,
            "before_interval": x.before_interval, "after_interval": x.after_interval,
            "never_knew": x.never_knew, "distance": x.distance,
        })  # fmt: skip
    return rows


def _facts(found: Audit) -> list[tuple[str, str]]:
    about = found.about
    return [
        ("Model", str(about["model"].get("name"))),
        ("Model SHA-256", str(about["model"].get("sha256"))),
        ("Layers", ", ".join(about["edit"]) if len(about["edit"]) < 6 else
         f"{len(about['edit'])} tensors"),
        ("Images", str(about["data"].get("root") or about["data"].get("kind"))),
        ("Protocol", str(about["protocol"])),
        ("Reference", found.reference or "none"),
        ("Time", f"{sum(found.seconds.values()):.0f} s"),
    ]  # fmt: skip
