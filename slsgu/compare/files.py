"""A comparison as JSON, CSV and Markdown.

Names of classes, data sets and methods, and what a method says of itself or of its failure, are
other people's texts: in no file do they hold what a terminal, a page or a spreadsheet would obey.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from slsgu.compare.bench import Bench
from slsgu.compare.cells import Cell
from slsgu.compare.run import Effort
from slsgu.compare.table import Column, Row, columns_of, written
from slsgu.utils.wording import markdown, printable, printed
from slsgu.version import __version__

SCHEMA = 1
_MARK = "*"  # behind the name of a method of which more must be known
_FORMULA = re.compile("[=+@\\-\t\r\uff1d\uff0b\uff0d\uff20]")  # begins one, also in full width


def as_json(
    bench: Bench, rows: Sequence[Row], cells: Sequence[Cell], effort: Effort, command: str | None
) -> dict[str, Any]:
    """Everything, cells and settings included."""
    task = bench.task
    value = {
        "schema": SCHEMA,
        "version": __version__,
        "command": command,
        "request": task.request.describe(),
        "model": task.clip.describe(),
        "data": task.splits.description,
        "images": {split: len(task.splits.of(split)) for split in ("gradient", "search", "test")},
        "effort": asdict(effort),
        "reference": bench.reference.to_json(),
        "before": bench.before,
        "notes": list(bench.notes),
        "columns": [asdict(column) for column in columns_of(rows)],
        "rows": [row.to_json() for row in rows],
        "cells": [cell.to_json() for cell in cells],
    }
    return {key: printed(part) for key, part in value.items()}


def as_csv(rows: Sequence[Row], before: Mapping[str, Any]) -> str:
    """A row for each method with every figure, and one for the unedited model."""
    columns = columns_of(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = [column.key for column in columns]
    headings = [*keys, *(f"{key}_std" for key in keys)]
    writer.writerow(["method", "kind", "seeds", "knob", *map(_text, headings), "variant"])
    empty = [""] * len(keys)
    writer.writerow(["before", "", "", "", *(_cell(before.get(key)) for key in keys), *empty, ""])
    for row in rows:
        means = [_cell(row.means.get(key)) for key in keys]
        spread = [_cell(row.deviations.get(key)) for key in keys]
        knob = _cell(row.knob)
        texts = (_text(row.method), _text(row.variant))
        writer.writerow([texts[0], row.kind, row.seeds, knob, *means, *spread, texts[1]])
    return out.getvalue()


def as_markdown(title: str, bench: Bench, rows: Sequence[Row], effort: Effort) -> str:
    """The table for a page, with what stands beside it."""
    measured = _measured(rows)
    columns = [column for column in columns_of(rows) if column.key in measured]
    heading = ["method", *(markdown(column.heading) for column in columns)]
    lines = [f"# {markdown(title)}", "", *_rule(heading)]
    lines.append(_line(["*before*", *(written(bench.before.get(c.key), c) for c in columns)]))
    lines.append(_line(["*never knew*", *(_never(bench, column) for column in columns)]))
    for row in rows:
        lines.append(_line([_name(row), *(_figure(row, column) for column in columns)]))
    lines += [
        "",
        f"Never knew: {markdown(bench.reference.title)}. An iterative method trains on at most "
        f"{effort.budget.cap} image gradients a run. ± is the standard deviation over runs.",
        "",
        *(line for note in bench.notes for line in (f"Note: {markdown(note)}.", "")),
        *_rule(["method", "variant", "knob", "runs"]),
    ]
    for row in rows:
        words = "; ".join((row.failed or row.variant, *row.notes))
        lines.append(_line([_name(row), markdown(words), _knob(row), str(row.seeds)]))
    return "\n".join(lines) + "\n"


def screen_table(bench: Bench, rows: Sequence[Row]) -> list[list[str]]:
    """The brief table: heading, the unedited model, what never knew, and a line for each method."""
    measured = _measured(rows)
    columns = [column for column in columns_of(rows) if column.brief and column.key in measured]
    table = [["method", *(printable(column.heading) for column in columns)]]
    table.append(["(before)", *(written(bench.before.get(c.key), c) for c in columns)])
    table.append(["(never knew)", *(_never(bench, column) for column in columns)])
    for row in rows:
        figures = [written(row.means.get(column.key), column) for column in columns]
        table.append([f"{row.method}{_MARK if row.notes else ''}", *figures])
    return table


def notes_of(bench: Bench, rows: Sequence[Row]) -> list[str]:
    """What must be known of the table on the screen, a line each."""
    marked = [f"{_MARK} {row.method}: {note}" for row in rows for note in row.notes]
    return [*marked, *(f"note: {note}" for note in bench.notes)]


def _measured(rows: Sequence[Row]) -> set[str]:
    """The figures that any row has."""
    return {key for row in rows for key, value in row.means.items() if value is not None}


def _never(bench: Bench, column: Column) -> str:
    value = bench.reference.values.get(column.key)
    return "" if value is None else written(value, column)


def _figure(row: Row, column: Column) -> str:
    return written(row.means.get(column.key), column, row.deviations.get(column.key))


def _knob(row: Row) -> str:
    if row.knob is None:
        return ""
    return f"{row.knob:g}" + (" (at the edge of what was tried)" if row.at_edge else "")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.10g}"


def _text(text: str) -> str:
    """Somebody's text in a field of CSV, which no spreadsheet takes for a formula.

    >>> _text("=1+1"), _text("eq. 2")
    ("'=1+1", 'eq. 2')
    """
    shown = printable(text)
    return f"'{shown}" if _FORMULA.match(text.strip()) or _FORMULA.match(text) else shown


def _name(row: Row) -> str:
    """The name of a method in Markdown: as code where nothing in it can end code."""
    plain = re.fullmatch(r"[\w.-]+", row.method)
    return f"`{row.method}`" if plain else markdown(row.method)


def _rule(heading: Sequence[str]) -> list[str]:
    return [_line(heading), "|" + "---|" * len(heading)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
