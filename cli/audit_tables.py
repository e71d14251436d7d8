"""The tables that `audit` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .console import echo_table, interval, percent

if TYPE_CHECKING:
    from slsgu.audit.probe import ProbeReading
    from slsgu.audit.run import Audit

WIDTH = 96
LONGEST = 44  # characters of a setting


def print_audit(found: Audit) -> None:
    """The verdict, the reasons, and a row for every reading."""
    referred = any(reading.never_knew is not None for reading in found.readings)
    beside = ("never knew", "distance") if referred else ()
    rows: list[tuple[str, ...]] = [
        ("probe", "setting", "before", "after", "95 % interval after", *beside, "chance", "count")
    ]
    probe = ""
    for reading in found.readings:
        named = "" if reading.probe == probe else reading.probe
        rows.append((named, *_cells(reading, referred=referred)))
        probe = reading.probe
    echo_table(rows, left=2)
    notes = [f"{x.probe}, {x.setting}: {x.note}" for x in found.readings if x.note]
    if notes:
        click.echo("")
        for note in notes:
            click.echo(textwrap.fill(note, WIDTH, subsequent_indent="  "))
    click.echo(f"\n{headline(found)}\n")
    for reason in found.verdict.reasons:
        click.echo(textwrap.fill(reason, WIDTH, initial_indent="  ", subsequent_indent="  "))
    click.echo("")


def headline(found: Audit) -> str:
    """The verdict in a line."""
    names: Sequence[str] = found.about["request"]["concepts"]
    return f"{' and '.join(names)}: {found.verdict.word}"


def _cells(reading: ProbeReading, *, referred: bool) -> tuple[str, ...]:
    setting = textwrap.shorten(reading.setting, LONGEST, placeholder=" ...")
    if reading.before is None:
        return (setting, "-", "-", *([""] * (5 if referred else 3)))
    number = _area if reading.kind == "trace" else percent
    far = reading.distance
    never = "" if reading.never_knew is None else number(reading.never_knew)
    beside = (never, "" if far is None else f"{far * 100:+.1f}") if referred else ()
    return (
        setting if reading.measurable else f"{setting} (not measurable)",
        number(reading.before),
        number(reading.after),
        interval(reading.after_interval) if reading.kind != "trace" else _areas(reading),
        *beside,
        number(reading.chance),
        str(reading.count),
    )


def _area(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _areas(reading: ProbeReading) -> str:
    bounds = reading.after_interval
    return "" if bounds is None else f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"
