"""`slsgu apply`: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsgu.utils.wording import listed

from .console import Console, command_line, echo_json, elapsed
from .groups import option
from .no_images import apply_by_text, refuse_options, text_method
from .options import json_option, request_options, run_option
from .outcome import about_from, echo_paths, end_unless_met, lead_with_audit, save_patched
from .request_file import RequestCommand, request_option, write_request
from .search_options import FLOORS
from .tables import print_result
from .values import also_from, cache_from, plan_from, settings_from

if TYPE_CHECKING:
    from slsgu.evaluation.other_sets import Also
    from slsgu.pipeline.result import Outcome
    from slsgu.pipeline.run_folder import RunFolder
    from slsgu.task.plan import Plan


@click.command(cls=RequestCommand)
@request_option
@request_options
@run_option
@option(
    "Output",
    "--save-model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the patched model, as an OpenCLIP local-dir. DIR must not exist.",
)
@option("Output", "--dry-run", is_flag=True, help="Estimate time and memory, and write nothing.")
@json_option
def apply(
    run: Path | None,
    save_model: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a model forget concepts: find a layer and a step, write a patch, measure what it does.

    Computes the gradients unless the run folder has them, searches a step on each candidate
    layer, takes the smallest that holds on unseen images under the floors, and measures the choice
    on images not used before.
    With --no-images the edit is made from names alone, in one step.
    Writes patch.safetensors, result.json and report.html in the run folder. If the goal is not
    met, no patch is written, unless with --force, and the exit status is 1.
    """
    from slsgu.errors import SlsguError
    from slsgu.models.local_dir import refuse_inside
    from slsgu.pipeline.run_folder import run_folder
    from slsgu.pipeline.taken import refuse_taken
    from slsgu.utils.distributed import world_size

    if world_size() > 1:
        raise SlsguError(
            "apply is one process: run `slsgu grads` under torchrun, then `slsgu apply` without it"
        )
    console = Console()
    refuse_options(options)
    settings = settings_from(options)
    also = also_from(options, FLOORS)
    save_model = _new_folder(save_model)
    if options["no_images"] and not options["data"]:
        apply_by_text(options, run=run, save_model=save_model, as_json=as_json)
        return
    plan = plan_from(options, settings)
    refuse_inside(save_model, plan.task.clip.folder, "--save-model")
    for note in plan.task.splits.notes:
        console.say(f"note: {note}")
    folder = run_folder(plan, run)
    refuse_taken(folder, plan.task.request)
    if dry_run:
        _estimate(plan, folder, also, as_json=as_json)
        return
    result = _carry_out(plan, folder, console, also, options)
    console.say_left_out(result.ledger)
    patch_path = None if result.patch is None else folder.patch
    summary = _publish(result, folder, patch_path)
    save_patched(result, save_model, console)
    if as_json:
        echo_json(summary)
    else:
        print_result(result, elapsed())
        echo_paths(result, folder, save_model)
    lead_with_audit(folder, result.patch, console.say if as_json else click.echo)
    _judge(result, folder, console)


def _new_folder(save_model: Path | None) -> Path | None:
    """The folder of `--save-model`.

    Raises:
        SlsguError: it is there already.
    """
    from slsgu.errors import SlsguError
    from slsgu.utils.files import exists

    if save_model is None:
        return None
    folder = Path(str(save_model).removeprefix("local-dir:"))
    if exists(folder):
        raise SlsguError(f"{folder} exists already; give --save-model a new folder")
    return folder


def _carry_out(
    plan: Plan, folder: RunFolder, console: Console, also: Sequence[Also], options: dict[str, Any]
) -> Outcome:
    """Make the edit and measure it on images."""
    from slsgu.pipeline.run import run_method, run_plan

    command = command_line()
    about = about_from(options)
    if not options["no_images"]:
        return run_plan(
            plan,
            folder=folder,
            progress=console,
            command=command,
            about=about,
            also=also,
            cache=cache_from(options),
        )
    settings = plan.settings
    return run_method(
        plan.task,
        text_method(options),
        target=settings.target,
        floors=settings.floors,
        force=settings.force,
        progress=console,
        command=command,
        about=about,
        also=also,
    )


def _estimate(plan: Plan, folder: RunFolder, also: Sequence[Also], *, as_json: bool) -> None:
    """What the command would do, and its time and memory."""
    from slsgu.pipeline.estimate import estimate

    found = estimate(plan, folder, also)
    if as_json:
        echo_json(found.to_json())
    else:
        click.echo(found.to_text())


def _publish(result: Outcome, folder: RunFolder, patch_path: Path | None) -> dict[str, Any]:
    """Write what a run found into its folder; returns what result.json says.

    Args:
        patch_path: where the patch will lie; None if there is none.
    """
    from slsgu.report.html import to_json, write
    from slsgu.report.plots import save_pareto
    from slsgu.utils.files import write_json

    summary = to_json(result, patch=patch_path, report=folder.report)
    with folder.publishing() as new:
        write_request(new.request)
        if result.patch is not None:
            result.patch.save(new.patch)
        write_json(new.result, summary)
        write(result, new.report, command=command_line(), patch=patch_path)
        if folder.pareto.is_file() and result.trace is not None:
            scores = result.trace.scores_with_efficiency
            title = f"Which layers hold {result.task.request.title}?"
            save_pareto(scores, new.pareto, title=title, chosen=result.trace.chosen.layer)
    return summary


def _judge(result: Outcome, folder: RunFolder, console: Console) -> None:
    """Say what a result falls short of; exit with status 1 where the goal was not met."""
    from slsgu.report.way import way_of

    way = way_of(result.edit)
    misses = result.goal.misses(result.proof.measures, result.task.request.title)
    if result.success and misses:
        console.say(
            f"Warning: the goal was met on the search images, but on the test images "
            f"{listed(misses)}. {way.surer}"
        )
    end_unless_met(result, folder, console, way.advice)
