"""Forget losses with a floor, each held by the two divergences: NPO+KL, and the hinge NHL+KL."""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.baselines.iterative import Iterative
from slsgu.baselines.losses import divergence, hinge, preference
from slsgu.baselines.objectives import mean_over, stay
from slsgu.baselines.step import Scores, Step

BETA = 0.5
MARGIN = 2.0


def preference_with_divergence(step: Step) -> Tensor:
    """Table 9, NPO+KL: beta = 0.5, alpha_c = 5, alpha_f = 20."""
    forget = mean_over(step.forgotten, lambda s: preference(s.now, s.before, s.labels, BETA))
    return forget + stay(step, 5, 20)


def hinge_with_divergence(step: Step) -> Tensor:
    """Table 9, NHL+KL: m = 2, alpha_c = 10, alpha_f = 20."""
    forget = mean_over(step.forgotten, lambda s: hinge(s.now, s.labels, MARGIN))
    return forget + stay(step, 10, 20)


def hinge_as_published(step: Step) -> Tensor:
    """NHL+KL as the published code has it: each KL is divided by its number of classes, and among
    the classes of the image's level only its own is left out."""
    forget = mean_over(step.forgotten, lambda s: hinge(s.now, s.labels, MARGIN))
    parents = mean_over(step.coarse, lambda s: divergence(s.before, s.now) / s.now.shape[1])
    others = mean_over(step.forgotten, _among_others)
    return forget + 10 * parents + 20 * others


def _among_others(scores: Scores) -> Tensor:
    """The divergence among all classes but the image's own, over their number."""
    count, classes = scores.now.shape
    other = torch.arange(classes, device=scores.labels.device) != scores.labels[:, None]
    before, now = (x[other].view(count, classes - 1) for x in (scores.before, scores.now))
    return divergence(before, now) / (classes - 1)


NPO_KL = Iterative("npo-kl", preference_with_divergence, "Table 9; KL summed over classes")
NHL_KL = Iterative(
    "nhl-kl", hinge_with_divergence, "Table 9; margin in scores, KL summed over classes"
)
NHL_KL_CODE = Iterative(
    "nhl-kl-code",
    hinge_as_published,
    "the published code: KL over the number of classes, only the image's own class left out",
)
