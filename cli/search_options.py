"""Options that say how: losses, direction, search, speed and memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from .groups import option, stack

F = TypeVar("F", bound=Callable[..., Any])
SYSTEMS = ("clip", "sd1", "sd2", "sdxl", "sdxl-1", "sdxl-2", "llava")  # slsgu.interop.targets
FLOORS = ("forget_coarse", "retain_fine", "retain_coarse", "retain_states")


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


def positive(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A finite number above 0; `float` accepts nan and inf."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(
            f"{value:g} is not positive and finite (a positive step ascends the forget loss)"
        )
    return value


def floor_option(text: str) -> Callable[[F], F]:
    """`--floor`, with what its shares are of."""
    return option(
        "Search",
        "--floor",
        "floors",
        multiple=True,
        metavar="[NAME=]X",
        callback=parse_floors,
        help=text + "  [default: 0.85]",
    )


machine_options: Callable[[F], F] = stack(
    option("Speed and memory", "--device", default="auto", show_default=True, metavar="NAME",
           help="cpu, cuda, cuda:1 or mps; auto takes the fastest that is there."),
    option(
        "Speed and memory",
        "--precision",
        type=click.Choice(["fp32", "bf16", "fp16"]),
        default="fp32",
        show_default=True,
        help="Precision of evaluation; weights and updates are always fp32.",
    ),
    option(
        "Speed and memory",
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Images per forward pass. Changes a result only by rounding.  [default: 64; on the "
        "CPU fewer for a model with large activations, so that they stay within 1.5 GiB]",
    ),
    option(
        "Speed and memory",
        "--workers",
        type=click.IntRange(0),
        metavar="N",
        help="Processes that read images.  [default: up to 4]",
    ),
)  # fmt: skip

gradient_options: Callable[[F], F] = stack(
    option(
        "Method",
        "--forget-loss",
        metavar="NAME",
        help="relative or cosine (the paper's).  [default: relative; with --search paper: cosine]",
    ),
    option(
        "Method",
        "--retain-loss",
        metavar="NAME",
        help="multi-positive, contrastive (the paper's) or cosine (nothing is contrasted).  "
        "[default: multi-positive; with --search paper: contrastive; without retain images: "
        "cosine]",
    ),
    option(
        "Method",
        "--contrastive-batch",
        type=click.IntRange(2),
        metavar="N",
        help="Images contrasted with each other in the retain loss.  [default: 64]",
    ),
    option(
        "Method",
        "--gradient-precision",
        type=click.Choice(["fp32", "bf16"]),
        help="Precision of the gradient pass; sums are always fp32.  [default: fp32]",
    ),
)

direction_option: Callable[[F], F] = option(
    "Method",
    "--direction",
    metavar="NAME",
    help="Which way the layer moves: keep-aware or gradient (the paper's).  [default: keep-aware; "
    "with --search paper: gradient]",
)
start_options: Callable[[F], F] = stack(
    option(
        "Method",
        "--merge",
        type=click.FloatRange(0, 2),
        metavar="X",
        help="How far a last projection of the image side first moves images of the concept onto "
        "their siblings: 0 not at all, 1 until their means are one.  [default: with --goal remove "
        "what the search images ask for; otherwise, with --step and with --search paper: 0]",
    ),
    option(
        "Method",
        "--merge-onto",
        type=click.Choice(["siblings", "nearest"]),
        help="Onto the mean of the siblings, or onto the nearest of them.  [default: siblings; "
        "nearest where no merge with their mean makes the concept harder to find by five images]",
    ),
    option(
        "Method",
        "--unname/--no-unname",
        default=None,
        help="Let the last projection of the image side first take the concept's name, so that it "
        "scores what the names of its siblings score.  [default: yes; with --step and with "
        "--search paper: no]",
    ),
)
norms_option: Callable[[F], F] = option(
    "Method",
    "--norms/--no-norms",
    default=None,
    help="Let the gains of LayerNorm and BatchNorm compete too.  [default: no; with --search "
    "paper: yes]",
)

search_mode_option: Callable[[F], F] = option(
    "Search",
    "--search",
    type=click.Choice(["default", "paper"]),
    help="How layer and step are chosen: the smallest step that holds on unseen images, under the "
    "floors, or by the paper's algorithms.  "
    "[default: default]",
)

search_options: Callable[[F], F] = stack(
    search_mode_option,
    option(
        "Search",
        "--goal",
        type=click.Choice(["suppress", "remove"]),
        help="suppress: the model no longer gives the name. remove: a few photographs do not find "
        "the concept more easily than what the model never knew, either.  [default: remove]",
    ),
    option(
        "Search",
        "--never-knew",
        type=click.FloatRange(0, 1),
        metavar="X",
        help="How often a few photographs find what the model never knew, as a share of how often "
        "they find what it knows.  [default: 0.93]",
    ),
    option(
        "Search",
        "--target",
        type=click.FloatRange(0, 1),
        metavar="X",
        help="Highest accuracy that may remain at any level that is to be forgotten.  "
        "[default: 0.05]",
    ),
    option(
        "Search",
        "--confidence",
        type=click.FloatRange(0, 0.9999),
        metavar="X",
        help="The step must reach --target on unseen images with this probability, estimated from "
        "the search images; 0 counts the search images alone. --search paper does not use it.  "
        "[default: 0.975]",
    ),
    floor_option(
        "Least share of an accuracy that must remain: one number for all, or forget_coarse=X, "
        "retain_fine=X, retain_coarse=X, or the name of a data set of --also; with --for also "
        "retain_states=X, of what the system reads of everything else."
    ),
    option(
        "Search",
        "--tower",
        type=click.Choice(["vision", "language"]),
        help="Only layers of this tower.  [default: both]",
    ),
    option(
        "Search",
        "--for",
        "system",
        type=click.Choice(SYSTEMS),
        help="Only layers that this system reads, and only steps that move what it reads of the "
        "concept: Stable Diffusion 1.x, 2.x or XL (sdxl-1 and sdxl-2: its first and second text "
        "encoder; sdxl: what both read), LLaVA 1.5, or CLIP itself.  [default: clip]",
    ),
    option(
        "Search",
        "--moves",
        type=click.FloatRange(0, 1),
        metavar="X",
        help="With --for: how far what the system reads of the concept must move, as a share of "
        "its length; it must also move farther than what it reads of everything else.  "
        "[default: 0.15]",
    ),
    option("Search", "--layer", metavar="NAME", help="Only this layer (`slsgu layers` lists all)."),
    option(
        "Search",
        "--step",
        type=float,
        metavar="X",
        callback=positive,
        help="Only this step size; needs --layer.",
    ),
    option(
        "Search",
        "--trials",
        type=click.IntRange(1, 60),
        metavar="K",
        help="How often the step is doubled and bisected, until the concept is gone.  "
        "[default: 10]",
    ),
    option(
        "Search",
        "--thorough/--no-thorough",
        help="Search every candidate layer, even after one reaches a near-perfect Q-U.  "
        "[default: no]",
    ),
    option(
        "Search",
        "--force/--no-force",
        help="Write the patch even if the goal is not met, and go on with a concept that the "
        "model does not know.  [default: no]",
    ),
)

activation_memory_option: Callable[[F], F] = option(
    "Speed and memory",
    "--activation-memory",
    type=click.FloatRange(0, math.inf, max_open=True),
    metavar="GIB",
    help="Memory for the images and activations that the search keeps.  [default: half of "
    "what is free]",
)
memory_options: Callable[[F], F] = stack(
    option(
        "Speed and memory",
        "--checkpoint-activations/--no-checkpoint-activations",
        help="Compute activations again in the backward pass: less memory, more time.  "
        "[default: no]",
    ),
    option(
        "Speed and memory",
        "--cache/--no-cache",
        default=True,
        help="Reuse and keep the gradient of --retain (see `slsgu cache`).  [default: cache]",
    ),
)
