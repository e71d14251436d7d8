"""The forget losses, looked up by name. Forgetting ascends them.

All embeddings are normalised, so a product is a cosine. A forget loss returns one value per image
(the mean over images is the loss), so its gradient does not depend on how images are batched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

ForgetLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def cosine(images: Tensor, texts: Tensor, weights: Tensor) -> Tensor:
    """Cosine embedding loss (eq. 5), `1 - cos(v, t)`, averaged over an image's captions.

    Args:
        images: normalised image embeddings [B, d].
        texts: normalised caption embeddings [M, d].
        weights: what share of image b's captions caption m has [B, M].

    Returns:
        Loss of each image [B].

    >>> import torch
    >>> same = torch.tensor([[1.0, 0.0]])
    >>> cosine(same, same, torch.ones(1, 1))
    tensor([0.])
    """
    return 1 - (images * (weights @ texts)).sum(dim=-1)


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
