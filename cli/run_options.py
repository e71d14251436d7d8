"""`--run`: what a run was made with, in place of options that are not typed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .request_file import options_of
from .values import pairs_from, settings_from

if TYPE_CHECKING:
    from slsgu.concepts.taxonomy import Taxonomy
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
NAMES = ("classes", "siblings", "parent")  # names that a run was given beside or without a taxonomy


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
    taken = {
        name: of_run[name]
        for name, others in TAKEN.items()
        if not any(typed(each) for each in (name, *others))
    }
    if "data" in taken:
        taken["data"] = _data_of(of_run)
    if "taxonomy" in taken:
        taken["taxonomy"] = _taxonomy_of(of_run)
    return {**options, **taken}


def _data_of(of_run: dict[str, Any]) -> str | None:
    """The data of a run, by name; None where `--forget` brought the images.

    Raises:
        DataError: the run was made from names alone, and the drawings are not of its model.
    """
    from slsgu.errors import DataError
    from slsgu.task.find import MENAGERIE

    data: str | None = of_run["data"]
    if data is not None or of_run["forget"]:
        return data
    if without_images(of_run):
        raise DataError(
            "the run was made from names alone, so it has no images to measure on: give --data a "
            "folder with one folder per class"
        )
    return MENAGERIE


def without_images(of_run: dict[str, Any]) -> bool:
    """Whether a run has no images to measure on: it was made from names alone, and the drawings
    are not of its model."""
    return bool(of_run["no_images"]) and of_run["data"] is None and not _embedded(of_run)


def _taxonomy_of(of_run: dict[str, Any]) -> str | Taxonomy | None:
    """The taxonomy of a run: by name, or, where names alone were added to it or took its place,
    made again from them.

    Raises:
        SlsguError: the file of classes, or the taxonomy, is not there any more.
    """
    from slsgu.task.text_request import find_request

    if not _has_own_names(of_run):
        taxonomy: str | None = of_run["taxonomy"]
        return taxonomy
    parts = {name: of_run[name] for name in ("taxonomy", *NAMES)}
    request, _ = find_request(of_run["concepts"], **parts, embedded=_embedded(of_run))
    return request.taxonomy


def _has_own_names(of_run: dict[str, Any]) -> bool:
    """Whether names that were given with a run, and no taxonomy alone, say what there is."""
    return bool(of_run["no_images"]) and any(of_run[name] for name in NAMES)


@contextlib.contextmanager
def explaining_names(of_run: dict[str, Any] | None) -> Iterator[None]:
    """Where images do not fit the names that were given with a run, say which do without them."""
    from slsgu.errors import DataError

    try:
        yield
    except DataError as error:
        if of_run is not None and _has_own_names(of_run) and not typed("taxonomy"):
            error.add_note(
                "(the names are those that the run was made with. To take the class folders for "
                "the names instead, leave --run out and give --patch, --model, --data, and by "
                "--concept the folder of what is to be forgotten)"
            )
        raise


def _embedded(of_run: dict[str, Any]) -> bool:
    """Whether a run is of the embedded model."""
    from slsgu.task.find import MENAGERIE

    return of_run["model"] in (None, MENAGERIE)


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
        taxonomy=_taxonomy_of(of_run),
        pairs=pairs_from(of_run),
        settings=settings.data,
        machine=settings.machine,
    )
