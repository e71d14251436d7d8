"""What a comparison comes to: a row for each method, with the mean and deviation over seeds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from slsgu.baselines.methods import CONTROLS, METHODS, OURS
from slsgu.compare.cell_schema import ALSO
from slsgu.compare.cells import Cell
from slsgu.compare.tune import at_edge

Kind = Literal["ours", "baseline", "control", "yours"]
Format = Literal["share", "count", "seconds"]


@dataclass(frozen=True)
class Column:
    """A figure of the table.

    Attributes:
        key: what it is called in files.
        heading: what it is called for people.
        format: how it is written.
        better: which end is better: `high`, `low`, or neither.
        brief: whether it is in the table on the screen.
    """

    key: str
    heading: str
    format: Format = "share"
    better: Literal["high", "low", ""] = ""
    brief: bool = False


COLUMNS = (
    Column("q_u", "Q-U", better="high", brief=True),
    Column("quality", "quality", better="high", brief=True),
    Column("utility", "utility", better="high", brief=True),
    Column("forget_fine", "forget fine", better="low", brief=True),
    Column("forget_coarse", "forget coarse", better="high"),
    Column("retain_fine", "others fine", better="high"),
    Column("retain_coarse", "others coarse", better="high"),
    Column("forget_at_5", "forget@5", better="low", brief=True),
    Column("elsewhere", "forget fine, elsewhere", better="low", brief=True),
    Column("five_shot", "5-shot", brief=True),
    Column("linear_probe", "linear probe", brief=True),
    Column("distance", "from never knew", better="low", brief=True),
    Column("relearned_forget_fine", "name, after 20 steps", better="low", brief=True),
    Column("relearned_five_shot", "5-shot, after 20 steps"),
    Column("relearned_linear_probe", "probe, after 20 steps"),
    Column("gradients", "gradients", "count", better="low"),
    Column("all_gradients", "gradients, tuning too", "count", better="low", brief=True),
    Column("seconds", "seconds", "seconds", better="low"),
    Column("all_seconds", "seconds, tuning too", "seconds", better="low", brief=True),
    Column("moved_entries", "weights moved", "count", brief=True),
    Column("moved_layers", "tensors moved", "count"),
)


@dataclass(frozen=True)
class Row:
    """A method in the table.

    Attributes:
        method: its name.
        kind: ours, a baseline, a control, or the user's own.
        seeds: how many runs the figures are of.
        means: of each figure, by its key; None where it is not measured.
        deviations: standard deviation over seeds, likewise; None with a single seed.
        knob: value that was chosen on the search split; None without one.
        at_edge: whether nothing was tried beyond it.
        variant: which formula it is.
        failed: why there are no figures; empty if there are some.
        notes: what must be known of the figures: runs that failed, a goal that was not met.
    """

    method: str
    kind: Kind
    seeds: int
    means: Mapping[str, float | None]
    deviations: Mapping[str, float | None]
    knob: float | None
    at_edge: bool
    variant: str
    failed: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def columns_of(rows: Sequence[Row]) -> tuple[Column, ...]:
    """All columns, with those of other data sets behind the accuracies."""
    others = dict.fromkeys(key for row in rows for key in row.means if key.startswith(ALSO))
    added = tuple(
        Column(key, f"also {key.removeprefix(ALSO)}", better="high", brief=True) for key in others
    )
    place = next(i for i, column in enumerate(COLUMNS) if column.key == "forget_at_5")
    return (*COLUMNS[:place], *added, *COLUMNS[place:])


def rows_of(cells: Sequence[Cell]) -> list[Row]:
    """One row for each method, the highest Q-U first; those that failed come last."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.method, []).append(cell)
    rows = [_row(name, own) for name, own in groups.items()]
    return sorted(rows, key=lambda row: (bool(row.failed), -(row.means.get("q_u") or 0.0)))


def _row(name: str, cells: Sequence[Cell]) -> Row:
    failures = [cell.failed for cell in cells if cell.failed]
    done = [cell for cell in cells if not cell.failed]
    first = next((cell for cell in cells if cell.tuning), cells[0])
    figures = [_figures(cell, first) for cell in done]
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for key in dict.fromkeys(key for each in figures for key in each):
        values = [value for each in figures if (value := each.get(key)) is not None]
        means[key] = statistics.fmean(values) if values else None
        deviations[key] = statistics.stdev(values) if len(values) > 1 else None
    tried = [each["value"] for each in first.tuning]
    return Row(
        method=name,
        kind=kind_of(name),
        seeds=len(done),
        means=means,
        deviations=deviations,
        knob=first.value,
        at_edge=at_edge(first.value, tried),
        variant=first.variant,
        failed="" if done else failures[0],
        notes=_notes(cells, failures if done else []),
    )


def _notes(cells: Sequence[Cell], failures: Sequence[str]) -> tuple[str, ...]:
    """What must be known of the figures of a method, that of several runs once."""
    notes = []
    if failures:
        notes.append(f"{len(failures)} of {len(cells)} runs failed: {failures[0]}")
    for note, count in Counter(cell.note for cell in cells if cell.note).items():
        notes.append(note if len(cells) == 1 else f"{count} of {len(cells)} runs: {note}")
    return tuple(notes)


def _figures(cell: Cell, first: Cell) -> dict[str, float | None]:
    """The figures of one run. Tuning was done once, with the first seed that did not fail: each run
    owes it."""
    return {
        **cell.score,
        "gradients": cell.gradients,
        "all_gradients": first.tuning_gradients or cell.gradients,
        "seconds": cell.seconds,
        "all_seconds": _all_seconds(cell, first),
    }


def _all_seconds(cell: Cell, first: Cell) -> float:
    """Reading the images once, and every run of the grid; without a grid, the run."""
    if not first.tuning:
        return cell.seconds
    chosen = next(each for each in first.tuning if each["value"] == first.value)
    reading = max(0.0, first.seconds - float(chosen["seconds"]))
    return reading + first.tuning_seconds


def kind_of(method: str) -> Kind:
    """Which kind a method is."""
    if method not in METHODS:
        return "yours"
    return "ours" if method in OURS else "control" if method in CONTROLS else "baseline"


def written(value: float | None, column: Column, deviation: float | None = None) -> str:
    """A figure for people.

    >>> written(0.98765, Column("q_u", "Q-U"), 0.01), written(1234567, Column("x", "x", "count"))
    ('0.988 ± 0.010', '1,234,567')
    """
    if value is None:
        return "-"
    if column.format == "count":
        return f"{value:,.0f}"
    if column.format == "seconds":
        return f"{value:.1f}"
    return f"{value:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
