"""`slsgu menagerie`: the embedded world of drawings, and the model that knows it."""

from __future__ import annotations

from pathlib import Path

import click

from .console import echo_json, echo_table, percent


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout carries results only."""
    click.echo(text, err=True)


@click.group()
def menagerie() -> None:
    """The embedded world of drawings: look at it, measure its model, train it again."""


@menagerie.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG file to write.")
@click.option("--seed", type=int, default=0, show_default=True, help="Stream of drawings.")
def sheet(out: Path, seed: int) -> None:
    """Draw the whole taxonomy on one contact sheet."""
    from slsgu.menagerie.sheet import contact_sheet

    click.echo(contact_sheet(out, seed=seed))


@menagerie.command()
@click.option(
    "--model", type=click.Path(path_type=Path), help="A local-dir.  [default: the shipped model]"
)
@click.option("--per-leaf", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--seed",
    type=int,
    default=77,
    show_default=True,
    help="Stream of drawings; not the one used for training.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def check(model: Path | None, per_leaf: int, seed: int, as_json: bool) -> None:
    """Measure zero-shot accuracy at every level on held-out drawings.

    Concepts are named in five ways: the mean over the taxonomy's templates, the bare name, the
    first alias, the plural, the definition.
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


@menagerie.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write; must not exist."
)
@click.option(
    "--leave-out",
    "leave_out",
    multiple=True,
    metavar="CONCEPT",
    help="Never show or name this concept. May be repeated.",
)
@click.option("--images-per-leaf", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Batches of 256.  [default: 2000]")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=50.0,
    show_default=True,
    help="A slower machine shortens the schedule to this.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Where drawings are kept for the next run.  [default: the temporary folder]",
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
    """Train the menagerie's model from nothing, and write it as an OpenCLIP local-dir."""
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
