"""The file of a cell is believed only if it could be one of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slsgu.compare.cells import Cell, Store
from slsgu.errors import ArtifactError

CELL = Cell(
    "ga", 0, 4.0,
    tuning=(
        {"value": 1.0, "q_u": 0.2, "q_u_at_end": None, "seconds": 3.0, "gradients": 10},
        {"value": 4.0, "q_u": 0.8, "q_u_at_end": 0.7, "seconds": 5.0, "gradients": 10},
    ),
    score={"q_u": 0.8, "forget_fine": 0.1, "distance": None, "also_pets": 0.5, "moved_entries": 7},
    gradients=10, seconds=7.0, variant="eq. 2", settings={"rate": 4.0, "checks": [{"q_u": 0.7}]},
)  # fmt: skip


class Kept:
    """A store, what it says, and the file of its one cell."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.store = Store(folder, "key", figures=("forget_fine",), say=self.said.append)
        self.store.save(CELL)
        (self.path,) = (folder / "cells").iterdir()

    def load(self) -> Cell | None:
        self.said.clear()
        return self.store.load("ga", 0)

    def put(self, place: tuple[Any, ...], value: Any) -> None:
        """Another value in a place of the file."""
        whole = json.loads(self.path.read_text())
        parent = whole
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = value
        self.path.write_text(json.dumps(whole))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("method",), "ft", "method is ft, and not ga"),
        (("seed",), 1, "seed is 1, and not 0"),
        (("seed",), "0.5", 'seed is "0.5", and not a whole number'),
        (("seed",), False, "seed is false, and not a whole number"),
        (("value",), 2.0, "value is 2.0, and tuning has not tried it"),
        (("value",), None, "value is None, and tuning has not tried it"),
        (("tuning",), {}, "tuning is an object of 0, and not a list"),
        (("tuning",), [], "value is 4.0, and tuning has not tried it"),
        (("tuning", 0, "q_u"), 1.5, r"tuning\[0\].q_u is 1.5, and not a share"),
        (("tuning", 0, "seconds"), "3", r'tuning\[0\].seconds is "3", and not a number'),
        (("tuning", 0), [1], r"tuning\[0\] is a list of 1, and not an object"),
        (("score",), [], "score is a list of 0, and not an object"),
        (("score",), {}, "score.q_u is missing"),
        (("score",), {"q_u": 0.5}, "score.forget_fine is missing"),
        (("score", "forget_fine"), -5, "score.forget_fine is -5, and not a share"),
        (("score", "forget_fine"), True, "score.forget_fine is true, and not a number"),
        (("score", "q_u"), 1e308, r"score.q_u is 1e\+308, and not a share"),
        (("score", "also_pets"), 2, "score.also_pets is 2, and not a share"),
        (("score", "moved_entries"), 0.5, "score.moved_entries is 0.5, and not a whole number"),
        (("score", "sum"), 0.5, "score.sum is no figure that is measured"),
        (("gradients",), 2**80, "gradients is 1208925819614629174706176, and not a whole number"),
        (("seconds",), -1, "seconds is -1, and not a time"),
        (("seconds",), float("nan"), "it holds NaN"),
        (("variant",), "\ud800", "variant is \ufffd, with characters that cannot be printed"),
        (("variant",), "a\x1b[2J", "variant is a\ufffd"),
        (("settings",), None, "settings is null, and not an object"),
        (("failed",), "no images", "score holds figures, and failed says"),
        (("more",), 1, "more is no key"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_told_with_file_and_key_and_the_method_runs_again(
    kept: Kept, place: tuple[Any, ...], value: Any, told: str
) -> None:
    assert kept.load() == CELL and not kept.said  # control
    kept.put(place, value)
    assert kept.load() is None
    (line,) = kept.said
    assert line.startswith(f"note: ga runs again: {kept.path}: ") and line.isprintable()
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(line)
    kept.store.save(CELL)
    assert kept.load() == CELL and not kept.said


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _itself(path: Path) -> None:
    path.symlink_to(path.name)


def _terabytes(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 42)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("put", [_fifo, _device, _itself, _terabytes])
def test_what_is_no_small_file_is_not_read(kept: Kept, put: Callable[[Path], None]) -> None:
    kept.path.unlink()
    assert kept.load() is None and not kept.said  # control: nothing there is no mistake
    put(kept.path)
    assert kept.load() is None
    assert len(kept.said) == 1 and str(kept.path) in kept.said[0]
    kept.store.save(CELL)
    assert kept.load() == CELL


def test_a_folder_in_the_way_is_told_before_a_method_runs(kept: Kept) -> None:
    kept.path.unlink()
    kept.path.mkdir()
    with pytest.raises(ArtifactError, match="is a folder where a file belongs: move it away"):
        kept.load()


def test_a_cell_of_another_comparison_is_no_mistake(kept: Kept) -> None:
    kept.put(("key",), "another")
    assert kept.load() is None and not kept.said


def test_methods_whose_names_differ_in_capitals_have_cells_of_their_own(tmp_path: Path) -> None:
    from dataclasses import replace

    store = Store(tmp_path, "key")
    cells = [replace(CELL, method=name) for name in ("ga", "GA", "g a", "g-a")]
    for each in cells:
        store.save(each)
    assert [store.load(each.method, 0) for each in cells] == cells
