"""The retain losses, looked up by name.

All embeddings are normalised, so a product is a cosine. A retain loss is defined over one logical
batch of images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from slsgu.losses.forget import cosine

RetainLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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


RETAIN_LOSSES: dict[str, RetainLoss] = {
    "multi-positive": multi_positive,
    "contrastive": contrastive,
    "cosine": matching,
}
