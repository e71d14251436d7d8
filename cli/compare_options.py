"""Options of `slsgu compare`: which methods, how much is spent on each, and what never knew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .groups import option, stack

LEAST_CAP = 32  # one step of a method that takes forget and retain images

F = TypeVar("F", bound=Callable[..., Any])

compare_options: Callable[[F], F] = stack(
    option(
        "Data",
        "--elsewhere",
        metavar="SOURCE",
        help="Images of the concept from another source, with their classes: is it forgotten "
        "there, too?",
    ),
    option(
        "Method",
        "--methods",
        metavar="NAME,NAME,...",
        help="Only these methods.  [default: all]",
    ),
    option(
        "Method",
        "--method",
        "own",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE.py",
        help="A method of your own: a Python file with `method(task, ledger, progress)`. The file "
        "is run. Alone, unless --methods names others.",
    ),
    option(
        "Method",
        "--cap",
        type=click.IntRange(LEAST_CAP, 1_000_000),
        metavar="N",
        help="Most image gradients that an iterative method trains on in one run.  [default: 480 "
        "for every 50 images to be forgotten; with --quick, half of that]",
    ),
    option(
        "Method",
        "--seeds",
        type=click.IntRange(1, 100),
        metavar="N",
        help="Runs of each method that draws anything at random.  [default: 3; with --quick: 1]",
    ),
    option(
        "Method",
        "--quick",
        is_flag=True,
        help="A first look: short runs, two values of each rate, one seed, fewer test images, and "
        "no training after an edit.",
    ),
    option(
        "Method",
        "--never-knew",
        type=click.FloatRange(0, 1),
        metavar="X",
        help="Without --control and --unknown: how often a few images find what the model never "
        "knew, as a share of how often they find the concept before the edit. It judges all "
        "methods and changes none: slsgu aims at its own 0.93.  [default: 0.93]",
    ),
    option(
        "Speed and memory",
        "--jobs",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        metavar="N",
        help="Processes that share the methods; each has the images in memory.",
    ),
)
