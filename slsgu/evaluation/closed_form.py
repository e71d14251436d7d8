"""The closed form: image features that are linear in the step, and the steps at which answers
change.

Where the layer is a last projection of the image side, the features of an image are
`base + step * slope`, and so is its score for every class. The class of an image is on top
between two steps that two divisions give, so the accuracy over *all* steps is known exactly,
without a forward pass and without a bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slsgu.evaluation.exam import Answers, Exam
from slsgu.evaluation.metrics import measure, summarise
from slsgu.evaluation.summary import Floats, Summary

LINEAR = 1e-5  # largest deviation from a line, as a share of the features and how far they move


@dataclass(frozen=True, eq=False)
class Line:
    """Features `base + step * slope` of N images, not normalised; both [N, d], float64."""

    base: Tensor
    slope: Tensor

    def at(self, step: float) -> Tensor:
        """Features [N, d] at a step, float32."""
        return (self.base + step * self.slope).float()

    def rows(self, chosen: Tensor) -> Line:
        """The line of some images.

        Args:
            chosen: which [N].
        """
        return Line(self.base[chosen], self.slope[chosen])

    def spans(self, classes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Between which steps the label of each image has the highest score.

        A score is a line in the step, and the steps at which one line lies above all others are
        an interval.

        Args:
            classes: class embeddings [C, d].
            labels: the right class of each image, -1 where there is none [N].

        Returns:
            The lower and the upper end, each [N]; infinite where there is none, and the lower
            above the upper where the label is never on top.
        """
        texts = classes.to(self.base)
        own = labels.clamp(min=0)[:, None]  # [N, 1]
        starts, slopes = self.base @ texts.T, self.slope @ texts.T  # [N, C]
        lead = starts.gather(1, own) - starts  # [N, C], how far the label is ahead at step 0
        gain = slopes.gather(1, own) - slopes  # [N, C], and what a unit of step adds
        crossing = -lead / gain
        low = crossing.masked_fill(gain <= 0, -torch.inf).amax(dim=1)
        high = crossing.masked_fill(gain >= 0, torch.inf).amin(dim=1)
        never = ((gain == 0) & (lead < 0)).any(dim=1)  # a parallel line lies above
        # Of two that are always equal the first is the answer, as `argmax` has it.
        earlier = torch.arange(len(texts), device=labels.device) < own
        never |= ((gain == 0) & (lead == 0) & earlier).any(dim=1) | (labels < 0)
        return low.masked_fill(never, torch.inf), high.masked_fill(never, -torch.inf)


def straight_line(features: Callable[[float], Tensor], step: float) -> Line | None:
    """The line on which features move, or None where they do not move on one.

    Args:
        features: features [N, d] at a step.
        step: how far to look: the line is drawn through 0 and `step`, and checked at twice it.
    """
    base, one, two = (features(at).double() for at in (0.0, step, 2 * step))
    moved = one - base
    if float((two - base - 2 * moved).norm()) > LINEAR * float(moved.norm() + base.norm()):
        return None
    return Line(base, moved / step)


@dataclass(frozen=True, eq=False)
class Curve:
    """The answers to an exam over all steps from 0 to a limit: constant between edges.

    Attributes:
        edges: steps at which an answer changes, with 0 and the limit [E + 1].
        summary: what follows from the accuracies between them, each value [E].
    """

    edges: Floats
    summary: Summary

    @property
    def steps(self) -> Floats:
        """One step within each interval [E]."""
        return np.asarray((self.edges[1:] + self.edges[:-1]) / 2)

    def at(self, steps: Floats) -> Summary:
        """The summary at some steps within the limit, each value [R]."""
        places = np.searchsorted(self.edges, steps, side="right")
        return self.summary.at(np.minimum(places, len(self.steps)) - 1)


def exact_curve(
    line: Line, exam: Exam, classes: Sequence[Tensor], before: Answers, limit: float
) -> Curve:
    """Everything an exam says about every step along a line.

    Args:
        classes: class embeddings of every level, each [C, d].
        before: the answers of the unedited model.
        limit: the longest step of interest.
    """
    labels = torch.from_numpy(exam.labels).to(line.base.device)  # [N, L]
    spans = [line.spans(texts, labels[:, level]) for level, texts in enumerate(classes)]
    low, high = (
        torch.stack(ends, dim=1).double().cpu().numpy() for ends in zip(*spans, strict=True)
    )  # [N, L]
    changes = np.unique(np.concatenate([low[low < high], high[low < high]]))
    edges = np.concatenate([[0.0], changes[(changes > 0) & (changes < limit)], [limit]])
    middle = (edges[1:] + edges[:-1]) / 2
    after = np.empty((len(middle), len(exam.groups)))  # [E, G]
    for index, group in enumerate(exam.groups):
        start, end = low[group.mask, group.column], high[group.mask, group.column]
        real = start < end
        begun = np.searchsorted(np.sort(start[real]), middle)
        ended = np.searchsorted(np.sort(end[real]), middle)
        after[:, index] = (begun - ended) / group.mask.sum()
    levels = measure(exam.groups, before.correct, before.correct).levels
    accuracies = np.array([[row.before for row in levels]]).repeat(len(middle), axis=0)
    return Curve(edges, summarise(levels, accuracies, after))
