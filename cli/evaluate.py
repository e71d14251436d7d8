"""`slsgu evaluate`: accuracy at every level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Console, echo_json
from .data_options import MUST_HOLD, also_option, data_options, model_options
from .groups import GroupedCommand, option
from .options import concept_option, json_option
from .run_options import explaining_names, read_run, task_of_run, with_run
from .search_options import floor_option, machine_options
from .tables import clip_benchmark_rows, evaluation_json, print_evaluation
from .values import also_from, load_clip, load_effective, load_patches, settings_from

if TYPE_CHECKING:
    from slsgu.concepts.request import Request
    from slsgu.concepts.taxonomy import Taxonomy
    from slsgu.models.clip import Clip
    from slsgu.patch.patch import Patch
    from slsgu.pipeline.measure import Evaluation, MadeFrom
    from slsgu.task.task import Task


@click.command(cls=GroupedCommand)
@option(
    "Request",
    "--run",
    "--run-folder",  # torchrun takes --run for an abbreviation of its own
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Measure a run again: its model, data, taxonomy, templates, seed and patch, unless other "
    "ones are typed.",
)
@option(
    "Request",
    "--patch",
    "patches",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Measure with and without this patch: a patch file, or a run folder. Several patches are "
    "added.  [default: that of --run]",
)
@concept_option("What counts as forgotten.  [default: what the patch was made for]")
@model_options
@data_options
@also_option(MUST_HOLD)
@option(
    "Data",
    "--test-images",
    type=click.IntRange(1),
    metavar="N",
    help="Most images per class to measure.  [default: all; 50 drawings]",
)
@floor_option(
    "Least share of the accuracy on --also that must remain with the patch: one number for all, "
    "or NAME=X."
)
@machine_options
@json_option
@option(
    "Output",
    "--format",
    "form",
    type=click.Choice(["table", "json", "clip-benchmark"]),
    default="table",
    show_default=True,
    help="What to print; clip-benchmark prints one result per line, each as in a file of "
    "CLIP_benchmark.",
)
def evaluate(
    run: Path | None,
    patches: tuple[Path, ...],
    concepts: tuple[str, ...],
    as_json: bool,
    form: str,
    **options: Any,
) -> None:
    """Measure zero-shot accuracy at every level of the taxonomy, with and without a patch.

    Measures every image of --data: those of test/, where there is one. Images that the patch was
    made from are left out, as far as they are known. With a patch, what counts as forgotten is
    what the patch was made for, or --concept. Writes no file.

    Under torchrun (`torchrun --nproc-per-node N -m slsgu evaluate ...`) several processes share
    the images.
    """
    from slsgu.pipeline.measure import evaluate_data
    from slsgu.utils.distributed import together, world_size

    world_size()  # first of all: what torchrun has set makes sense
    if as_json and form == "clip-benchmark":
        raise click.UsageError("--json and --format clip-benchmark are two formats: give one")
    choice = _Choice.of(run, patches, options)
    patch = load_effective(choice.patches) if choice.patches else None
    others = also_from(options)
    if options["floors"] and not (others and patch):
        raise click.UsageError("--floor says what a patch must leave of --also: give both")
    settings = settings_from(choice.options)
    limits = replace(settings.limits, test=options["test_images"])
    named = _named(choice, patch, concepts)  # before the model is loaded, which takes longer
    clip = load_clip(choice.options)
    with together(clip.device) as ranks:
        console = Console(quiet=not ranks.first)
        subject = _subject(choice, named, concepts, clip)
        with explaining_names(None if run is None else choice.runs[run]):
            found = evaluate_data(
                clip,
                subject.data,
                subject.taxonomy,
                request=subject.request,
                patch=_unless_applied(patch, clip, typed=bool(patches), console=console),
                made_from=subject.made_from,
                settings=replace(settings.data, limits=limits),
                machine=settings.machine,
                also=others,
                progress=console,
                ranks=ranks,
            )
    if not ranks.first:
        return
    _say(found, patch, console)
    if form == "clip-benchmark":
        for row in clip_benchmark_rows(clip, found, choice.patches):
            echo_json(row, indent=None)
    elif as_json or form == "json":
        echo_json(evaluation_json(clip, found, choice.patches))
    else:
        print_evaluation(found)


@dataclass(frozen=True)
class _Choice:
    """What the command line says, and the runs that it names.

    Attributes:
        options: completed by those of `--run`.
        run: of `--run`.
        patches: patch files and run folders; by default that of `--run`, if it made one.
        runs: the options of every run folder that is named.
    """

    options: dict[str, Any]
    run: Path | None
    patches: tuple[Path, ...]
    runs: dict[Path, dict[str, Any]]

    @classmethod
    def of(cls, run: Path | None, patches: tuple[Path, ...], options: dict[str, Any]) -> _Choice:
        from slsgu.pipeline.run_folder import RunFolder

        runs = {path: read_run(path) for path in patches if RunFolder(path).request.is_file()}
        if run is None:
            return cls(options, None, patches, runs)
        runs[run] = read_run(run)
        made = (run,) if RunFolder(run).patch.exists() else ()
        return cls(with_run(options, runs[run]), run, patches or made, runs)

    @property
    def by_pairs(self) -> bool:
        """Whether the images are those of a run that had `--forget`."""
        return (
            self.run is not None
            and bool(self.runs[self.run]["forget"])
            and self.options["data"] is None
        )


@dataclass(frozen=True)
class _Subject:
    """What is to be measured, on which images."""

    data: str | Task | None
    taxonomy: Taxonomy
    request: Request | None
    made_from: MadeFrom


def _named(
    choice: _Choice, patch: Patch | None, concepts: tuple[str, ...]
) -> tuple[Taxonomy, Request | None] | None:
    """The taxonomy, and what counts as forgotten; None where the images of a run say it."""
    from slsgu.concepts.request import Request
    from slsgu.task.find import find_taxonomy

    if choice.by_pairs:
        return None
    taxonomy = find_taxonomy(choice.options["taxonomy"], choice.options["data"])
    wanted = concepts or (() if patch is None else patch.requested_paths())
    if not wanted and choice.run is not None:
        of_run = choice.runs[choice.run]
        wanted = of_run["concepts"] or tuple(filter(None, (of_run["name"],)))
    return taxonomy, Request.of(taxonomy, wanted) if wanted else None


def _subject(
    choice: _Choice,
    named: tuple[Taxonomy, Request | None] | None,
    concepts: tuple[str, ...],
    clip: Clip,
) -> _Subject:
    """Find the images of the runs that are named, which are not to be measured."""
    from slsgu.concepts.request import Request
    from slsgu.errors import SlsguError
    from slsgu.pipeline.measure import MadeFrom
    from slsgu.pipeline.run_folder import RunFolder

    tasks: dict[Path, Task | None] = {}
    for path, options in choice.runs.items():
        try:
            tasks[path] = task_of_run(options, clip)
        except SlsguError:
            if choice.by_pairs and path == choice.run:
                raise
            tasks[path] = None
    data: str | Task | None = choice.options["data"]
    request: Request | None
    if named is None:
        assert choice.run is not None
        task = tasks[choice.run]
        assert task is not None
        data, taxonomy = task, task.taxonomy
        request = Request.of(taxonomy, concepts) if concepts else task.request
    else:
        taxonomy, request = named
    made_from = MadeFrom()
    for path, task in tasks.items():
        made_from += MadeFrom.of_run(RunFolder(path), task)
    if loose := [path for path in choice.patches if path not in tasks]:
        made_from += MadeFrom.of_patch(load_patches(loose), clip, data, taxonomy)
    return _Subject(data, taxonomy, request, made_from)


def _unless_applied(
    patch: Patch | None, clip: Clip, *, typed: bool, console: Console
) -> Patch | None:
    """A patch, if the model does not hold it already.

    Raises:
        SlsguError: it does, and the patch was typed.
    """
    from slsgu.errors import SlsguError

    if patch is None or not patch.is_applied(dict(clip.model.named_parameters())):
        return patch
    if typed:
        raise SlsguError(
            f"the patch is applied already: {clip.name} holds it. Leave --patch out to measure "
            "this model as it is (with --run DIR, images that the patch was made from are left "
            "out all the same)"
        )
    console.say(f"note: {clip.name} holds the patch of the run already, and is measured as it is")
    return None


def _say(found: Evaluation, patch: Patch | None, console: Console) -> None:
    """What a reader must know about the figures."""
    if patch is not None and found.request is None:
        console.say(
            "note: the patch was made from captions, without a name: what it forgets is counted "
            "among the others (--concept says what it is)"
        )
    if found.left_out:
        console.say(
            f"note: {found.left_out} image(s) are left out, because the patch was made from them"
        )
    if found.doubts and patch is not None:
        console.say(
            "note: images that the patch was made from may be among those measured: "
            f"{'; '.join(found.doubts)}. --run DIR names the run folder that knows them"
        )
    console.say_left_out(found.ledger)
