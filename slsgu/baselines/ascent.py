"""Gradient ascent, alone (GA), against the parents (GDiff), and held by two divergences (GA+KL)."""

from __future__ import annotations

from torch import Tensor

from slsgu.baselines.iterative import Iterative
from slsgu.baselines.objectives import climb, keep_parents, stay
from slsgu.baselines.step import Step


def gradient_difference(step: Step) -> Tensor:
    """Eq. 4: ascent on the class, descent on its parents."""
    return climb(step) + keep_parents(step)


def ascent_with_divergence(step: Step) -> Tensor:
    """Table 9, KL: ascent, with alpha_c = 5 and alpha_f = 20."""
    return climb(step) + stay(step, 5, 20)


GA = Iterative("ga", climb, "eq. 2 of knowledge tracing, no images of what is kept")
GDIFF = Iterative("gdiff", gradient_difference, "eq. 4, parents of the same images")
GA_KL = Iterative(
    "ga-kl", ascent_with_divergence, "Table 9; KL summed over classes, only kept classes in it"
)
