"""The never-knew reference of `audit` and `compare`: a control model, or unknown concepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .groups import option, stack
from .values import load_clip

if TYPE_CHECKING:
    from slsgu.audit.reference import Unknown
    from slsgu.models.clip import Clip
    from slsgu.task.task import Task

F = TypeVar("F", bound=Callable[..., Any])

reference_options: Callable[[F], F] = stack(
    option(
        "Model",
        "--control",
        metavar="SPEC",
        help="A model that was trained without the concept: the never-knew reference.",
    ),
    option(
        "Data",
        "--unknown",
        metavar="SOURCE",
        help="Images of concepts that the model does not know, as the reference instead: class "
        "folders, a table or shards.",
    ),
    option(
        "Data",
        "--known",
        metavar="SOURCE",
        help="Images of concepts of the taxonomy that it knows, to stand beside --unknown.  "
        "[default: those of --data]",
    ),
)


def refuse_two_references(options: dict[str, Any]) -> None:
    """Raises:
    click.UsageError: there are two references, or half of one.
    """
    if options["known"] and not options["unknown"]:
        raise click.UsageError("--known goes with --unknown")
    if options["control"] and options["unknown"]:
        raise click.UsageError("--control and --unknown are two references: give one")


def reference_from(options: dict[str, Any], task: Task) -> tuple[Clip | None, Unknown | None]:
    """The control model, or the unknown concepts, or neither.

    Raises:
        SlsguError: the control is the model itself.
        DataError: the images of unknown concepts cannot be used.
    """
    from slsgu.audit.reference import Unknown
    from slsgu.errors import SlsguError

    if options["unknown"]:
        return None, Unknown.find(task, options["unknown"], options["known"])
    if not options["control"]:
        return None, None
    control = load_clip({**options, "model": options["control"], "pretrained": None})
    if control.sha256 == task.clip.sha256:
        raise SlsguError(
            f"--control {options['control']} is the model itself: give one that was trained "
            "without the concept"
        )
    return control, None
