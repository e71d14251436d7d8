"""`slsgu pareto`: which layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Console, echo_json, echo_table
from .groups import GroupedCommand, option
from .options import json_option
from .request_file import options_of
from .search_options import SYSTEMS, norms_option
from .values import plan_from, settings_from

if TYPE_CHECKING:
    from slsgu.gradients.gradients import Gradients
    from slsgu.models.layers import Layer
    from slsgu.pipeline.run_folder import RunFolder
    from slsgu.search.pareto import LayerScore


@click.command(cls=GroupedCommand)
@option(
    "Input",
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A run folder.  [default: the one in runs/ with the newest gradients]",
)
@norms_option
@option(
    "Method",
    "--for",
    "system",
    type=click.Choice(SYSTEMS),
    help="Only layers that this system reads compete.  [default: that of the run]",
)
@option(
    "Method",
    "--fast",
    is_flag=True,
    help="Show efficiency only where a run has measured it: load neither model nor images.",
)
@option("Output", "--plot", is_flag=True, help="Draw pareto.png in the run folder.")
@option(
    "Output",
    "--all",
    "show_all",
    is_flag=True,
    help="Print every layer, not only those that apply would search.",
)
@json_option
def pareto(
    run: Path | None,
    plot: bool,
    show_all: bool,
    norms: bool | None,
    system: str | None,
    fast: bool,
    as_json: bool,
) -> None:
    """Show which layers hold the concept: importance, alignment, and the front of each tower.

    Importance (eq. 7) is the norm of the forget gradient over the norm of the weights; alignment
    (eq. 8) is the absolute cosine between forget and retain gradient. Efficiency is what the
    forget loss gains for each unit of harm to what must be kept, for the layers that `apply` would
    search. Gains, and layers that a system does not read, compete if they did in the run. Writes
    layers.json.
    """
    from slsgu.gradients.gradients import Gradients
    from slsgu.search.pareto import rank_layers

    folder = _folder(run)
    gradients = Gradients.load(folder.gradients)
    if (layer := gradients.key.get("layer")) is not None:
        Console().say(f"note: the run fixed the layer {layer}, so it has the gradients of no other")
    known, competed = folder.known_efficiency(gradients)
    options = _options_of_run(folder)
    settings = None if options is None else settings_from(options)
    if norms is None:
        norms = competed if settings is None else settings.considers_norms
    if system is None and settings is not None:
        system = settings.system
    also = None if settings is None else settings.layer
    reads = _reads(system, gradients)
    scores = rank_layers(gradients, norms=norms, also=also, every=show_all, reads=reads)
    scores = [replace(score, efficiency=known.get(score.layer)) for score in scores]
    if not fast and options is not None:
        scores = _with_efficiency({**options, "system": system}, gradients, scores)
    folder.write_layers(gradients, scores, norms=norms, system=system)
    rows = [score.to_json() for score in scores]
    chosen = _chosen_layer(folder)
    if plot:
        from slsgu.report.plots import save_pareto

        title = f"Which layers hold {gradients.info['title']}?"
        save_pareto(scores, folder.pareto, title=title, chosen=chosen)
    if as_json:
        echo_json(rows)
        return
    shown = [
        score
        for score in scores
        if show_all or score.on_front or score.efficiency is not None or score.layer == chosen
    ]
    gains = sum(score.kind == "norm" for score in scores)
    counted = f"{len(scores)} layers" + (f", {gains} of them gains" if gains else "")
    read = "" if system is None else f" that {system} reads"
    click.echo(f"{gradients.info['title']}: {len(shown)} of {counted}{read}\n")
    _print_scores(shown)
    click.echo("")
    if chosen is not None:
        click.echo(f"edited     {chosen}")
    click.echo(f"layers     {folder.layers}")
    if plot:
        click.echo(f"figure     {folder.pareto}")


def _print_scores(scores: Sequence[LayerScore]) -> None:
    """A table: the image side first, by alignment."""
    table = [("layer", "tower", "importance", "alignment", "cosine", "efficiency", "front")]
    table += [
        (
            score.layer,
            score.tower,
            f"{score.importance:.3e}",
            f"{score.alignment:.4f}",
            f"{score.cosine:+.4f}",
            "-" if score.efficiency is None else f"{score.efficiency:.4g}",
            "*" if score.on_front else "",
        )
        for score in sorted(scores, key=lambda s: (s.tower != "vision", s.alignment))
    ]
    echo_table(table, left=2)


def _reads(system: str | None, gradients: Gradients) -> Callable[[Layer], bool]:
    """Which layers compete: those that a system reads, which the names of all layers say. A single
    layer that the run fixed says nothing of the others, and was checked then."""
    from slsgu.search.readable import readable

    return readable(None if gradients.key.get("layer") else system, gradients.layers)


def _folder(run: Path | None) -> RunFolder:
    """The run folder that was named, or the newest.

    Raises:
        ArtifactError: it is not there, or no run is.
    """
    from slsgu.errors import ArtifactError
    from slsgu.pipeline.run_folder import RunFolder, newest_run

    if run is None:
        return newest_run()
    if not run.is_dir():
        raise ArtifactError(
            f"there is no folder {run}: --run names one in which `slsgu grads` or `slsgu apply` "
            "has run"
        )
    return RunFolder(run)


def _chosen_layer(folder: RunFolder) -> str | None:
    """The layer that `apply` chose, where it ran in this folder."""
    from slsgu.errors import ArtifactError
    from slsgu.utils.files import read_json

    if not folder.result.exists():
        return None
    try:
        result = read_json(folder.result, "the result")
    except ArtifactError as error:
        Console().say(f"note: the chosen layer is not marked: {error}")
        return None
    layer = result.get("layer") if isinstance(result, dict) else None
    return layer if isinstance(layer, str) else None


def _options_of_run(folder: RunFolder) -> dict[str, Any] | None:
    """The options that a run was made with, by its request file; None where it has none, as a run
    made from Python, or where the file makes no sense any more."""
    from slsgu.errors import SlsguError

    if not folder.request.is_file():
        Console().say(
            f"note: {folder.request} is not there, so efficiency is shown only where the run has "
            "measured it"
        )
        return None
    try:
        return options_of(folder.request)
    except (SlsguError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        Console().say(f"note: efficiency is left out: {text}")
        return None


def _with_efficiency(
    options: dict[str, Any], gradients: Gradients, scores: list[LayerScore]
) -> list[LayerScore]:
    """The scores with efficiency, where model and images are still those of the run."""
    from slsgu.errors import SlsguError
    from slsgu.pipeline.run_folder import reuse_differences
    from slsgu.search.efficiency import measure_efficiency

    console = Console()
    try:
        plan = plan_from(options, settings_from(options))
        if differences := reuse_differences(gradients.key, plan.key):
            console.say(f"note: efficiency is left out: {'; '.join(differences)}")
            return scores
        return measure_efficiency(plan, gradients, scores, console)
    except (SlsguError, click.ClickException) as error:
        console.say(f"note: efficiency is left out: {error}")
        return scores
