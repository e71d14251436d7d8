"""`--run`: what a run was made with, in place of options that are not typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .request_file import options_of
from .values import pairs_from, settings_from

if TYPE_CHECKING:
    from slsgu.models.clip import Clip
    from slsgu.task.task import Task

# What a run says about the model and the data, and the options that say it otherwise.
TAKEN: dict[str, tuple[str, ...]] = {
    "model": (),
    "pretrained": ("model",),
    "quick_gelu": ("model", "pretrained"),
    "cache_dir": (),
    "data": (),
    "taxonomy": (),
    "templates": (),
    "seed": (),
}


def read_run(run: Path) -> dict[str, Any]:
    """The options that a run was made with.

    Raises:
        SlsguError: the folder is not one of a run, or its request makes no sense.
    """
    from slsgu.errors import ArtifactError
    from slsgu.pipeline.run_folder import RunFolder
    from slsgu.utils.reading import read_text

    folder = RunFolder(run)
    request = folder.request
    if not request.is_file() and folder.refused.is_file():
        raise ArtifactError(
            f"the run in {run} was refused, and made no edit that can be measured: "
            f"{read_text(folder.refused, 'the refusal').strip()}"
        )
    if not request.is_file():
        raise ArtifactError(
            f"{run} is not a run folder: it has no {request.name}, in which `slsgu grads` and "
            "`slsgu apply` record the request"
        )
    return options_of(request)


def typed(name: str) -> bool:
    """Whether an option of the command that runs now was typed."""
    source = click.get_current_context().get_parameter_source(name)
    return source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def with_run(options: dict[str, Any], of_run: dict[str, Any]) -> dict[str, Any]:
    """The options of a command, completed by those of a run; what is typed overrides the run. Data
    that the run left out are the drawings, by name: with another model they are no default.

    Args:
        of_run: the options of the run.
    """
    of_run = {**of_run, "data": _data_of(of_run)}
    taken = {
        name: of_run[name]
        for name, others in TAKEN.items()
        if not any(typed(each) for each in (name, *others))
    }
    return {**options, **taken}


def _data_of(of_run: dict[str, Any]) -> str | None:
    """The data of a run, by name; None where `--forget` brought the images."""
    from slsgu.task.find import MENAGERIE

    data: str | None = of_run["data"]
    return MENAGERIE if data is None and not of_run["forget"] else data


def task_of_run(of_run: dict[str, Any], clip: Clip) -> Task:
    """The task of a run, made again: its request and its images.

    Args:
        of_run: the options of the run.
        clip: the model in use, which need not be the run's.

    Raises:
        SlsguError: the data of the run is not there any more.
    """
    from slsgu.task.task import make_task

    settings = settings_from(of_run)
    return make_task(
        clip,
        of_run["concepts"],
        data=_data_of(of_run),
        taxonomy=of_run["taxonomy"],
        pairs=pairs_from(of_run),
        settings=settings.data,
        machine=settings.machine,
    )
