"""CCUP: project a concept's texts out of the last projection, without any picture
(`slsgu.direction.ccup`)."""

from __future__ import annotations

import time
from dataclasses import replace

from slsgu.baselines.words import TextEdit, Words
from slsgu.data.ledger import Ledger
from slsgu.direction.ccup import projected_out
from slsgu.models.layers import Tower
from slsgu.search.method import Edit
from slsgu.task.task import Task
from slsgu.task.text_task import TextTask
from slsgu.utils.progress import SILENT, Progress

METHOD = "ccup"


def ccup(
    task: Task, ledger: Ledger, progress: Progress = SILENT, *, tower: Tower = "vision"
) -> Edit:
    """From names alone: the concept's texts are projected out. No picture is looked at.

    Args:
        task: what to forget; its pictures only judge the edit.
        ledger: stays as it is.
        tower: whose last projection is edited.

    Raises:
        ModelError: this side does not end in a projection.
    """
    return project_texts_out(TextTask.of(task), progress, tower=tower).edit


def project_texts_out(
    task: TextTask,
    progress: Progress = SILENT,
    *,
    tower: Tower = "vision",
    words: Words | None = None,
) -> TextEdit:
    """Project the names of what is to be forgotten out, in all templates.

    Args:
        task: what to forget, in words.
        tower: whose last projection is edited. Of the texts, the concept's own would keep what is
            left of them, at full length, which is still closest to its pictures.
        words: the task's texts, if they were read before for this side.

    Raises:
        ModelError: this side does not end in a projection.
    """
    start = time.perf_counter()
    words = words or Words.read(task.clip, task.texts, tower, progress)
    forgotten = set(task.forgotten)
    texts = [
        text
        for each in task.wordings
        if each.concept in forgotten and each.kind == "name"
        for text in each.prompts
    ]
    change = projected_out(words.embeddings[words.rows(texts)].T)
    if words.features is not None:  # as a map of what goes into the projection
        change = change @ words.projection.matrix
    found = words.edited(change, {"method": METHOD, "without_images": True, "tower": tower})
    return replace(
        found, edit=replace(found.edit, seconds={"closed form": time.perf_counter() - start})
    )
