"""The forget and the retain losses, looked up by name.

All embeddings are normalised, so a product is a cosine. A forget loss returns one value an image
(the mean over images is the loss), so its gradient does not depend on how images are batched. A
retain loss is defined over one logical batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

ForgetLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
RetainLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def cosine(images: Tensor, texts: Tensor, weights: Tensor) -> Tensor:
    """Cosine embedding loss (eq. 5), `1 - cos(v, t)`, averaged over an image's captions.

    Args:
        images: normalised image embeddings [B, d].
        texts: normalised caption embeddings [M, d].
        weights: what share of image b's captions caption m has [B, M].

    Returns:
        Loss of each image [B].

    >>> same = torch.tensor([[1.0, 0.0]])
    >>> cosine(same, same, torch.ones(1, 1))
    tensor([0.])
    """
    return 1 - (images * (weights @ texts)).sum(dim=-1)


def contrastive(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """The symmetric contrastive loss (eq. 2, 4), taken literally: image i belongs to text i alone,
    and an equal caption elsewhere in the batch counts as a negative.

    Args:
        images: normalised image embeddings of one logical batch [B, d].
        texts: normalised embeddings of distinct captions [M, d].
        captions: index into `texts` of each image's caption [B].
        scale: 1 / temperature, a scalar.

    Returns:
        The mean loss over the batch, a scalar.
    """
    own = torch.eye(len(images), device=images.device, dtype=torch.bool)
    return _symmetric(images, texts[captions], own, scale)


def multi_positive(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """The symmetric contrastive loss in which all pairs of equal caption are positives: the loss
    is minus the log of the probability of any of them (MIL-NCE, Miech et al. 2020).

    In a retain set made of class folders most captions of a batch stand there many times; this
    variant does not push an image away from its own caption. (Sharing a cross-entropy target
    evenly among equal captions would change nothing: summed over the batch it equals eq. 2.)
    Arguments as for `contrastive`.
    """
    same = captions[:, None] == captions[None, :]  # [B, B]
    return _symmetric(images, texts[captions], same, scale)


def matching(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """`1 - cos` with the own caption, averaged: what keeps a picture with its words where there is
    nothing to contrast it with. Arguments as for `contrastive`; the scale plays no part."""
    return cosine(images, texts[captions], torch.eye(len(images)).to(images)).mean()


def _symmetric(images: Tensor, texts: Tensor, positive: Tensor, scale: Tensor) -> Tensor:
    """Mean over the batch of minus the log probability of a positive, image to text and text to
    image.

    Args:
        positive: which image and text belong together, symmetric [B, B].
    """
    logits = scale * images @ texts.T  # [B, B]
    matched = logits.masked_fill(~positive, -torch.inf)
    image_to_text = logits.logsumexp(dim=1) - matched.logsumexp(dim=1)  # [B]
    text_to_image = logits.logsumexp(dim=0) - matched.logsumexp(dim=0)  # [B]
    return 0.5 * (image_to_text + text_to_image).mean()


@dataclass(frozen=True)
class NamedForgetLoss:
    """A forget loss, and whether it is measured against the siblings' captions.

    Attributes:
        of_images: the loss of each image, as `cosine`.
        against_siblings: whether an image's weights also take away an equal share of the captions
            of its siblings (`slsgu.losses.captions`); rows then sum to zero.
    """

    of_images: ForgetLoss
    against_siblings: bool


FORGET_LOSSES: dict[str, NamedForgetLoss] = {
    # 1 - cos(v, t) + the mean of cos(v, s) over siblings s. What all captions have in common
    # cancels: moving along it would lower every score alike, and forget nothing.
    "relative": NamedForgetLoss(cosine, against_siblings=True),
    "cosine": NamedForgetLoss(cosine, against_siblings=False),
}
RETAIN_LOSSES: dict[str, RetainLoss] = {
    "multi-positive": multi_positive,
    "contrastive": contrastive,
    "cosine": matching,
}
