"""Cells and what they come to: kept whole, and put together over seeds."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from slsgu.compare.cells import Cell, Store
from slsgu.compare.files import as_csv
from slsgu.compare.table import COLUMNS, Column, columns_of, kind_of, rows_of, written


def cell(method: str = "ga", seed: int = 0, **given: Any) -> Cell:
    parts: dict[str, Any] = {
        "value": 4.0,
        "tuning": () if seed else (
            {"value": 1.0, "q_u": 0.2, "seconds": 3.0, "gradients": 10},
            {"value": 4.0, "q_u": 0.8, "seconds": 5.0, "gradients": 10},
        ),
        "score": {"q_u": 0.8 + seed / 10, "distance": None, "also_pets": 0.5},
        "gradients": 10,
        "seconds": 7.0,
        "variant": "eq. 2",
    }  # fmt: skip
    return Cell(method, seed, **{**parts, **given})


def test_a_cell_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path, "key")
    store.save(cell())
    assert store.load("ga", 0) == cell()
    assert store.load("ga", 1) is None and store.load("npo", 0) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "key"}', '{"key": "key", "x": 1}'])
def test_what_cannot_be_used_is_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path, "key")
    store.save(cell())
    assert Store(tmp_path, "another").load("ga", 0) is None
    (path,) = (tmp_path / "cells").iterdir()
    path.write_text(damage)
    assert store.load("ga", 0) is None
    store.save(cell())
    assert store.load("ga", 0) == cell()  # control


def test_a_method_whose_file_has_changed_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path, "key", {"mine": "one"})
    for method in ("mine", "ga"):
        store.save(cell(method))
    edited = Store(tmp_path, "key", {"mine": "two"})
    assert edited.load("mine", 0) is None and Store(tmp_path, "key").load("mine", 0) is None
    assert store.load("mine", 0) == cell("mine")  # control: the same file
    assert edited.load("ga", 0) == cell("ga")  # control: of another method nothing has changed


def test_a_row_has_mean_and_deviation_over_seeds() -> None:
    (row,) = rows_of([cell(), cell(seed=1), cell(seed=2)])
    assert row.seeds == 3 and row.means["q_u"] == pytest.approx(0.9)
    assert row.deviations["q_u"] == pytest.approx(0.1)
    assert row.means["distance"] is None and row.deviations["distance"] is None
    assert rows_of([cell()])[0].deviations["q_u"] is None


def test_tuning_is_paid_for() -> None:
    """Reading the images (2 s of 7) once, and both runs of the grid."""
    (row,) = rows_of([cell(), cell(seed=1)])
    assert row.means["all_seconds"] == pytest.approx((7 - 5) + 3 + 5)
    assert row.means["all_gradients"] == 20 and row.means["gradients"] == 10
    (plain,) = rows_of([cell(tuning=(), value=None)])
    assert plain.means["all_seconds"] == 7 and plain.means["all_gradients"] == 10


def test_tuning_is_paid_for_where_the_first_run_has_failed() -> None:
    lost = cell(failed="no memory", score={}, tuning=(), value=None)
    tuned = cell(seed=1, tuning=cell().tuning)
    (row,) = rows_of([lost, tuned, cell(seed=2)])
    assert row.means["all_gradients"] == 20 and row.knob == 4.0
    assert row.means["all_seconds"] == pytest.approx((7 - 5) + 3 + 5)


def test_the_highest_comes_first_and_what_failed_last() -> None:
    rows = rows_of([
        cell("ga"), cell("npo-kl", score={"q_u": 0.9}), cell("ft", failed="no images", score={}),
    ])  # fmt: skip
    assert [row.method for row in rows] == ["npo-kl", "ga", "ft"]
    assert rows[0].at_edge  # 4 is the largest value tried
    assert kind_of("slsgu") == "ours" and kind_of("nothing") == "control"
    assert kind_of("ga") == "baseline" and kind_of("mine") == "yours"


def test_of_several_runs_those_that_failed_are_counted() -> None:
    (row,) = rows_of([cell(), cell(seed=1, failed="no memory", score={}), cell(seed=2)])
    assert row.seeds == 2 and not row.failed and row.means["q_u"] == pytest.approx(0.9)
    assert row.notes == ("1 of 3 runs failed: no memory",)
    notes = [cell(note="goal"), cell(seed=1), cell(seed=2, note="goal")]
    assert rows_of(notes)[0].notes == ("2 of 3 runs: goal",)
    assert rows_of([cell()])[0].notes == ()  # control
    (lost,) = rows_of([cell(failed="no memory", score={})])
    assert lost.failed == "no memory" and lost.notes == () and lost.seeds == 0


def test_the_csv_has_every_figure() -> None:
    rows = rows_of([cell(), cell(seed=1)])
    columns = columns_of(rows)
    assert Column("also_pets", "also pets", better="high", brief=True) in columns
    assert set(COLUMNS) < set(columns)
    read = list(csv.DictReader(io.StringIO(as_csv(rows, {"q_u": 0.0}))))
    assert [line["method"] for line in read] == ["before", "ga"]
    assert float(read[1]["q_u"]) == pytest.approx(0.85) and read[1]["distance"] == ""
    assert float(read[1]["q_u_std"]) == pytest.approx(0.0707, abs=1e-4)


def test_figures_are_written_as_people_read_them() -> None:
    assert written(None, Column("x", "x")) == "-"
    assert written(0.5, Column("x", "x")) == "0.500"
    assert written(1234.4, Column("x", "x", "count")) == "1,234"
    assert written(1234.44, Column("x", "x", "seconds")) == "1234.4"
