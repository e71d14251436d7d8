"""What the system reads that an edit is for (`--for`), measured on the search split."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from slsgu.concepts.prompts import as_concept
from slsgu.evaluation.exam import CAPTIONS
from slsgu.evaluation.moved import StateProbe, read
from slsgu.evaluation.search_set import SearchSet
from slsgu.interop.places import place_of
from slsgu.models.text_length import text_lengths
from slsgu.task.plan import Plan

T = TypeVar("T")
MOST_CONCEPT, MOST_OTHERS = 32, 96
"""Prompts or images that are measured: their states are kept, and compared at every trial."""

WHAT = {"language": "hidden states of prompts", "vision": "patch tokens of images"}


def with_probe(plan: Plan, search_set: SearchSet) -> SearchSet:
    """The search split, on which it is also measured what the system reads; as it is for an edit
    that is for CLIP itself. Runs the tower once.

    Raises:
        LayerMismatchError: the model has nothing that the system could read.
    """
    system = plan.settings.system
    place = place_of(system, plan.task.clip.model)
    if system is None or place is None:
        return search_set
    texts = place.tower == "language"
    concept, others = _prompts(search_set) if texts else _images(search_set)
    chosen = dict.fromkeys(spread(concept, MOST_CONCEPT), True)
    chosen |= dict.fromkeys(spread(others, MOST_OTHERS), False)
    rows = tuple(sorted(chosen))
    lengths = None
    if texts:
        lengths = tuple(text_lengths(plan.task.clip.tokenize(search_set.book.texts)))
    with place.watch() as seen:
        features = search_set.replay.in_full(place.tower)
    probe = StateProbe(
        system=system,
        what=WHAT[place.tower],
        place=place,
        rows=rows,
        forgotten=np.array([chosen[row] for row in rows], dtype=np.bool_),
        lengths=lengths,
        before=read(place, seen, features, rows, lengths),
    )
    return replace(search_set, probe=probe)


def spread(values: list[T], most: int) -> list[T]:
    """At most so many, evenly from all of them.

    >>> spread([1, 2, 3, 4, 5], 3), spread([1, 2], 3)
    ([1, 3, 5], [1, 2])
    """
    return values[:: max(1, -(-len(values) // most))]


def _images(search_set: SearchSet) -> tuple[list[int], list[int]]:
    """The images with the concept, and the others."""
    forget = search_set.exam.forget
    return np.flatnonzero(forget).tolist(), np.flatnonzero(~forget).tolist()


def _prompts(search_set: SearchSet) -> tuple[list[int], list[int]]:
    """The prompts and captions with the concept, and those without it, by their places."""
    exam, rows = search_set.exam, search_set.book.rows
    named = exam.request is None or exam.request.named
    concept: dict[int, None] = {}
    others: dict[int, None] = {}
    for sample in search_set.forget_samples:
        if sample.caption is not None:
            concept |= dict.fromkeys(rows.get(as_concept(sample.caption), ()))
    for level, forgotten in zip(exam.levels, exam.forgotten_classes, strict=True):
        for each, is_forgotten in zip(level.classes, forgotten, strict=True):
            if not is_forgotten:
                others |= dict.fromkeys(rows[each])
            elif named or level.depth == CAPTIONS:  # without a name, captions alone say it
                concept |= dict.fromkeys(rows[each])
    return list(concept), [row for row in others if row not in concept]
