"""A request without pictures, from words to an outcome: the edit is made from texts, measured on
texts, and recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from slsgu.baselines.text_merge import merge_texts
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.errors import NotReachedError
from slsgu.evaluation.text_proof import TextProof, prove_by_text
from slsgu.models.clip import Clip
from slsgu.models.layers import Tower
from slsgu.models.sense import refuse_uninformative
from slsgu.patch.patch import Patch
from slsgu.pipeline.conclude import record_of
from slsgu.pipeline.run_folder import RUNS, RunFolder
from slsgu.search.method import Edit
from slsgu.task.checks import one_of
from slsgu.task.text_task import TextTask, make_text_task
from slsgu.utils.artifact import refuse_name
from slsgu.utils.files import json_sha256, slug
from slsgu.utils.progress import SILENT, Progress
from slsgu.utils.wording import listed


@dataclass(frozen=True, eq=False)
class TextOutcome:
    """Everything that a request without pictures found.

    Attributes:
        task: what was to be forgotten and kept, in words.
        edit: the change that was measured.
        proof: what the edit does to texts.
        success: the concept is not called so any more, and what is kept finds its place.
        shortfall: what is missing, in words; empty on success.
        patch: the edit with its full record; None where it is no success and nobody insisted.
        seconds: wall time of `total`, and of the steps.
        about: what a person wrote about the request: `asked_by`, `reason`.
        command: the command line, None from Python.
    """

    task: TextTask
    edit: Edit
    proof: TextProof
    success: bool
    shortfall: str
    patch: Patch | None
    seconds: Mapping[str, float]
    about: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


def unlearn_by_text(
    clip: Clip,
    *concepts: str,
    taxonomy: str | Path | Taxonomy | None = None,
    classes: str | Path | None = None,
    siblings: Sequence[str] = (),
    parent: str | None = None,
    templates: str | None = None,
    keep: str | Path | None = None,
    tower: Tower = "language",
    progress: Progress = SILENT,
) -> TextOutcome:
    """Forget concepts without any picture: seconds, and no data.

    Args:
        clip: the model; it is unchanged.
        concepts: what to forget, by name, alias or path. One that the taxonomy does not have needs
            siblings or a parent.
        taxonomy: the names to choose among; None for the menagerie's with its own model.
        classes: a file with these names, one per line, in place of a taxonomy.
        siblings: names that are close to the concept, and kept.
        parent: a broader name that the model may keep using.
        templates: a set's name or a file; None takes the taxonomy's or OpenCLIP's simple set.
        keep: a file of other texts that must stay, one per line; None takes ImageNet's names.
        tower: whose last projection is edited.

    Raises:
        ConceptError: a concept is unknown or ambiguous, or nothing says what it is close to.
        DataError: a file or the taxonomy cannot be used.
        ModelError: this side of the model does not end in a projection.
        SlsguError: there is no such tower.
        NotReachedError: the goal was not met; its `result` holds the outcome.
    """
    task = make_text_task(
        clip,
        concepts,
        taxonomy=taxonomy,
        classes=classes,
        siblings=siblings,
        parent=parent,
        templates=templates,
        keep=keep,
    )
    outcome = run_text_task(task, tower=tower, progress=progress)
    if outcome.patch is None:
        raise NotReachedError(outcome.shortfall, outcome)
    return outcome


def run_text_task(
    task: TextTask,
    *,
    tower: Tower = "language",
    force: bool = False,
    progress: Progress = SILENT,
    command: str | None = None,
    about: Mapping[str, str] | None = None,
) -> TextOutcome:
    """Carry out a request without pictures.

    Args:
        tower: whose last projection is edited.
        force: return a patch though the goal was not met.
        command: the command line, recorded in the patch.
        about: free text that is recorded with it: `asked_by`, `reason`.

    Raises:
        ModelError: this side of the model does not end in a projection.
    """
    start = time.perf_counter()
    one_of("tower", tower, get_args(Tower))
    refuse_uninformative(task.clip)
    found = merge_texts(task, progress, tower=tower)
    merged = time.perf_counter()
    proof = prove_by_text(task, found.texts)
    misses = proof.misses()
    seconds = {**found.edit.seconds, "proof": time.perf_counter() - merged}
    patch = None
    if force or not misses:
        record = {**record_of(task), "command": command, **(about or {}), "success": not misses}
        patch = replace(found.edit.patch, metadata={**found.edit.patch.metadata, **record})
    return TextOutcome(
        task=task,
        edit=found.edit,
        proof=proof,
        success=not misses,
        shortfall=f"the goal was not met on texts: {listed(misses)}" if misses else "",
        patch=patch,
        seconds={**seconds, "total": time.perf_counter() - start},
        about=dict(about or {}),
        command=command,
    )


def text_run_folder(task: TextTask, tower: Tower, explicit: Path | None = None) -> RunFolder:
    """The folder of a request without pictures: the one named by the user, or
    `runs/<concept>-<hash>`.

    Raises:
        ArtifactError: `explicit` is no name for a run folder.
    """
    if explicit is not None:
        refuse_name(explicit)
        return RunFolder(explicit)
    key = [
        task.clip.sha256, task.request.describe(), task.templates, task.others, tower, "no images"
    ]  # fmt: skip
    return RunFolder(RUNS / f"{slug(task.request.title)}-{json_sha256(key)[:8]}")
