"""The losses of the two papers, each of scores and labels alone. Pure.

A score is `scale * cos(image, class)`, what CLIP's softmax is taken over. Every loss is a mean over
the images of a batch; training lowers it. Equations are those of the knowledge-tracing paper (arXiv
2506.11253, section 4.1.2 and appendix D) unless another paper is named. The paper writes sums over
a set; a mean over a batch is the same loss at another learning rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid, relu


def descent(scores: Tensor, labels: Tensor) -> Tensor:
    """Eq. 3, `-log p(y | x)`: cross-entropy.

    Args:
        scores: [B, C].
        labels: the class of each image [B].

    >>> descent(torch.zeros(1, 2), torch.tensor([0]))
    tensor(0.6931)
    """
    return cross_entropy(scores, labels)


def ascent(scores: Tensor, labels: Tensor) -> Tensor:
    """Eq. 2, `log p(y | x)`: lowering it climbs the cross-entropy."""
    return -cross_entropy(scores, labels)


def divergence(before: Tensor, scores: Tensor) -> Tensor:
    """Eq. 5, `KL(p_0 || p)`: how far answers have moved from those of the unedited model.

    Args:
        before: scores of the unedited model [B, C].
        scores: scores now [B, C].
    """
    old, new = log_softmax(before, dim=1), log_softmax(scores, dim=1)
    return (old.exp() * (old - new)).sum(dim=1).mean()


def preference(scores: Tensor, before: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Eq. 7, `-(2 / beta) log sigmoid(-beta log(p(y | x) / p_0(y | x)))`: negative preference
    optimisation (Zhang et al. 2024)."""
    own = labels[:, None]
    ratio = (log_softmax(scores, dim=1) - log_softmax(before, dim=1)).gather(1, own)[:, 0]
    return -(2 / beta) * logsigmoid(-beta * ratio).mean()


def hinge(scores: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Eq. 1, `max(0, m + s(x, y) - max over y' != y of s(x, y'))`: zero once another class leads by
    the margin. The margin is in units of scores: of cosines, 2 could not be reached."""
    own = labels[:, None]
    other = scores.scatter(1, own, -math.inf).amax(dim=1)
    return relu(margin + scores.gather(1, own)[:, 0] - other).mean()


def evenness(scores: Tensor) -> Tensor:
    """Eq. 11, `KL(uniform || p)`: lowest where every class is as likely as any other."""
    classes = scores.shape[1]
    return -math.log(classes) - log_softmax(scores, dim=1).mean(dim=1).mean()


def other_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Eq. 6: for each image a class that is not its own, drawn evenly [B].

    >>> other_labels(torch.tensor([0, 1]), 2, torch.Generator()).tolist()
    [1, 0]
    """
    shift = torch.randint(1, classes, (len(labels),), generator=generator)
    return (labels + shift.to(labels.device)) % classes
