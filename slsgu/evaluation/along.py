"""What an exam says at many steps of a layer at once, however its features are known to move."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from slsgu.evaluation.closed_form import Line, exact_curve
from slsgu.evaluation.interpolated import Interpolant
from slsgu.evaluation.metrics import summarise
from slsgu.evaluation.search_set import SearchSet
from slsgu.evaluation.summary import Floats, Summary

Path: TypeAlias = Line | Interpolant
"""How the features of a layer's tower move with the step."""


def along(search_set: SearchSet, tower: str, path: Path, steps: Floats) -> Summary:
    """What follows from the accuracies at many steps, each value [R]: on a line in closed form,
    between evaluations by the answers at each step.

    Args:
        path: the features of the layer's tower.
        steps: from 0 on, ascending [R].
    """
    exam, before = search_set.exam, search_set.before
    if isinstance(path, Line):
        return exact_curve(path, exam, search_set.classes, before, float(steps[-1])).at(steps)
    answers = [search_set.answers(tower, path.at(float(step))) for step in steps]
    after = np.stack([exam.accuracies(each) for each in answers])
    unedited = exam.accuracies(before)[None].repeat(len(steps), axis=0)
    return summarise(search_set.unchanged.levels, unedited, after)
