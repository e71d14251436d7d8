"""More images to learn from than an edit was made from, none of them used to search or to test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slsgu.audit.subject import MOST_EXAMPLES
from slsgu.data.samples import Sample
from slsgu.task.find import find_splits
from slsgu.task.task import Task


def more_examples(task: Task, data: str | Path | None) -> tuple[Sample, ...]:
    """The gradient split of a task's data with up to `MOST_EXAMPLES` images of every class: the
    retain images of an edit are capped in all, and would be few of each class.

    Args:
        task: its splits say how the data is divided.
        data: where its images come from; None for the drawings.
    """
    limits = task.data.limits
    many = max(MOST_EXAMPLES, limits.gradient or MOST_EXAMPLES)
    wide = replace(task.data, limits=replace(limits, gradient=many, retain_gradient=None))
    return find_splits(task.clip, data, task.taxonomy, wide, task.request).gradient
