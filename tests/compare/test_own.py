"""Whatever the code of a user does wrong is a failed row that says what, and no more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import slsgu
from slsgu.baselines.ascent import GA
from slsgu.baselines.controls import nothing
from slsgu.baselines.train import Budget
from slsgu.compare.bench import Bench
from slsgu.compare.cells import Cell
from slsgu.compare.own import blaming, refuse_unusable
from slsgu.compare.run import Effort, Job, run_cell
from slsgu.errors import ModelError, SlsguError
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit
from slsgu.task.task import Task

LAYER = "text_projection"
EFFORT = Effort(Budget(cap=32, batch=8, checks=2), quick=True)


@pytest.fixture(scope="module")
def bench(taught_dir: Path, photos: Path) -> Bench:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    limits = slsgu.Limits(gradient=4, search=4, test=4)
    settings = slsgu.DataSettings(limits=limits)
    clip = slsgu.load(f"local-dir:{taught_dir}")
    task = slsgu.make_task(clip, ["beagle"], settings=settings, **where)
    return Bench.of(task, never_knew=0.5)


def run(bench: Bench, method: Any, name: str = "mine") -> Cell:
    return run_cell(bench, Job(name, 0, 1), method, EFFORT, None)


def editing(change: Callable[[Tensor], Any], **given: Any) -> Any:
    """A method that changes one layer."""

    def method(task: Task, ledger: object, progress: object) -> Edit:
        weight = task.clip.model.get_parameter(LAYER).detach().clone()
        return Edit(Patch({LAYER: change(weight)}, {LAYER: weight}), **given)

    return method


def raising(error: BaseException) -> Any:
    def method(task: Task, ledger: object, progress: object) -> Edit:
        raise error

    return method


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class OddError(BaseException):
    pass


def test_a_good_edit_is_measured(bench: Bench) -> None:
    """Control."""
    cell = run(bench, editing(lambda w: 0.1 * torch.ones_like(w)))
    assert not cell.failed and 0 <= cell.score["forget_fine"] <= 1


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (lambda *_: None, "method() returned None, not an Edit"),
        (lambda *_: 5, "method() returned a value of type int, not an Edit"),
        (lambda *_: Edit(5), "the `patch` of its Edit is a value of type int, not a Patch"),
        (lambda: None, "method() ended with TypeError: "),
        (raising(ValueError("boom")), "method() ended with ValueError: boom"),
        (raising(ValueError("a\n\x1b[2J")), "method() ended with ValueError: a \ufffd[2J"),
        (raising(MuteError()), "method() ended with MuteError: (it fails to say what)"),
        (raising(SystemExit(0)), "method() ended with SystemExit: 0"),
        (raising(OddError("odd")), "method() ended with OddError: odd"),
        (raising(RecursionError()), "method() ended with RecursionError"),
        (editing(lambda w: w.double()), "the change of text_projection in a patch is float64, not"),
        (editing(lambda w: w.long()), "is int64, not floating point"),
        (editing(lambda w: w.to_sparse()), "is sparse or quantised, not a dense tensor"),
        (editing(lambda w: w.to("meta")), "is on the meta device, where tensors hold no values"),
        (editing(lambda w: w[:1]), "the change of text_projection is [1, "),
        (editing(lambda w: 3), "is a value of type int, not a tensor"),
        (lambda *_: Edit(Patch({}, {})), "its patch changes no layer"),
        (editing(torch.zeros_like), "its patch changes nothing"),
        (editing(lambda w: torch.full_like(w, 1e-30)), "its patch changes nothing"),
        (editing(lambda w: 0.1 * w, measures=3), "the `measures` of its Edit are a value"),
        (editing(lambda w: 0.1 * w, settings={"x": {1}}), "its Edit cannot be written down: "),
        (editing(lambda w: 0.1 * w, gradients=-1), "gradients is -1, and not a whole number"),
        (editing(lambda w: 0.1 * w, seconds={"a": -1.0}), "seconds is -1.0, and not a time"),
        (editing(lambda w: 0.1 * w, seconds=3), "method() ended with AttributeError"),
    ],
)  # fmt: skip
def test_what_it_does_wrong_is_a_failed_row(bench: Bench, method: Any, told: str) -> None:
    cell = run(bench, method)
    assert told in cell.failed and cell.failed.isprintable() and not cell.score


def test_an_interrupt_stays_what_it_is(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(bench, raising(KeyboardInterrupt()))


def test_a_mistake_of_ours_is_no_failed_row(bench: Bench) -> None:
    """Of a method by name: there it is a bug, which is to be seen."""
    with pytest.raises(ValueError, match="a bug"):
        run(bench, raising(ValueError("a bug")), "ga")


def test_the_control_that_changes_nothing_stays(bench: Bench) -> None:
    assert run(bench, nothing, "nothing").score and not run(bench, nothing, "mine").score


def test_a_method_that_changes_the_model_itself_stops_the_comparison(bench: Bench) -> None:
    weight = bench.task.clip.model.get_parameter(LAYER)
    before = weight.detach().clone()

    def spoiling(task: Task, ledger: object, progress: object) -> None:
        weight.data.zero_()

    try:
        with pytest.raises(ModelError, match=r"changed the model itself.*work on a copy"):
            run(bench, spoiling)
    finally:
        weight.data.copy_(before)
    assert run(bench, lambda *_: None).failed  # control


def test_the_working_directory_is_afterwards_what_it_was(tmp_path: Path) -> None:
    before = Path.cwd()
    with blaming("it"):
        os.chdir(tmp_path)
    assert Path.cwd() == before


class Knob:
    """A method with a knob that says odd things of itself."""

    random = False
    variant = "odd"

    def __init__(self, values: Any) -> None:
        self.values = values

    def at(self, value: float) -> Knob:
        return self

    within = seeded = at

    def __call__(self, *_: object) -> Edit:
        raise AssertionError("it was run")


@pytest.mark.parametrize("values", [None, 5, (), ("a",), (float("nan"),), (True,)])
def test_a_knob_without_numbers_is_refused_before_it_runs(values: Any) -> None:
    with pytest.raises(SlsguError, match=r"`values` of `method` must be|ended with TypeError"):
        refuse_unusable(Knob(values))
    refuse_unusable(Knob((0.1, 0.2)))  # control
    refuse_unusable(GA)


def test_a_knob_is_tuned_by_measures_that_must_be_there(bench: Bench) -> None:
    class Silent(Knob):
        def __call__(self, *given: Any) -> Edit:
            return editing(lambda w: 0.1 * w)(*given)

    assert "has no `measures`" in run(bench, Silent((0.1, 0.2))).failed
