"""Text merge: let a concept's texts mean what its siblings' names mean, without any picture
(`slsgu.direction.text_merge`)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from slsgu.baselines.words import TextEdit, Words
from slsgu.concepts.taxonomy import Concept, normalise
from slsgu.concepts.wordings import Wording
from slsgu.data.ledger import Ledger
from slsgu.direction.text_merge import (
    DAMPING,
    RANK,
    TOWARDS_ALL,
    Leaving,
    at_length,
    place_to_go,
    second_moment,
    text_merged,
)
from slsgu.errors import SlsguError
from slsgu.models.layers import Tower
from slsgu.search.method import Edit
from slsgu.task.task import Task
from slsgu.task.text_task import TextTask
from slsgu.utils.progress import SILENT, Progress

METHOD = "text-merge"
ABOVE = 100.0  # how much heavier what is above a concept is kept than any other name
OTHERS = 0.03  # how heavy all texts beside the taxonomy are, as a share of all names in it


def text_merge(
    task: Task,
    ledger: Ledger,
    progress: Progress = SILENT,
    *,
    tower: Tower = "language",
    dial: float = 1.0,
    keep: str | Path | None = None,
) -> Edit:
    """From names alone: the concept's texts go where its siblings are. No picture is looked at.

    Args:
        task: what to forget; its pictures only judge the edit.
        ledger: stays as it is.
        tower: whose last projection is edited.
        dial: how far; 1 puts each name on its place.
        keep: a file of texts that must stay beside the taxonomy's names; None takes ImageNet's.

    Raises:
        ModelError: this side does not end in a projection.
        SlsguError: the dial is not finite.
    """
    return merge_texts(TextTask.of(task, keep), progress, tower=tower, dial=dial).edit


def merge_texts(
    task: TextTask,
    progress: Progress = SILENT,
    *,
    tower: Tower = "language",
    dial: float = 1.0,
    towards_all: float = TOWARDS_ALL,
    damping: float = DAMPING,
    rank: float = RANK,
    words: Words | None = None,
) -> TextEdit:
    """Merge the texts of what is to be forgotten with the names of its siblings.

    Args:
        task: what to forget and to keep, in words.
        tower: whose last projection is edited: the texts' leaves all image embeddings as they were,
            the images' all text embeddings.
        dial, towards_all, damping, rank: as in `slsgu.direction.text_merge`.
        words: the task's texts, if they were read before for this side.

    Raises:
        ModelError: this side does not end in a projection.
        SlsguError: the dial is not finite, or the damping is not positive.
    """
    if not (abs(dial) < float("inf") and 0 < damping < float("inf")):
        raise SlsguError(
            f"{METHOD} needs a finite dial and a positive damping, not {dial} and {damping}"
        )
    for note in task.notes:
        progress.say(f"note: {note}")
    start = time.perf_counter()
    words = words or Words.read(task.clip, task.texts, tower, progress)
    read = time.perf_counter()
    leaving = leaving_texts(task, words, towards_all)
    change = text_merged(leaving, kept_moment(task, words), dial=dial, damping=damping, rank=rank)
    record = {
        "method": METHOD,
        "without_images": True,
        "tower": tower,
        "dial": dial,
        "towards_all": towards_all,
        "damping": damping,
        "rank": rank,
    }
    found = words.edited(change, record)
    seconds = {"texts": read - start, "closed form": time.perf_counter() - read}
    return replace(found, edit=replace(found.edit, seconds=seconds))


def leaving_texts(task: TextTask, words: Words, towards_all: float) -> list[Leaving]:
    """The texts of each concept that is to be forgotten, and how far they are from their place."""
    names = {x.concept: words.mean(x.prompts) for x in task.wordings if x.kind == "name"}
    leaves = [names[x] for x in task.kept if x.is_leaf]
    everything = torch.stack(leaves).mean(dim=0)
    if task.others:
        everything = (everything + words.embeddings[words.rows(task.others)].mean(dim=0)) / 2
    found = []
    for concept in task.forgotten:
        siblings = torch.stack([names[x] for x in task.siblings(concept)]).mean(dim=0)
        place = place_to_go(siblings, everything, towards_all)
        if words.features is not None:  # what the text side gives is normalised
            place = at_length(names[concept], place)
        rows = words.rows([p for x in understood(task, words, concept, names) for p in x.prompts])
        name = words.rows(next(x for x in task.wordings if x.concept is concept).prompts)
        inputs = torch.cat([words.inputs[name].mean(dim=0, keepdim=True), words.inputs[rows]])
        texts = torch.cat(
            [words.embeddings[name].mean(dim=0, keepdim=True), words.embeddings[rows]]
        )
        found.append(Leaving(inputs.T, (texts - place).T))
    return found


def understood(
    task: TextTask, words: Words, concept: Concept, names: dict[Concept, Tensor]
) -> list[Wording]:
    """The ways to call a concept that the model takes for it: those whose closest name at its level
    is the concept's. Another text lies anywhere, perhaps on something that is kept. A word that
    also stands for something that is kept is left alone."""
    level = task.request.taxonomy.level(concept.depth)
    rows = torch.stack([names[each] for each in level])
    kept = {normalise(x.words) for x in task.wordings if x.concept not in task.forgotten}
    found = []
    for each in task.wordings:
        if each.concept is not concept:
            continue
        closest = level[int((rows @ words.mean(each.prompts)).argmax())]
        if each.kind == "name" or (closest is concept and normalise(each.words) not in kept):
            found.append(each)
    return found


def kept_moment(task: TextTask, words: Words) -> Tensor:
    """A: the second moment of what is kept, what is above the concept weighed most [i, i]."""
    forgotten = set(task.forgotten)
    weights: dict[int, float] = {}
    for each in task.wordings:
        if each.concept not in forgotten:
            weight = ABOVE if each.concept in task.above else 1.0
            for row in words.rows(each.prompts):
                weights[row] = max(weight, weights.get(row, 0.0))
    rows = list(weights)
    heavy = torch.tensor([weights[row] for row in rows], dtype=torch.float64)
    moment = second_moment(words.inputs[rows], heavy)
    if not task.others:
        return moment
    others = words.inputs[words.rows(task.others)]
    return moment + OTHERS * second_moment(others, torch.ones(len(others), dtype=torch.float64))
