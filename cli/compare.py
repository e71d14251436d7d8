"""`slsgu compare`: every method of both papers and ours, on one task, side by side."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .compare_options import compare_options
from .console import Console, command_line, echo_json, echo_table
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
    from slsgu.compare.run import Effort
    from slsgu.search.method import Method
    from slsgu.task.task import Task

FILES = ("compare.json", "compare.csv", "compare.md")
SHARE = "_SLSGU_COMPARE_SHARE"  # tells a process that it is the second of three, say: 1/3


@click.command(cls=GroupedCommand)
@what_to_forget
@model_options
@data_options
@reference_options
@also_option
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
    from slsgu.compare.run import comparison_key, jobs_of, run_jobs
    from slsgu.pipeline.run_folder import RUNS
    from slsgu.utils.files import slug

    if not options["concepts"]:
        raise click.UsageError("say what to forget: --concept NAME")
    given = _Given.of(options)
    console = Console()
    task = given.task()
    folder = out or RUNS / f"compare-{slug(task.request.title)}"
    share = os.environ.get(SHARE)
    jobs = min(jobs, len(given.methods))  # each has a method of its own
    if jobs > 1 and share is None:
        _spread(jobs, folder)
    bench = given.bench(task, console)
    store = _store(folder, comparison_key(bench, given.effort), given.own)
    todo = jobs_of(given.methods, given.effort)
    if share is not None:
        number, of = (int(part) for part in share.split("/"))
        own = {name for i, name in enumerate(given.methods) if i % of == number}
        todo = [job for job in todo if job.method in own]
    console.say(
        f"{len(given.methods)} methods, {len(todo)} runs to score, in {folder}; at most "
        f"{given.effort.budget.cap} image gradients a run"
    )
    cells = run_jobs(bench, given.methods, todo, given.effort, store)
    if share is None:
        _publish(bench, cells, given.effort, folder, as_json=as_json)


@dataclass(frozen=True)
class _Given:
    """What the command line says, as far as it needs no images.

    Attributes:
        options: as they were typed.
        methods: what is run, by name.
        effort: how much is spent on each.
        own: hash of the file of each method that is the user's own, by name.
    """

    options: dict[str, Any]
    methods: dict[str, Method]
    effort: Effort
    own: dict[str, str]

    @classmethod
    def of(cls, options: dict[str, Any]) -> _Given:
        from slsgu.baselines.train import Budget
        from slsgu.compare.run import Effort
        from slsgu.utils.files import file_sha256

        refuse_two_references(options)
        quick = options["quick"]
        cap = options["cap"] or (240 if quick else 480)
        if quick and options["test_images"] is None:
            options = {**options, "test_images": 20}
        budget = Budget(cap=cap, checks=4 if quick else 6)
        seeds = options["seeds"] or (1 if quick else 3)
        own = {path.stem: file_sha256(path) for path in options["own"]}
        return cls(options, _methods(options), Effort(budget, seeds, quick), own)

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


def _methods(options: dict[str, Any]) -> dict[str, Method]:
    """The methods that were named, or all; and the user's own.

    Raises:
        click.UsageError: there is none of that name, or one stands twice.
    """
    from slsgu.baselines.methods import METHODS
    from slsgu.utils.names import did_you_mean

    from .own_method import own_method

    wanted = [name.strip() for name in (options["methods"] or "").split(",") if name.strip()]
    for name in wanted:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS, most=1) or "."
            raise click.UsageError(
                f"--methods: no method {name!r}{hint} There are {', '.join(METHODS)}"
            )
    files: dict[str, Path] = {}
    for path in options["own"]:
        if (other := files.setdefault(path.stem, path)) != path:
            raise click.UsageError(
                f"--method: {other} and {path} would both be called {path.stem}; rename one"
            )
    own = {name: own_method(path) for name, path in files.items()}
    if twice := sorted({*own} & {*METHODS}):
        raise click.UsageError(f"--method: {twice[0]} is the name of a method; rename the file")
    chosen = {name: METHODS[name] for name in wanted or ([] if own else METHODS)}
    return {**chosen, **own}


def _store(folder: Path, key: str, own: dict[str, str]) -> Store:
    from slsgu.compare.cells import Store

    folder.mkdir(parents=True, exist_ok=True)
    return Store(folder, key, own)


def _spread(jobs: int, folder: Path) -> None:
    """Let several processes fill the cells, each with its share of the methods.

    Raises:
        SlsguError: one of them failed.
    """
    import subprocess

    from slsgu.errors import SlsguError

    words = [sys.executable, "-m", "slsgu", *sys.argv[1:], "--out", str(folder)]
    started = [
        subprocess.Popen(words, env={**os.environ, SHARE: f"{number}/{jobs}"})
        for number in range(jobs)
    ]
    try:
        codes = [process.wait() for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
    if any(codes):
        raise SlsguError(
            "one of the processes failed (see above). What is done is kept: the same command goes "
            "on from there"
        )


def _publish(
    bench: Bench, cells: list[Cell], effort: Effort, folder: Path, *, as_json: bool
) -> None:
    """Write the tables and figures, and print the brief table."""
    from slsgu.compare.files import as_csv, as_markdown, screen_table
    from slsgu.compare.files import as_json as to_json
    from slsgu.compare.table import rows_of
    from slsgu.report.plots.compare import save_figures
    from slsgu.utils.files import write_json, write_text

    rows = rows_of(cells)
    value = to_json(bench, rows, cells, effort, command_line())
    title = f"Methods compared: {bench.task.request.title}"
    write_json(folder / FILES[0], value)
    write_text(folder / FILES[1], as_csv(rows, bench.before))
    write_text(folder / FILES[2], as_markdown(title, bench, rows, effort))
    figures = save_figures(value, folder)
    if as_json:
        echo_json(value)
        return
    echo_table(screen_table(bench, rows))
    click.echo(f"\nnever knew: {bench.reference.title}")
    for row in rows:
        if row.failed:
            click.echo(f"{row.method} failed: {row.failed}")
    for name in (*FILES, *(path.name for path in figures)):
        click.echo(f"{name:<20}  {folder / name}")
