"""Options that several commands share, and the list of those that make a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .data_options import (
    MUST_HOLD,
    also_option,
    data_options,
    gradient_image_option,
    model_options,
    pair_options,
    record_options,
    retain_image_option,
    search_image_option,
    test_image_option,
    text_options,
)
from .groups import Words, option, stack
from .search_options import (
    activation_memory_option,
    direction_option,
    gradient_options,
    machine_options,
    memory_options,
    norms_option,
    search_mode_option,
    search_options,
    start_options,
)

F = TypeVar("F", bound=Callable[..., Any])


def concept_option(text: str) -> Callable[[F], F]:
    """`--concept`, which may be given several times."""
    return option(
        "Request", "--concept", "concepts", type=Words(), multiple=True, metavar="NAME", help=text
    )


json_option = option(
    "Output", "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."
)

force_option = option(
    "Output", "--force", is_flag=True, help="Replace the file that --out names, if it exists."
)


def out_option(
    text: str,
    *,
    metavar: str = "FILE",
    required: bool = True,
    dir_okay: bool = True,
    suffix: str | None = None,
) -> Callable[[F], F]:
    """`--out`: what a command writes, and where.

    Args:
        suffix: of the one format that it writes, so that no file claims to be of another.
    """

    def check(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
        if path is not None and suffix is not None and path.suffix.lower() != suffix:
            raise click.BadParameter(f"{path} must end in {suffix}, the format that is written")
        return path

    return option(
        "Output",
        "-o",
        "--out",
        type=click.Path(dir_okay=dir_okay, path_type=Path),
        required=required,
        metavar=metavar if suffix is None else f"FILE{suffix}",
        callback=check,
        help=text,
    )


def out_folder_option(text: str) -> Callable[[F], F]:
    """`--out`: the folder for what a command writes."""
    return option(
        "Output",
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help=text,
    )


run_option = option(
    "Output",
    "--run",
    "--run-folder",  # torchrun takes --run for an abbreviation of its own
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for everything that this run writes.  [default: runs/<concept>-<hash>]",
)

what_to_forget = concept_option(
    "What to forget: a name, alias or path (bird/crane). May be given several times."
)

request_options: Callable[[F], F] = stack(
    what_to_forget,
    pair_options,
    text_options,
    record_options,
    model_options,
    data_options,
    also_option(MUST_HOLD),
    gradient_image_option,
    search_image_option,
    test_image_option("50"),
    retain_image_option,
    gradient_options,
    direction_option,
    start_options,
    norms_option,
    search_options,
    machine_options,
    activation_memory_option,
    memory_options,
)
"""Everything that a request may say, on the command line of `apply` or in a file."""

gradient_request_options: Callable[[F], F] = stack(
    what_to_forget,
    pair_options,
    model_options,
    data_options,
    gradient_image_option,
    search_image_option,
    test_image_option("50"),
    retain_image_option,
    gradient_options,
    search_mode_option,
    machine_options,
    memory_options,
)
"""The part of a request that decides the gradients."""
