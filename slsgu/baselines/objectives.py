"""How the losses are put together over the levels of a taxonomy, for every objective.

The papers know two levels, a class and its parent. Here a term is the mean over all levels that are
to be forgotten (of the class itself), or over all levels above (of its parents).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slsgu.baselines.losses import ascent, descent, divergence
from slsgu.baselines.step import Scores, Step

Term = Callable[[Scores], Tensor]


def mean_over(levels: Sequence[Scores], term: Term) -> Tensor:
    """The mean of a term over levels; zero where there are none."""
    if not levels:
        return torch.zeros((), requires_grad=True)
    return torch.stack([term(scores) for scores in levels]).mean()


def climb(step: Step) -> Tensor:
    """Gradient ascent on what is to be forgotten (eq. 2)."""
    return mean_over(step.forgotten, lambda s: ascent(s.now, s.labels))


def keep_parents(step: Step) -> Tensor:
    """Gradient descent on the parents of the same images (eq. 3)."""
    return mean_over(step.coarse, lambda s: descent(s.now, s.labels))


def stay(step: Step, parents: float, others: float) -> Tensor:
    """The two regularisers of section 4.1.2 on images to be forgotten (eq. 5): answers among the
    parents stay, and answers among the classes that are not to be forgotten.

    Args:
        parents, others: the weights alpha_c and alpha_f.
    """
    return parents * mean_over(step.coarse, lambda s: divergence(s.before, s.now)) + (
        others * mean_over(step.forgotten, _among_kept)
    )


def _among_kept(scores: Scores) -> Tensor:
    return divergence(scores.before[:, scores.kept], scores.now[:, scores.kept])
