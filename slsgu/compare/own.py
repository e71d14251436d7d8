"""Methods of users: whatever their code does wrong is told of the code, and stops nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from slsgu.baselines.iterative import Tunable
from slsgu.compare.cell_schema import cell_of
from slsgu.compare.cells import Cell
from slsgu.errors import ArtifactError, ModelError, SlsguError
from slsgu.evaluation.metrics import Measures
from slsgu.models.clip import Clip, weights_sha256
from slsgu.patch.patch import Patch
from slsgu.patch.size import refuse_idle
from slsgu.search.method import Edit
from slsgu.utils.schema import is_number, parse_json
from slsgu.utils.wording import in_a_line


@contextlib.contextmanager
def blaming(what: str) -> Iterator[None]:
    """Within, code of a user runs: whatever it raises, an exit included, becomes an error that
    says so. An interrupt stays what it is. The working directory is afterwards the one it was.

    Args:
        what: runs, for the message.

    Raises:
        SlsguError: it has raised something.
    """
    try:
        with contextlib.chdir(Path.cwd()):
            yield
    except (SlsguError, KeyboardInterrupt):
        raise
    except BaseException as error:
        told = message(error)
        name = type(error).__name__
        raise SlsguError(f"{what} ended with {name}{f': {told}' if told else ''}") from error


@contextlib.contextmanager
def leaving(clip: Clip, method: str) -> Iterator[None]:
    """Within, a method of a user has a model at hand, which others are measured on afterwards.

    Args:
        method: its name, for the message.

    Raises:
        ModelError: it has changed the model: its weights, its mode or its hooks.
    """
    before = weights_sha256(clip.model), _state(clip)
    number, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(number)
        torch.set_grad_enabled(gradients)
    if (weights_sha256(clip.model), _state(clip)) != before:
        raise ModelError(
            f"{method}: method() has changed the model itself, so nothing else can be measured on "
            "it: let it work on a copy, and return the change as a Patch"
        )


def _state(clip: Clip) -> list[tuple[bool, int, int]]:
    """Of every module, whether it trains, and how many hooks run before and after it."""
    return [
        (module.training, len(module._forward_pre_hooks), len(module._forward_hooks))
        for module in clip.model.modules()
    ]


def message(error: object) -> str:
    """The message of an error, in one line that can be read, even if it fails to make one."""
    try:
        return in_a_line(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "(it fails to say what)"


def refuse_unusable(method: object) -> None:
    """Refuse a method that does not say of itself what a comparison needs to know.

    Raises:
        SlsguError: it does not.
    """
    with blaming("what `method` says of itself"):
        bool(getattr(method, "random", False))
        if isinstance(method, Tunable):
            values = tuple(method.values)
            if not values or not all(is_number(value) for value in values):
                raise SlsguError("`values` of `method` must be numbers, one at least")


def refuse_unfit(edit: object) -> None:
    """Refuse what is no edit.

    Raises:
        SlsguError: it is something else.
    """
    if not isinstance(edit, Edit):
        raise SlsguError(f"method() returned {_kind(edit)}, not an Edit")
    if not isinstance(edit.patch, Patch):
        raise SlsguError(f"the `patch` of its Edit is {_kind(edit.patch)}, not a Patch")
    if not isinstance(edit.measures, Measures | None):
        raise SlsguError(f"the `measures` of its Edit are {_kind(edit.measures)}, not Measures")


def refuse_no_change(patch: Patch) -> None:
    """Refuse a patch that leaves the model as it is: to compare that is what the control `nothing`
    is for.

    Raises:
        ArtifactError: no bit of any layer changes.
    """
    if not patch.delta:
        raise ArtifactError("its patch changes no layer")
    refuse_idle(patch, "its patch")


def refuse_odd(cell: Cell) -> None:
    """Refuse a cell that could not be read again.

    Raises:
        SlsguError: a value in it makes no sense.
    """
    try:
        value = parse_json(json.dumps(cell.to_json(), allow_nan=False))
        cell_of(cell.method, cell.seed)(value, "")
    except (TypeError, ValueError) as error:
        raise SlsguError(f"its Edit cannot be written down: {message(error)}") from error


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
