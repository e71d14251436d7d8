"""`slsgu apply --no-images`: the concept is forgotten by its texts alone."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .console import Console, command_line, echo_json, echo_table, elapsed
from .outcome import about_from, echo_paths, end_unless_met, lead_with_audit, save_patched
from .request_file import write_request
from .tables import print_edit
from .values import load_clip, refuse_two_vocabularies

if TYPE_CHECKING:
    from slsgu.evaluation.text_proof import TextProof
    from slsgu.models.layers import Tower
    from slsgu.pipeline.run_folder import RunFolder
    from slsgu.pipeline.text_run import TextOutcome
    from slsgu.search.method import Method

CALLED = 5  # names of which it is printed what their place is called now
ONLY_HERE = ("siblings", "keep")  # options that say nothing with pictures
_ALWAYS = frozenset({
    "request", "concepts", "no_images", "keep", "taxonomy", "templates", "model", "pretrained",
    "quick_gelu", "cache_dir", "tower", "device", "precision", "run", "save_model", "as_json",
    "force", "asked_by", "reason",
})  # fmt: skip
_ON_NAMES = frozenset({"siblings", "parent", "classes"})
_ON_PICTURES = frozenset({
    "data", "search_images", "test_images", "seed", "strict", "target", "floors", "also",
    "batch_size", "workers",
})  # fmt: skip


def refuse_options(options: dict[str, Any]) -> None:
    """Refuse options that would say nothing, with or without `--no-images`.

    Raises:
        click.UsageError: one was given.
    """
    given = _given()
    if not options["no_images"]:
        for name in ONLY_HERE:
            if name in given:
                raise click.UsageError(f"{given[name]} goes with --no-images")
        _refuse_idle(options, given)
        return
    allowed = _ALWAYS | (_ON_PICTURES if options["data"] else _ON_NAMES)
    unused = [name for name in given if name not in allowed]
    if not unused:
        return
    option = given[unused[0]]
    if unused[0] in _ON_PICTURES:
        raise click.UsageError(
            f"{option} is about pictures: with --no-images give --data too, to measure the edit on "
            "them, or leave it out"
        )
    if unused[0] in _ON_NAMES:
        raise click.UsageError(
            f"{option} adds names to choose among; with --data they come from there, or from "
            "--taxonomy: leave one of the two out"
        )
    raise click.UsageError(
        f"{option} says nothing with --no-images, which makes the edit from texts in one step: "
        "leave one of the two out"
    )


def _refuse_idle(options: dict[str, Any], given: dict[str, str]) -> None:
    """Refuse what the search or the goal that was chosen does not look at.

    Raises:
        click.UsageError: it was given.
    """
    idle: tuple[str, ...] = ()
    chosen = why = ""
    if options["search"] == "paper":
        chosen, why = "--search paper", "which knows no goal but the name"
        idle = ("never_knew", "confidence")
        idle += () if options["goal"] == "suppress" else ("goal",)
        idle += () if options["merge"] else ("merge_onto",)
    elif options["goal"] == "suppress":
        chosen, why = "--goal suppress", "which merges only as far as --merge says"
        idle = ("never_knew",) if options["merge"] else ("never_knew", "merge_onto")
    for name in idle:
        if name in given:
            raise click.UsageError(
                f"{given[name]} says nothing with {chosen}, {why}: leave one of the two out"
            )


def _given() -> dict[str, str]:
    """The options of the command that were typed or stand in a request file, by parameter."""
    ctx = click.get_current_context()
    sources = (
        ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP
    )  # fmt: skip
    return {
        str(param.name): param.opts[0]
        for param in ctx.command.params
        if ctx.get_parameter_source(str(param.name)) in sources
        and ctx.params.get(str(param.name)) not in (None, ())
    }


def text_method(options: dict[str, Any]) -> Method:
    """The method, where pictures measure the edit."""
    from slsgu.baselines.text_merge import text_merge

    return functools.partial(text_merge, tower=_tower(options), keep=options["keep"])


def _tower(options: dict[str, Any]) -> Tower:
    """Whose last projection is edited."""
    return options["tower"] or "language"


def apply_by_text(
    options: dict[str, Any], *, run: Path | None, save_model: Path | None, as_json: bool
) -> None:
    """Carry out a request for which there is no picture at all."""
    from slsgu.errors import UnusedError
    from slsgu.models.local_dir import refuse_inside
    from slsgu.pipeline.taken import refuse_taken
    from slsgu.pipeline.text_run import run_text_task, text_run_folder
    from slsgu.task.text_task import make_text_task

    if not options["concepts"]:
        raise click.UsageError("say what to forget: --concept NAME")
    refuse_two_vocabularies(options)
    console = Console()
    tower = _tower(options)
    try:
        task = make_text_task(
            load_clip(options),
            options["concepts"],
            **{name: options[name] for name in ("taxonomy", "classes", "siblings", "parent")},
            **{name: options[name] for name in ("templates", "keep")},
        )
    except UnusedError as error:
        raise click.UsageError(str(error)) from None
    refuse_inside(save_model, task.clip.folder, "--save-model")
    folder = text_run_folder(task, tower, run)
    refuse_taken(folder, task.request)
    result = run_text_task(
        task,
        tower=tower,
        force=options["force"],
        progress=console,
        command=command_line(),
        about=about_from(options),
    )
    patch_path = None if result.patch is None else folder.patch
    summary = _publish(result, folder, patch_path)
    save_patched(result, save_model, console)
    if as_json:
        echo_json(summary)
    else:
        print_text_result(result, folder, elapsed())
        echo_paths(result, folder, save_model)
    lead_with_audit(folder, result.patch, console.say if as_json else click.echo)
    own_names = bool(options["classes"] or options["siblings"] or options["parent"])
    end_unless_met(result, folder, console, _advice(result, own_names=own_names))


def _advice(result: TextOutcome, *, own_names: bool) -> str:
    """What to do where an edit is no success on texts.

    Args:
        own_names: whether names were given, beside or without a taxonomy, which do not go together
            with pictures.
    """
    proof, ways = result.proof, []
    if proof.still_named or proof.mistaken or proof.renamed:
        outside = bool(result.task.outside)
        ways.append(
            "more names beside it (--sibling)" if outside
            else "a taxonomy or a list that has more names beside it (--taxonomy, --classes)"
        )  # fmt: skip
    if result.edit.settings["tower"] == "vision":
        ways.append("the text side (--tower language)")
    if not own_names:
        ways.append("pictures, which then decide (--data)")
    take = "--force to take it as it is" + (
        ", and then measure it on pictures (`slsgu evaluate --run DIR --data DIR`)"
        if own_names else ""
    )  # fmt: skip
    return f"Try {', '.join([*ways, f'or {take}'])}." if ways else f"Give {take}."


def _publish(result: TextOutcome, folder: RunFolder, patch_path: Path | None) -> dict[str, Any]:
    """Write what a request found into its folder; returns what result.json says."""
    from slsgu.report.text import to_json, write
    from slsgu.utils.files import write_json

    summary = to_json(result, patch=patch_path, report=folder.report)
    with folder.publishing() as new:
        write_request(new.request)
        if result.patch is not None:
            result.patch.save(new.patch)
        write_json(new.result, summary)
        write(result, new.report, command=command_line(), patch=patch_path)
    return summary


def print_text_result(result: TextOutcome, folder: RunFolder, total: float) -> None:
    """What a request without pictures changed, and what that did to texts.

    Args:
        folder: where the result lies, which another command can measure.
        total: seconds since the command began.
    """
    from slsgu.report.text import (
        IMAGES_STAY,
        TEXTS_STAY,
        change_words,
        moves_texts,
        outside_words,
    )

    title = result.task.request.title
    print_edit(title, result.edit)
    click.echo("no picture was used, neither for the edit nor to measure it")
    click.echo(f"the change is {change_words(result)}\n")
    _print_groups(result)
    click.echo("")
    _print_called(result)
    _print_kept(result.proof)
    outside = outside_words(result)
    if outside:
        click.echo(outside)
    knew = "" if outside else f"whether the model knew {title}, and "
    click.echo(f"not known: {knew}what photographs are called now")
    if result.patch is not None:
        measure = shlex.join(["slsgu", "evaluate", "--run", str(folder.path), "--data", "DIR"])
        click.echo(f"measure it on photographs: {measure}")
    click.echo(IMAGES_STAY if moves_texts(result) else TEXTS_STAY)
    click.echo(f"\ntime       total {total:.1f} s")


def _print_groups(result: TextOutcome) -> None:
    """What became of the texts of each group; how far they moved, where it is texts that move."""
    from slsgu.report.text import group_rows, moves_texts

    counts = ("count", "before", "after")
    moved = ("moved: mean", "most") if moves_texts(result) else ()
    table = [("texts", "count", "find their place", "still do", *moved)]
    table += [
        (row["title"], *(str(row[key]) for key in counts), *(row["moved"] or ()))
        for row in group_rows(result)
    ]
    echo_table(table)


def _print_called(result: TextOutcome) -> None:
    """What the places of the concept are called now, and which words find them."""
    from slsgu.report.text import called_now, unknown_words
    from slsgu.utils.wording import some

    called = called_now(result)
    for name, now in called[:CALLED]:
        click.echo(f"what lies where {name} did is now called: {now}")
    if len(called) > CALLED:
        click.echo(f"and {len(called) - CALLED} more: see the report")
    if not result.proof.knows_others:
        title = result.task.others_title
        click.echo(f"the model knew fewer than half of the {title} before, so they do not count")
    if words := [row.words for row in result.proof.still_found]:
        click.echo(f"as a search term, still found first: {some(words, CALLED)}")
    if words := unknown_words(result):
        click.echo(f"did not find the concept's place before the edit: {some(words, CALLED)}")


def _print_kept(proof: TextProof) -> None:
    """Which texts lost their place though they are kept; where none did, which moved furthest."""
    if lost := proof.lost:
        names = [f"{x.words} (finds {x.finds.split('/')[-1]})" for x in lost[:CALLED]]
        more = f", and {len(lost) - CALLED} more: see the report" if len(lost) > CALLED else ""
        click.echo(f"kept, and do not find their place any more: {', '.join(names)}{more}")
    elif furthest := proof.furthest(3):
        names = [f"{row.words} ({row.moved:.3f})" for row in furthest]
        click.echo(f"kept, and moved furthest: {', '.join(names)}")
