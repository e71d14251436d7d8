"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FLOORS = ("forget_coarse", "retain_fine", "retain_coarse")


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, listed in this order in `--help`."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_options: Callable[[F], F] = stack(
    click.option(
        "--model",
        metavar="SPEC",
        help="OpenCLIP name, local-dir:PATH or hf-hub:ORG/REPO.  [default: the menagerie]",
    ),
    click.option("--pretrained", metavar="TAG|FILE", help="Pretrained tag or checkpoint file."),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps."),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16", "fp16"]),
        default="fp32",
        show_default=True,
        help="Precision of evaluation; weights and updates are always fp32.",
    ),
    click.option(
        "--cache-dir", type=click.Path(file_okay=False), help="Where OpenCLIP keeps downloads."
    ),
    click.option(
        "--quick-gelu/--gelu", default=None, help="Say which activation a checkpoint file needs."
    ),
)

data_options: Callable[[F], F] = stack(
    click.option(
        "--data",
        metavar="DIR",
        help="One folder per class, with train/ and test/ if you have them.  "
        "[default: the menagerie's drawings]",
    ),
    click.option(
        "--taxonomy",
        metavar="NAME|FILE",
        help="Tree of concepts: cifar10, cifar100, oxford-pets, imagenet-dogs, imagenet, or a YAML "
        "file.  [default: folders]",
    ),
    click.option(
        "--templates",
        metavar="NAME|FILE",
        help="Prompt templates: simple, openai, photo, imagenet-dogs, compcars, or a file.",
    ),
    click.option(
        "--gradient-images",
        type=click.IntRange(1),
        metavar="N",
        help="Images a class for gradients.",
    ),
    click.option(
        "--search-images",
        type=click.IntRange(1),
        metavar="N",
        help="Images a class for the search.",
    ),
    click.option(
        "--test-images", type=click.IntRange(1), metavar="N", help="Images a class for the proof."
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="Images a forward pass: speed and memory, never results.",
    ),
    click.option("--workers", type=click.IntRange(0), help="Processes that read images."),
    click.option("--strict/--no-strict", help="Refuse unreadable images instead of skipping."),
)

pair_options: Callable[[F], F] = stack(
    click.option(
        "--forget",
        metavar="SOURCE",
        help="Images to forget, in place of --concept: a .csv, .tsv or .jsonl file of images and "
        "captions, .tar shards, or a folder.",
    ),
    click.option(
        "--retain",
        metavar="SOURCE",
        help="Images of everything else, with --forget.  [default: none, which needs a parent]",
    ),
    click.option("--name", metavar="TEXT", help="What the images to forget are called."),
    click.option("--parent", metavar="TEXT", help="What they may still be called."),
    click.option(
        "--classes",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="The other names to choose among, one a line; or give --taxonomy.",
    ),
    click.option(
        "--retain-images",
        type=click.IntRange(3),
        metavar="N",
        help="Retain images in all, for gradients and for the search.  [default: 500]",
    ),
)

gradient_options: Callable[[F], F] = stack(
    click.option(
        "--forget-loss",
        metavar="NAME",
        help="relative or cosine (the paper's).  [default: relative]",
    ),
    click.option(
        "--retain-loss",
        metavar="NAME",
        help="multi-positive or contrastive (the paper's).  [default: multi-positive]",
    ),
    click.option(
        "--contrastive-batch",
        type=click.IntRange(2),
        metavar="N",
        help="Images contrasted with each other.  [default: 64]",
    ),
    click.option(
        "--gradient-precision",
        type=click.Choice(["fp32", "bf16"]),
        help="Precision of the gradient pass; sums are fp32.  [default: fp32]",
    ),
    click.option(
        "--checkpoint-activations/--no-checkpoint-activations",
        help="Compute activations again on the way back: less memory, more time.",
    ),
)

cache_option = click.option(
    "--cache/--no-cache",
    default=True,
    help="Reuse and keep the gradient of --retain (see `slsgu cache`).  [default: cache]",
)


run_option = click.option(
    "--run",
    "--run-folder",  # torchrun takes --run for an abbreviation of its own
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Run folder.  [default: runs/<concept>-<hash>]",
)

search_mode_option = click.option(
    "--search",
    type=click.Choice(["default", "paper"]),
    help="How layer and step are chosen.  [default: default]",
)

norms_option = click.option(
    "--norms/--no-norms", help="Also consider gains of LayerNorm and BatchNorm."
)


def concept_option(*, required: bool) -> Callable[[F], F]:
    """`--concept`, which may be given several times."""
    return click.option(
        "--concept",
        "concepts",
        multiple=True,
        required=required,
        metavar="NAME",
        help="What to forget: a name, alias or path (bird/crane). May be given several times.",
    )


also_option = click.option(
    "--also",
    multiple=True,
    metavar="NAME=SOURCE[:TAXONOMY]",
    help="Another data set that must stay as it is: class folders, or shards with labels. May be "
    "given several times; --floor NAME=X sets its floor.",
)


def parse_floors(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str | None, float]:
    """`0.9` for all floors that are not named (under None), or `retain_fine=0.9` for one. Which
    names there are is known once `--also` is."""
    floors: dict[str | None, float] = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not NAME=NUMBER or NUMBER") from None
        if not 0 <= share <= 1:
            raise click.BadParameter(f"{share} is not between 0 and 1")
        floors[name if equals else None] = share
    return floors


def floor_option(text: str) -> Callable[[F], F]:
    """`--floor`, with what its shares are of."""
    return click.option(
        "--floor",
        "floors",
        multiple=True,
        metavar="[NAME=]X",
        callback=parse_floors,
        help=text + "  [default: 0.85]",
    )


def positive(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A finite number above 0; `float` accepts nan and inf."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(
            f"{value:g} is not positive and finite (a positive step ascends the forget loss)"
        )
    return value
