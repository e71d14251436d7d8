"""`slsgu menagerie`: the embedded world of drawings, and the model that knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .console import echo_json, echo_table, percent
from .groups import Commands, GroupedCommand, option
from .options import force_option, json_option, out_option


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout carries results only."""
    click.echo(text, err=True)


def a_seed(ctx: click.Context, param: click.Parameter, value: int) -> int:
    """Refuse what random numbers cannot begin with."""
    if not 0 <= value < 2**63:
        raise click.BadParameter(f"{value} does not lie between 0 and {2**63 - 1}")
    return value


def seed_option(default: int, text: str) -> Callable[[Any], Any]:
    """`--seed`, with what it decides."""
    return option("Data", "--seed", type=int, callback=a_seed, default=default, show_default=True,
                  metavar="N", help=text)  # fmt: skip


@click.group(cls=Commands)
def menagerie() -> None:
    """Draw the embedded world of drawings, check its model, or train one."""


@menagerie.command(cls=GroupedCommand)
@out_option("The picture to write.", suffix=".png")
@force_option
@seed_option(0, "Another seed gives other drawings.")
def sheet(out: Path, force: bool, seed: int) -> None:
    """Draw the whole taxonomy on one contact sheet."""
    from slsgu.menagerie.sheet import contact_sheet
    from slsgu.utils.files import refuse_target

    refuse_target(out, force=force)
    click.echo(contact_sheet(out, seed=seed))


@menagerie.command(cls=GroupedCommand)
@option(
    "Model",
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of a local-dir.  [default: the embedded model]",
)
@option(
    "Data",
    "--per-leaf",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="N",
    help="Drawings per class.",
)
@seed_option(77, "Another seed gives other drawings; none of them was used for training.")
@json_option
def check(model: Path | None, per_leaf: int, seed: int, as_json: bool) -> None:
    """Measure the model's accuracy at every level, on new drawings.

    Concepts are named in five ways: the mean over the taxonomy's templates, the bare name, the
    first alias, the plural, and the definition.
    """
    from slsgu.menagerie import MODEL_DIR
    from slsgu.menagerie.check import check as measure

    result = measure(model or MODEL_DIR, per_leaf=per_leaf, seed=seed, progress=say)
    if as_json:
        echo_json(
            {
                "per_leaf": result.per_leaf,
                "seed": seed,
                "levels": {words: list(row) for words, row in result.levels.items()},
                "leaves": result.leaves,
            }
        )
        return
    count = len(result.leaves) * per_leaf
    click.echo(
        f"{count} drawings, {per_leaf} of each of {len(result.leaves)} leaves, seed {seed}\n"
    )
    depth = len(result.levels["name"])
    rows = [["concepts named by", *(f"level {d}" for d in range(1, depth + 1))]]
    for words, accuracies in result.levels.items():
        rows.append([words, *(percent(a) for a in accuracies)])
    echo_table(rows)
    click.echo("\nLeast well known, at the finest level:")
    for name, accuracy in list(result.leaves.items())[:8]:
        taken, times = result.confusions[name]
        note = f"  (as {taken}: {times})" if times else ""
        click.echo(f"  {name:<24}{percent(accuracy):>8}{note}")


@menagerie.command(cls=GroupedCommand)
@out_option("The folder to write; must not exist.", metavar="DIR")
@option(
    "Data",
    "--leave-out",
    "leave_out",
    multiple=True,
    metavar="CONCEPT",
    help="Train without any drawing or name of this concept. May be given several times.",
)
@option(
    "Data",
    "--images-per-leaf",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Drawings per class.",
)
@seed_option(0, "Another seed gives another model.")
@option(
    "Method",
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    help="Number of batches of 256 drawings.  [default: 2000]",
)
@option(
    "Speed and memory",
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=50.0,
    show_default=True,
    metavar="X",
    help="Time limit of the training, once the drawings are made; a slower machine shortens the "
    "schedule to fit.",
)
@option(
    "Speed and memory",
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where drawings are kept for the next run.  [default: slsgu's cache]",
)
def train(
    out: Path,
    leave_out: tuple[str, ...],
    images_per_leaf: int,
    steps: int | None,
    minutes: float,
    seed: int,
    cache: Path | None,
) -> None:
    """Train the menagerie's model from scratch.

    Writes it as an OpenCLIP local-dir. A training that was ended early goes on where it was when
    the same command is run again.
    """
    from slsgu.menagerie.train import STEPS, default_cache
    from slsgu.menagerie.train import train as fit

    fit(
        out,
        leave_out=leave_out,
        images_per_leaf=images_per_leaf,
        steps=steps or STEPS,
        minutes=minutes,
        seed=seed,
        cache=cache or default_cache(),
        progress=say,
    )
    click.echo(out)
