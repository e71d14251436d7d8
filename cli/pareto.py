"""`slsgu pareto`: which layers."""

from __future__ import annotations

from pathlib import Path

import click

from .console import echo_json, echo_table
from .options import norms_option


@click.command()
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A run folder.  [default: the newest]",
)
@click.option("--plot", is_flag=True, help="Draw pareto.png in the run folder.")
@click.option("--all", "show_all", is_flag=True, help="Print every layer, not only the fronts.")
@norms_option
@click.option("--json", "as_json", is_flag=True, help="The scores as JSON on stdout.")
def pareto(run: Path | None, plot: bool, show_all: bool, norms: bool, as_json: bool) -> None:
    """Importance, alignment and the Pareto front of each tower.

    Importance (eq. 7) is the norm of the forget gradient over the norm of the weights; alignment
    (eq. 8) is the absolute cosine between forget and retain gradient. Writes layers.json.
    """
    from slsgu.cache import Gradients
    from slsgu.files import write_json
    from slsgu.pipeline import rank_layers
    from slsgu.runs import RunFolder, newest_run

    folder = newest_run() if run is None else RunFolder(run)
    gradients = Gradients.load(folder.gradients)
    scores = rank_layers(gradients, norms=norms)
    rows = [score.to_json() for score in scores]
    write_json(folder.layers, {"concepts": gradients.key["request"]["concepts"], "layers": rows})
    if plot:
        from slsgu.plot import save_pareto

        save_pareto(scores, folder.pareto, title=f"Which layers hold {gradients.info['title']}?")
    if as_json:
        echo_json(rows)
        return
    shown = [score for score in scores if show_all or score.on_front]
    table = [("layer", "tower", "importance", "alignment", "cosine", "front")]
    table += [
        (
            score.layer,
            score.tower,
            f"{score.importance:.3e}",
            f"{score.alignment:.4f}",
            f"{score.cosine:+.4f}",
            "*" if score.on_front else "",
        )
        for score in sorted(shown, key=lambda s: (s.tower != "vision", s.alignment))
    ]
    click.echo(f"{gradients.info['title']}: {len(shown)} of {len(scores)} layers\n")
    echo_table(table, left=2)
    click.echo(f"\nlayers     {folder.layers}")
    if plot:
        click.echo(f"figure     {folder.pareto}")
