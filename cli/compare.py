"""`slsgu compare`: every method of both papers and ours, on one task, side by side."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .compare_options import compare_options
from .compare_output import CompareOutput
from .compare_workers import end_with_parent, methods_of, own_share, spread
from .console import Console
from .data_options import (
    also_option,
    data_options,
    gradient_image_option,
    model_options,
    search_image_option,
    test_image_option,
)
from .groups import GroupedCommand
from .options import json_option, out_folder_option, what_to_forget
from .reference_options import reference_from, reference_options, refuse_two_references
from .search_options import activation_memory_option, machine_options
from .values import also_from, load_clip, settings_from

if TYPE_CHECKING:
    from slsgu.compare.bench import Bench
    from slsgu.compare.cells import Cell, Store
    from slsgu.compare.run import Effort, Job
    from slsgu.search.method import Method
    from slsgu.task.task import Task


@click.command(cls=GroupedCommand)
@what_to_forget
@model_options
@data_options
@reference_options
@also_option("Another data set, whose accuracy becomes a column")
@gradient_image_option
@search_image_option
@test_image_option("50; with --quick: 20")
@compare_options
@machine_options
@activation_memory_option
@out_folder_option(
    "Folder for the tables and figures. A comparison that was interrupted goes on there.  "
    "[default: runs/compare-<concept>]"
)
@json_option
def compare(out: Path | None, as_json: bool, jobs: int, **options: Any) -> None:
    """Run every method of both papers and ours on one task, side by side: what each forgets, what
    it keeps, what can still be found, and what it costs.

    Every method is tuned on the search images, by a small grid of its own knob, and what that
    chose is measured on the test images. Writes compare.json, compare.csv, compare.md and figures.
    What is done is not repeated when the same command is run again.
    """
    from slsgu.compare.run import jobs_of, run_jobs
    from slsgu.pipeline.run_folder import RUNS
    from slsgu.utils.files import slug

    if not options["concepts"]:
        raise click.UsageError("say what to forget: --concept NAME")
    share = own_share()
    given = _Given.of(options)
    console = Console()
    if share is not None:
        end_with_parent()
    task = given.task()
    effort = given.effort(task)
    output = CompareOutput(out or RUNS / f"compare-{slug(task.request.title)}")
    jobs = min(jobs, len(given.methods))  # each has a method of its own
    with output.held(task) if share is None else contextlib.nullcontext():
        if shared := jobs > 1 and share is None:
            spread(jobs, output.folder)
        bench = given.bench(task, console)
        store = given.store(output.folder, bench, effort, console)
        todo = jobs_of(given.methods, effort)
        if share is not None:
            own = methods_of(share, given.methods)
            todo = [job for job in todo if job.method in own]
        console.say(
            f"methods: {len(given.methods)}, runs to score: {len(todo)}, folder: {output.folder}; "
            f"an iterative method trains on at most {effort.budget.cap} image gradients a run"
        )
        if shared:
            _say_what_is_left(todo, store, console)
        cells = run_jobs(bench, given.methods, todo, effort, store)
        if share is None:
            cells += given.earlier(effort, store)
            output.publish(bench, cells, effort, as_json=as_json)


def _say_what_is_left(todo: list[Job], store: Store, console: Console) -> None:
    """Say that processes have ended well and not done their share."""
    left = [job for job in todo if store.load(job.method, job.seed) is None]
    if left:
        names = ", ".join(dict.fromkeys(job.method for job in left))
        console.say(
            f"note: the processes of --jobs have left {len(left)} of {len(todo)} runs undone, "
            f"which this one makes up for: {names}"
        )


@dataclass(frozen=True)
class _Given:
    """What the command line says, as far as it needs no images.

    Attributes:
        options: as they were typed.
        methods: what is run, by name.
        own: hash of the file of each method that is the user's own, by name.
    """

    options: dict[str, Any]
    methods: dict[str, Method]
    own: dict[str, str]

    @classmethod
    def of(cls, options: dict[str, Any]) -> _Given:
        refuse_two_references(options)
        if options["never_knew"] is not None and (options["control"] or options["unknown"]):
            raise click.UsageError(
                "--never-knew stands in for a reference: give it without --control and --unknown"
            )
        if options["quick"] and options["test_images"] is None:
            options = {**options, "test_images": 20}
        methods, own = _methods(options)
        return cls(options, methods, own)

    def earlier(self, effort: Effort, store: Store) -> list[Cell]:
        """The cells of methods that were not named now, and that this comparison has already."""
        from slsgu.baselines.methods import METHODS
        from slsgu.compare.run import jobs_of

        others = {name: METHODS[name] for name in METHODS if name not in self.methods}
        cells = (store.load(job.method, job.seed) for job in jobs_of(others, effort))
        return [cell for cell in cells if cell is not None]

    def effort(self, task: Task) -> Effort:
        """How much is spent on each method."""
        from slsgu.compare.run import Effort

        spent = {name: self.options[name] for name in ("cap", "seeds", "quick")}
        return Effort.of(task, **spent)

    def task(self) -> Task:
        from slsgu.task.task import make_task

        options = self.options
        settings = settings_from(options)
        return make_task(
            load_clip(options),
            options["concepts"],
            data=options["data"],
            taxonomy=options["taxonomy"],
            settings=settings.data,
            machine=settings.machine,
        )

    def bench(self, task: Task, console: Console) -> Bench:
        from slsgu.compare.bench import Bench
        from slsgu.task.settings import NEVER_KNEW

        for note in task.splits.notes:
            console.say(f"note: {note}")
        control, unknown = reference_from(self.options, task)
        never_knew = self.options["never_knew"]
        return Bench.of(
            task,
            never_knew=NEVER_KNEW if never_knew is None else never_knew,
            control=control,
            unknown=unknown,
            also=also_from(self.options),
            elsewhere=self.options["elsewhere"],
            progress=console,
        )

    def store(self, folder: Path, bench: Bench, effort: Effort, console: Console) -> Store:
        """Where the cells are kept."""
        from slsgu.compare.cells import Store
        from slsgu.compare.run import comparison_key

        (folder / "cells").mkdir(parents=True, exist_ok=True)
        key = comparison_key(bench, effort)
        return Store(folder, key, self.own, figures=tuple(bench.before), say=console.say)


def _methods(options: dict[str, Any]) -> tuple[dict[str, Method], dict[str, str]]:
    """The methods that were named, or all, and the user's own; and a hash of each of the latter.

    Raises:
        click.UsageError: there is none of that name, or one stands twice.
    """
    from slsgu.baselines.methods import METHODS
    from slsgu.utils.names import did_you_mean
    from slsgu.utils.wording import printable

    from .own_method import own_method

    listed = options["methods"]
    wanted = [name.strip() for name in (listed or "").split(",") if name.strip()]
    if listed is not None and not wanted:
        raise click.UsageError(
            f"--methods {listed} names no method. There are {', '.join(METHODS)}"
        )
    for name in wanted:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS, most=1) or "."
            raise click.UsageError(
                f"--methods: no method {name!r}{hint} There are {', '.join(METHODS)}"
            )
    files: dict[str, Path] = {}
    for path in options["own"]:
        name = printable(path.stem)
        if name in METHODS:
            raise click.UsageError(f"--method: {name} is the name of a method; rename the file")
        if (other := files.setdefault(name, path)) != path:
            raise click.UsageError(
                f"--method: {other} and {path} would both be called {name}; rename one"
            )
    own = [own_method(path) for path in files.values()]
    chosen = {name: METHODS[name] for name in wanted or ([] if own else METHODS)}
    methods = {**chosen, **{each.name: each.call for each in own}}
    return methods, {each.name: each.sha256 for each in own}
