"""The whole curve of a layer that is no last projection, from a few true evaluations.

Where the target is reached depends on the concept's own images alone, which are few: the step is
found on these. Up to there the features of all images are interpolated in the step
(`slsgu.evaluation.interpolated`), from as many evaluations as it takes until the next one tells
the answers of nearly all images right. What an answer is between these is then known without
another forward pass, and the step that is taken is evaluated truly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slsgu.evaluation.along import Path, along
from slsgu.evaluation.interpolated import Interpolant, next_step
from slsgu.evaluation.metrics import WORDS, Measures
from slsgu.evaluation.search_set import SearchSet
from slsgu.evaluation.summary import Floats, Summary
from slsgu.search.choice import NEAR
from slsgu.search.goal import Goal
from slsgu.search.ray import Ray
from slsgu.search.step import search_step
from slsgu.utils.statistics import wilson

Predicted = npt.NDArray[np.int64]

CLOSE = 0.005  # share of images whose answer may differ at a step that checks; one always may
CHECKS = 5  # evaluations that check, before a layer counts as one that does not interpolate
USUAL = 5  # evaluations of a layer on all images, mostly, with the one of the step that is taken
PLACES = 32  # steps at which the answers of two polynomials are compared
CONFIRMED = 3  # steps of a curve that are evaluated until one holds in truth
HOPELESS = 0.2  # share of answers that may differ at the second check and later ones


@dataclass(frozen=True, eq=False)
class WholeCurve:
    """What the search images say of a layer at every step up to a reach.

    Attributes:
        steps: at which it is drawn, ascending [R].
        relative: the length of the whole change at each, as a share of the norm of the layer [R].
        summary: accuracies and what follows from them, each value [R].
        evaluations: true evaluations that it goes through, but for step 0; None for a curve in
            closed form.
        differs: images whose answer at any level was another one at the step that checked.
        images: that were asked.
    """

    steps: Floats
    relative: Floats
    summary: Summary
    evaluations: int | None = None
    differs: int = 0
    images: int = 0

    @classmethod
    def of(
        cls, ray: Ray, steps: Floats, summary: Summary, most: int, traced: Traced | None = None
    ) -> WholeCurve:
        """A curve at some of many steps, evenly through them, with the last one.

        Args:
            most: how many, about.
            traced: what it was interpolated from; None for a curve in closed form.
        """
        places = np.arange(len(steps))[:: -max(1, len(steps) // most)][::-1]
        relative = np.array([ray.relative(float(step)) for step in steps[places]])
        shown = cls(steps[places], relative, summary.at(places))
        if traced is None:
            return shown
        spent = len(traced.path.steps) - 1
        return replace(shown, evaluations=spent, differs=traced.differs, images=traced.images)

    @property
    def error(self) -> float:
        """The share of images whose answer may be another one at a step: the upper end of the 95 %
        interval of the share at the step that checked; 0 in closed form."""
        return 0.0 if self.evaluations is None else wilson(self.differs, self.images)[1]

    def to_json(self) -> dict[str, Any]:
        """Steps, accuracies and the error, as JSON values."""
        return {
            "evaluations": self.evaluations,
            "differs": self.differs,
            "images": self.images,
            "error": self.error,
            "step_size": self.steps.tolist(),
            "relative_step": self.relative.tolist(),
            "forget_accuracy": self.summary.forget_accuracy.tolist(),
            **{key: _values(row) for key, row in self.summary.after.items() if key in WORDS},
            "q_u": _values(self.summary.q_u),
        }


def _values(row: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in row]


class Known:
    """Features of a layer's tower at steps that were evaluated, and what these do, each once.

    Args:
        search_set: its images and prompts. The tower must be cut before the layer or earlier.
    """

    def __init__(self, search_set: SearchSet, ray: Ray) -> None:
        self.search_set, self.ray = search_set, ray
        self._features: dict[float, Tensor] = {}
        self._measures: dict[float, Measures] = {}
        if ray.start is None:
            self._features[0.0] = search_set.replay.features_of(ray.layer.tower)
        else:
            self.at(0.0)

    def at(self, step: float) -> Tensor:
        """Features [N or P, d] at a step, not normalised."""
        if step not in self._features:
            ray, replay = self.ray, self.search_set.replay
            self._features[step] = replay.features(ray.layer, ray.at(step))
        return self._features[step]

    def measure(self, step: float) -> Measures:
        """What a step does, truly."""
        if step not in self._measures:
            tower = self.ray.layer.tower
            self._measures[step] = self.search_set.measure_features(tower, self.at(step))
        return self._measures[step]

    def measured(self) -> list[tuple[float, Measures]]:
        """Every step that was evaluated but 0, with what it does, ascending."""
        return [(step, self.measure(step)) for step in self.steps if step > 0]

    @property
    def steps(self) -> tuple[float, ...]:
        """The steps that were evaluated, 0 among them, ascending."""
        return tuple(sorted(self._features))

    def path(self, reach: float) -> Interpolant:
        """The polynomial through all steps up to a reach."""
        steps = tuple(step for step in self.steps if step <= reach)
        rows = [self._features[step].double() for step in steps]
        return Interpolant(steps, torch.stack(rows))

    def answers(self, path: Interpolant, steps: Floats) -> Predicted:
        """What is answered by a path at some steps [R, N, L]."""
        tower = self.ray.layer.tower
        features = (path.at(float(step)) for step in steps)
        return np.stack([self.search_set.answers(tower, x).predicted for x in features])


@dataclass(frozen=True, eq=False)
class Traced:
    """A layer's features up to a reach, and what the last evaluation said of those before it.

    Attributes:
        path: the polynomial through all evaluations, the one that checked included.
        differs: images whose answer was another one at the step that checked.
        images: that were asked.
    """

    path: Interpolant
    differs: int
    images: int


def find_reach(known: Known, goal: Goal, trials: int, *, bisect: bool = True) -> float:
    """The shortest step tried at which the target is reached and holds on unseen images; the one
    that comes closest to that if there is none.

    Args:
        known: features of the images of the concept, or of more.
        trials: steps that may be tried.
        bisect: whether it is to be known to a few percent; if not, to a factor of 2.
    """
    tried = search_step(
        known.measure, known.ray.first, reached=goal.lasts, trials=trials, bisect=bisect
    )
    lasting = [step for step, measures in tried if goal.lasts(measures)]
    if lasting:
        return min(lasting)

    def closeness(pair: tuple[float, Measures]) -> tuple[float, float, float]:
        step, measures = pair
        likely = goal.probability(measures) if goal.reached(measures) else None
        return likely or 0.0, -measures.forget_accuracy, -step

    return max(tried, key=closeness)[0]


def trace(known: Known, reach: float) -> Traced | None:
    """Evaluate until the polynomial through all steps tells the next one right; None where it does
    not after `CHECKS` of these, or is hopeless. All are kept in `known`.

    Args:
        known: features of all images, at the longest step of interest too.
        reach: that step.
    """
    known.at(reach)
    places = reach * np.arange(1, PLACES + 1) / PLACES
    told = known.answers(known.path(reach), places)
    known.at(next_step(known.steps, places))
    images = told.shape[1]
    for number in range(CHECKS):
        path = known.path(reach)
        before, told = told, known.answers(path, places)
        step = next_step(path.steps, places, _differ(before, told))
        known.at(step)
        here = np.array([step])
        differs = int(_differ(known.answers(path, here), known.answers(known.path(reach), here))[0])
        if differs <= max(1, CLOSE * images):
            return Traced(known.path(reach), differs, images)
        if number and differs > HOPELESS * images:
            break
    return None


def _differ(one: Predicted, other: Predicted) -> npt.NDArray[np.int64]:
    """Images whose answer at any level differs, at each step [R]."""
    return np.asarray((one != other).any(axis=2).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Choice:
    """The step to take on a curve.

    Attributes:
        step: its size.
        holds: whether the goal is met there and the target likely enough to hold on unseen images.
        summary: what the search images say of all steps.
    """

    step: float
    holds: bool
    summary: Summary


def choose_step(search_set: SearchSet, tower: str, path: Path, steps: Floats, goal: Goal) -> Choice:
    """The step to take on a curve: the first that meets the goal and is likely enough to hold on
    unseen images; where none is likely enough, the first that comes close (`NEAR`) to the best
    product of that probability and Q-U; and where none meets the goal, the best trade-off.

    Args:
        path: features of the layer's tower.
        steps: that may be taken, ascending [R].
    """
    summary = along(search_set, tower, path, steps)
    met, q_u = goal.met_along(summary), np.nan_to_num(summary.q_u)
    if not met.any():
        return Choice(float(steps[q_u.argmax()]), False, summary)
    concept = search_set.concept if tower == "vision" else search_set
    forget = torch.from_numpy(search_set.exam.forget)
    own = path.rows(forget.to(path.at(0.0).device)) if tower == "vision" else path
    asked = []
    for step in steps[met]:  # those beyond the first that is likely enough are not asked about
        unseen = concept.unseen_with(tower, own.at(float(step)))
        asked.append(1.0 if unseen is None else unseen.probability(goal.target))
        if asked[-1] >= goal.confidence:
            return Choice(float(step), True, summary)
    products = np.array(asked) * q_u[met]
    first = np.flatnonzero(products >= products.max() - NEAR)[0]
    return Choice(float(steps[met][first]), False, summary)


def confirmed(known: Known, goal: Goal, steps: Sequence[float]) -> float:
    """The first of some steps that holds in truth; the last one, which is known, if none of the
    first few does."""
    for step in steps[:CONFIRMED]:
        if goal.lasts(known.measure(step)):
            return step
    return steps[-1]
