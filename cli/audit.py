"""`slsgu audit`: what can still be found of a concept after an edit."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .audit_output import AuditOutput
from .audit_tables import print_audit
from .console import Console, echo_json
from .data_options import data_options, model_options
from .groups import GroupedCommand, option
from .options import concept_option, json_option, out_folder_option
from .reference_options import reference_from, reference_options, refuse_two_references
from .run_options import explaining_names, read_run, task_of_run, typed, with_run
from .search_options import machine_options
from .values import load_clip, load_effective, settings_from

if TYPE_CHECKING:
    from slsgu.models.clip import Clip
    from slsgu.patch.patch import Patch
    from slsgu.task.task import Task


@click.command(cls=GroupedCommand)
@option(
    "Request",
    "--run",
    "--run-folder",  # as everywhere: torchrun takes --run for an abbreviation of its own
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Audit the patch of a run, with its model, data, taxonomy, templates, seed and images.",
)
@option(
    "Request",
    "--patch",
    "patches",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Audit this patch: a patch file, or a run folder. Several patches are added.",
)
@option(
    "Request",
    "--edited",
    metavar="SPEC",
    help="Audit this model, an edited copy of --model; --concept says what it forgot.",
)
@concept_option("What counts as forgotten.  [default: what the patch was made for]")
@model_options
@data_options
@reference_options
@option(
    "Method",
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME",
    help="Only this probe, beside those read before. May be given several times.  [default: all]",
)
@machine_options
@json_option
@out_folder_option(
    "Folder for audit.json and audit.html.  [default: the run folder, or "
    "runs/audit-<concept>-<hash>]"
)
def audit(
    run: Path | None,
    patches: tuple[Path, ...],
    edited: str | None,
    concepts: tuple[str, ...],
    probes: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Look for what an edit was to remove: by other words, by example images, by training, and
    by probes at every stage of the image tower.

    Reads every probe before and after the edit, beside chance and, with --control or --unknown,
    beside a model that never knew the concept. Ends in a verdict: suppressed, partly removed,
    removed, or more visible than before. Probes that are done are not repeated when the same
    command is run again.
    """
    from slsgu.audit.run import run_audit

    _check_probes(probes)
    given = _Given.of(run, patches, edited, options)
    console = Console()
    clip = load_clip(given.options)
    patch = given.patch(clip)
    with explaining_names(given.of_run):
        task = _task(given, concepts, clip, patch, console)
    control, unknown = reference_from(given.options, task)
    _refuse_another(given, task, patch, out)
    output = AuditOutput.of(given.run, out, task, patch, control, unknown)
    found = run_audit(
        task,
        patch,
        probes=probes or None,
        control=control,
        unknown=unknown,
        examples=_examples(task, given),
        earlier=output.earlier(console.say, whole=not probes),
        on_probe=output.write,
        progress=console,
    )
    output.write(found, pages=True)
    if as_json:
        echo_json(found.to_json())
        return
    print_audit(found)
    for path in (output.folder / "audit.json", output.page):
        click.echo(f"{path.suffix[1:]:<8}  {path}")


def _check_probes(names: tuple[str, ...]) -> None:
    """Raises:
    click.UsageError: one is no probe.
    """
    from slsgu.audit.run import refuse_unknown
    from slsgu.errors import SlsguError

    try:
        refuse_unknown(names)
    except SlsguError as error:
        raise click.UsageError(f"--probe: {error}") from None


@dataclass(frozen=True)
class _Given:
    """What the command line names: a run, patches, or an edited model.

    Attributes:
        options: completed by those of the run.
        run: the run folder; None without one.
        of_run: what the run was made with.
    """

    options: dict[str, Any]
    run: Path | None
    of_run: dict[str, Any] | None
    patches: tuple[Path, ...]
    edited: str | None

    @classmethod
    def of(
        cls,
        run: Path | None,
        patches: tuple[Path, ...],
        edited: str | None,
        options: dict[str, Any],
    ) -> _Given:
        from slsgu.pipeline.run_folder import RunFolder

        if run is None and not patches and edited is None:
            raise click.UsageError("say what to audit: --run DIR, --patch FILE, or --edited MODEL")
        if edited is not None and (run is not None or patches):
            raise click.UsageError("--edited is a model; give it without --run and --patch")
        refuse_two_references(options)
        if run is None and len(patches) == 1 and RunFolder(patches[0]).request.is_file():
            run, patches = patches[0], ()
        if run is None:
            return cls(options, None, None, patches, edited)
        of_run = read_run(run)
        return cls(with_run(options, of_run), run, of_run, patches or (run,), None)

    def patch(self, clip: Clip) -> Patch:
        """The edit.

        Raises:
            LayerMismatchError: the edited model is not an edit of the model.
        """
        from slsgu.patch.difference import difference

        if self.edited is None:
            return load_effective(self.patches)
        other = {**self.options, "model": self.edited, "pretrained": None}
        states = (each.model.state_dict() for each in (clip, load_clip(other)))
        return difference(*states, most=None)


def _task(
    given: _Given, concepts: tuple[str, ...], clip: Clip, patch: Patch, console: Console
) -> Task:
    """What was to be forgotten, on the images of the run, or on those that the options name,
    divided as for the patch."""
    from slsgu.errors import SlsguError
    from slsgu.patch.header import with_images
    from slsgu.task.task import make_task

    own = not (concepts or typed("data") or typed("taxonomy") or typed("seed"))
    task = task_of_run(given.of_run, clip) if given.of_run is not None and own else None
    of_patch = patch.requested_paths()
    if task is None or (of_patch and set(of_patch) != set(task.request.describe()["paths"])):
        wanted = concepts or of_patch
        if not wanted:
            raise SlsguError(
                "nothing says what was to be forgotten: name it with --concept, as it is called "
                "in the taxonomy"
            )
        settings = settings_from(given.options)
        seeds = {part.get("seed") for part in patch.parts}
        if not typed("seed") and len(seeds) == 1 and isinstance(seed := seeds.pop(), int):
            settings = replace(settings, seed=seed)
        task = make_task(
            clip,
            wanted,
            data=given.options["data"],
            taxonomy=given.options["taxonomy"],
            settings=settings.data,
            machine=settings.machine,
        )
    made_on = {part.get("data") for part in with_images(patch.parts)}
    drawn = task.splits.description.get("kind") == "drawings"  # no split shares any with another
    if made_on - {task.splits.sha256} and not drawn:
        way = (
            "--run DIR knows them"
            if given.of_run is None
            else "the run knows them: leave out --concept, --data, --taxonomy and --seed"
        )
        console.say(
            "note: it is not known which images the edit was made from: some may be among those "
            f"that are asked ({way})"
        )
    return task


def _refuse_another(given: _Given, task: Task, patch: Patch, out: Path | None) -> None:
    """Keep what a run folder says of its own run.

    Raises:
        click.UsageError: this audit is of another concept or patch than the run's, and would take
            the place of the run's own and lead its report.
    """
    if given.run is None or out is not None:
        return
    what = "another patch" if given.patches != (given.run,) else None
    of, wanted = patch.requested_paths(), task.request.describe()["paths"]
    if of and {x.split("/")[-1] for x in of} != {x.split("/")[-1] for x in wanted}:
        what = f"{' and '.join(wanted)}, not of {' and '.join(of)}"
    if what is not None:
        raise click.UsageError(
            f"this is an audit of {what}, and would replace the one of the run in {given.run}: say "
            "with --out where it goes"
        )


def _examples(task: Task, given: _Given) -> tuple[Any, ...]:
    """More images to learn from, where the data is one that can be divided again."""
    from slsgu.audit.examples import more_examples
    from slsgu.errors import SlsguError

    if given.of_run is not None and given.of_run["forget"] and given.options["data"] is None:
        return ()
    with contextlib.suppress(SlsguError):
        return more_examples(task, given.options["data"])
    return ()
