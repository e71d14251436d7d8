"""The forget and the retain losses, looked up by name.

All embeddings are normalised, so a product is a cosine. A forget loss returns one value an image
(the mean over images is the loss), so its gradient does not depend on how images are batched. A
retain loss is defined over one logical batch.
"""

from __future__ import annotations

from collections.abc import Callable
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
        weights: what share of image b's captions caption m has [B, M]; rows sum to one.

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
    target = torch.eye(len(images), device=images.device, dtype=images.dtype)
    return _symmetric(images, texts[captions], target, scale)


def multi_positive(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """The symmetric contrastive loss in which equal captions share the target evenly.

    In a retain set made of class folders most captions of a batch stand there many times; this
    variant does not push an image away from its own caption. Arguments as for `contrastive`.
    """
    same = (captions[:, None] == captions[None, :]).to(images.dtype)  # [B, B]
    return _symmetric(images, texts[captions], same / same.sum(dim=1, keepdim=True), scale)


def _symmetric(images: Tensor, texts: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Mean of image-to-text and text-to-image cross-entropy; `target` is symmetric [B, B]."""
    logits = scale * images @ texts.T  # [B, B]
    image_to_text = -(target * logits.log_softmax(dim=1)).sum(dim=1)  # [B]
    text_to_image = -(target * logits.log_softmax(dim=0)).sum(dim=0)  # [B]
    return 0.5 * (image_to_text + text_to_image).mean()


FORGET_LOSSES: dict[str, ForgetLoss] = {"cosine": cosine}
RETAIN_LOSSES: dict[str, RetainLoss] = {
    "multi-positive": multi_positive,
    "contrastive": contrastive,
}
