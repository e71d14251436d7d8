"""Run methods side by side: each is tuned on the search split, and what it chose is measured on the
test split. What is done is kept, cell by cell, so that an interrupted comparison goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace

from slsgu.baselines.iterative import RATES, Tunable
from slsgu.baselines.train import Budget
from slsgu.compare.bench import Bench
from slsgu.compare.cells import Cell, Store
from slsgu.compare.own import blaming, leaving, message, refuse_no_change, refuse_odd, refuse_unfit
from slsgu.compare.table import kind_of
from slsgu.compare.tune import TUNING, tune
from slsgu.errors import SlsguError
from slsgu.search.method import Edit, Method
from slsgu.task.task import Task
from slsgu.utils.files import json_sha256
from slsgu.utils.wording import in_a_line, listed
from slsgu.version import __version__

QUICK_RATES = RATES[1:]
BLIND = "could not be tuned, for Q-U cannot be measured on the search images"
CAP, SCALE = 480, 50  # image gradients of a run for every so many images to be forgotten


@dataclass(frozen=True)
class Effort:
    """How much is spent on each method.

    Attributes:
        budget: of one run.
        seeds: how many, where a method is random.
        quick: two values of each rate, and no training after an edit.
    """

    budget: Budget
    seeds: int = 3
    quick: bool = False

    @classmethod
    def of(cls, task: Task, *, cap: int | None, seeds: int | None, quick: bool) -> Effort:
        """What is spent on a task by default: more image gradients on more images."""
        batches = math.ceil(len(task.forget_samples) / SCALE)
        if cap is None:
            cap = (CAP // 2 if quick else CAP) * max(1, batches)
        return cls(Budget(cap=cap, checks=4 if quick else 6), seeds or (1 if quick else 3), quick)


@dataclass(frozen=True)
class Job:
    """A cell that is to be filled, and about how much work it is."""

    method: str
    seed: int
    weight: int


def jobs_of(methods: Mapping[str, Method], effort: Effort) -> list[Job]:
    """All cells, the first seed of each method before its others."""
    jobs = []
    for name, method in methods.items():
        random = bool(getattr(method, "random", False))
        for seed in range(effort.seeds if random else 1):
            grid = len(method.values) if isinstance(method, Tunable) and seed == 0 else 0
            jobs.append(Job(name, seed, 1 + grid))
    return jobs


def run_jobs(
    bench: Bench, methods: Mapping[str, Method], jobs: Sequence[Job], effort: Effort, store: Store
) -> list[Cell]:
    """Fill cells in order; those that are there are taken as they are.

    Raises:
        DataError: images cannot be used.
    """
    cells: list[Cell] = []
    spent, worked = 0.0, 0
    for number, job in enumerate(jobs):
        tuned = (c.value for c in cells if c.method == job.method and c.value is not None)
        value = next(tuned, None)
        cell = store.load(job.method, job.seed)
        if cell is not None and None not in (value, cell.value) and cell.value != value:
            cell = None  # of another tuning
        if cell is None:
            start = time.perf_counter()
            cell = run_cell(bench, job, methods[job.method], effort, value)
            store.save(cell)
            spent, worked = spent + time.perf_counter() - start, worked + job.weight
            left = sum(each.weight for each in jobs[number + 1 :])
            bench.progress.say(_told(cell, number + 1, len(jobs), left * spent / worked))
        elif cell.failed:
            bench.progress.say(
                f"note: {_named(cell)} failed in an earlier run and is not tried again: "
                f"{cell.failed}. To try it again, remove {store.path(cell.method, cell.seed)}"
            )
        cells.append(cell)
    return cells


def run_cell(bench: Bench, job: Job, method: Method, effort: Effort, value: float | None) -> Cell:
    """Tune a method, or take the value that its first seed was tuned to, and measure its edit.

    Raises:
        ModelError: a method of the user has changed the model that it was to edit.
    """
    empty = Cell(job.method, job.seed, value, (), {}, 0, 0.0, "")
    own = kind_of(job.method) == "yours"
    with leaving(bench.task.clip, job.method) if own else nullcontext():
        try:
            with blaming("method()") if own else nullcontext():
                empty = replace(empty, variant=_variant(method))
                cell = _filled(empty, bench, method, effort, own=own)
                refuse_odd(cell)
                return cell
        except SlsguError as error:
            words = message(error.problem)
            return replace(empty, failed=words or type(error).__name__)


def _filled(empty: Cell, bench: Bench, method: Method, effort: Effort, *, own: bool) -> Cell:
    """A cell with what its method comes to.

    Args:
        own: whether it is a method of the user.

    Raises:
        SlsguError: there is no edit, or none that can be measured.
    """
    value, seed = empty.value, empty.seed
    tuning: tuple[Mapping[str, object], ...] = ()
    note = ""
    if isinstance(method, Tunable):
        method = _prepared(method, effort).seeded(seed)
        if value is None:
            tuned = tune(method, lambda each: _carry_out(bench, each))
            edit, value = tuned.edit, tuned.value
            tuning = tuple(each.to_json() for each in tuned.tried)
            note = BLIND if tuned.blind else ""
        else:
            edit = _carry_out(bench, method.at(value))
    else:
        seeded = getattr(method, "seeded", None)
        edit = _carry_out(bench, method if seeded is None else seeded(seed))
    if own:
        refuse_no_change(edit.patch)
    score = bench.measure(edit.patch, relearn=seed == 0 and not effort.quick)
    return replace(
        empty,
        value=value,
        tuning=tuning,
        score=score,
        gradients=edit.gradients,
        seconds=sum(edit.seconds.values()),
        settings=dict(edit.settings),
        note=note or _unmet(edit, bench.task.request.title),
    )


def _unmet(edit: Edit, title: str) -> str:
    """That a search has not met its own goal, in words; empty if it has, or has none."""
    if edit.trace is None or edit.measures is None:
        return ""
    misses = edit.trace.goal.misses(edit.measures, title)
    return f"does not meet its goal on the search images: {listed(misses)}" if misses else ""


def _variant(method: Method) -> str:
    """The first line of what a method says of itself."""
    words = getattr(method, "variant", None) or getattr(method, "__doc__", None) or ""
    lines = str(words).splitlines()
    return in_a_line(lines[0]) if lines else ""


def comparison_key(bench: Bench, effort: Effort) -> str:
    """What decides the figures of a cell, but for its method and seed: the version, too, since with
    it a method may change."""
    return json_sha256([__version__, TUNING, bench.key(), asdict(effort.budget), effort.quick])


def _prepared(method: Tunable, effort: Effort) -> Tunable:
    method = method.within(effort.budget)
    if effort.quick and method.values == RATES:
        method = replace(method, values=QUICK_RATES)  # type: ignore[type-var]
    return method


def _carry_out(bench: Bench, method: Method) -> Edit:
    """Run a method; where it says nothing of its time, measure it.

    Raises:
        SlsguError: what it returns is no edit.
    """
    start = time.perf_counter()
    edit = method(bench.task, bench.ledger, bench.progress)
    refuse_unfit(edit)
    if edit.seconds:
        return edit
    return replace(edit, seconds={"total": time.perf_counter() - start})


def _told(cell: Cell, done: int, total: int, left: float) -> str:
    """One line about a cell that is done, and when all will be."""
    if cell.failed:
        what = f"failed: {cell.failed}"
    else:
        q_u = cell.score["q_u"]
        what = f"Q-U {'-' if q_u is None else f'{q_u:.1%}'}, {cell.seconds:.0f} s"
    minutes = round(left / 60)
    ahead = f", {f'about {minutes}' if minutes else 'less than 1'} min left" if done < total else ""
    return f"[{done}/{total}] {_named(cell)}: {what}{ahead}"


def _named(cell: Cell) -> str:
    return f"{cell.method}, seed {cell.seed}" if cell.seed else cell.method
