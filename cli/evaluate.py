"""`slsgu evaluate`: accuracy at every level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .apply import level_name, print_also, print_levels
from .console import Console, echo_json, echo_table, interval, percent
from .data_options import (
    also_option,
    data_options,
    gradient_image_option,
    model_options,
    search_image_option,
    test_image_option,
)
from .groups import GroupedCommand, option
from .options import concept_option, json_option
from .search_options import floor_option, machine_options
from .values import also_from, load_clip, settings_from


@click.command(cls=GroupedCommand)
@option(
    "Request",
    "--patch",
    "patches",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare with and without this patch. Given several times, they are added.",
)
@concept_option("What counts as forgotten.  [default: what the patch was made for]")
@model_options
@data_options
@also_option
@gradient_image_option
@search_image_option
@test_image_option("50")
@floor_option(
    "Least share of the accuracy on --also that must remain with --patch: one number for all, or "
    "NAME=X."
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
    patches: tuple[Path, ...],
    concepts: tuple[str, ...],
    as_json: bool,
    form: str,
    **options: Any,
) -> None:
    """Zero-shot accuracy at every level of the taxonomy, with and without a patch.

    With a patch, what counts as forgotten is what the patch was made for, or --concept. Under
    torchrun (`torchrun --nproc-per-node N -m slsgu evaluate ...`) processes share the images.
    """
    from slsgu.concepts.request import Request
    from slsgu.concepts.templates import load_templates
    from slsgu.data.batches import Reading
    from slsgu.data.ledger import Ledger
    from slsgu.evaluation.exam import evaluated_levels
    from slsgu.evaluation.other_sets import OtherSet
    from slsgu.evaluation.proof import evaluate
    from slsgu.patch.patch import Patch
    from slsgu.report.clip_benchmark import clip_benchmark
    from slsgu.task.find import find_splits, find_taxonomy
    from slsgu.utils.distributed import together

    settings = settings_from(options)
    others = also_from(options)
    if options["floors"] and not (others and patches):
        raise click.UsageError("--floor says what --patch must leave of --also: give both")
    if as_json and form == "clip-benchmark":
        raise click.UsageError("--json and --format clip-benchmark are two formats: give one")
    patch = None
    for path in patches:
        loaded = Patch.load(path)
        patch = loaded if patch is None else patch + loaded
    parts = [] if patch is None else patch.metadata.get("sum_of", [patch.metadata])
    seeds = {part["seed"] for part in parts if isinstance(part.get("seed"), int)}
    taxonomy = find_taxonomy(options["taxonomy"], options["data"])
    wanted = concepts or (patch.requested_paths() if patch is not None else ())
    request = Request.of(taxonomy, wanted) if wanted else None
    also_images = [OtherSet.find(each, settings=settings, request=request) for each in others]
    clip = load_clip(options)
    with together(clip.device) as ranks:
        console = Console(quiet=not ranks.first)
        splits = find_splits(clip, options["data"], taxonomy, settings, request)
        for note in splits.notes:
            console.say(f"note: {note}")
        if patch is not None and not wanted:
            console.say(
                "note: the patch was made from captions, without a name: what it forgets is "
                "counted among the others (--concept says what it is)"
            )
        for seed in sorted(seeds - {settings.seed}):
            console.say(
                f"Warning: the patch was made with --seed {seed} and is measured with --seed "
                f"{settings.seed}: images that it was made from may be among the test images"
            )
        ledger = Ledger()
        reading = Reading(settings.batch_size, settings.workers, settings.strict)
        proof = evaluate(
            clip,
            splits.test,
            taxonomy,
            load_templates(options["templates"], taxonomy),
            reading=reading,
            seed=settings.seed,
            request=request,
            patch=patch,
            ledger=ledger,
            progress=console,
            ranks=ranks,
        )
        if not ranks.first:
            return
    also = [
        each.measure(
            clip, settings=settings, reading=reading, patch=patch, ledger=ledger, progress=console
        )
        for each in also_images
    ]
    console.say_left_out(ledger)
    measures = proof.measures
    if form == "clip-benchmark":
        name = "+".join(path.stem for path in patches) or None
        main = str(splits.description.get("root") or splits.description["kind"])
        sets = [(main, proof), *((each.title, each.proof) for each in also)]
        for title, one in sets:
            for row in clip_benchmark(clip, title, one, name):
                echo_json(row, indent=None)
        return
    if as_json or form == "json":
        echo_json(
            {
                "model": clip.describe(),
                "request": request.describe() if request else None,
                "patches": [str(path) for path in patches],
                "levels": [row.to_json() for row in measures.levels],
                "before": measures.before,
                "after": measures.after,
                "counts": measures.counts,
                "quality": measures.quality,
                "utility": measures.utility,
                "q_u": measures.q_u,
                "intervals": {name: list(b) for name, b in measures.intervals.items()},
                "also": [each.to_json() for each in also],
            }
        )
        return
    if patch is not None:
        print_levels(measures)
        if measures.q_u is not None:
            click.echo(
                f"\nquality {percent(measures.quality)}, utility {percent(measures.utility)}, "
                f"Q-U {percent(measures.q_u)}"
            )
        print_also(also)
        return
    classes = {level.depth: len(level.classes) for level in evaluated_levels(taxonomy)}
    table = [("images", "level", "classes", "accuracy", "95 % interval", "chance", "count")]
    table += [
        (
            "all" if request is None else "requested" if row.images == "forget" else "others",
            level_name(row.level, fine=row.fine),
            str(classes[row.level]),
            percent(row.before),
            interval(row.before_interval),
            percent(row.chance),
            str(row.count),
        )
        for row in measures.levels
    ]
    table += [
        (
            each.title,
            "(fine)",
            str(round(1 / each.fine.chance)),
            percent(each.fine.before),
            interval(each.fine.before_interval),
            percent(each.fine.chance),
            str(each.fine.count),
        )
        for each in also
    ]
    echo_table(table, left=2)
