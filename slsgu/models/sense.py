"""Whether a model's embeddings hold any information.

A model of zeros, or one whose context has room for a single token, answers every question with the
first class. Its accuracies are numbers like any other, and mean nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.models.clip import Clip

SAME = 1e-6  # embeddings have length one; half precision tells apart what differs by 1e-3
TEXTS = ("a photo of a dog", "three red trucks on a bridge", "7")


def shortcoming(images: Tensor, texts: Tensor) -> str | None:
    """Why embeddings hold no information, in words; None where they do.

    Args:
        images: normalised embeddings [N, d] of images that differ.
        texts: normalised embeddings [M, d] of texts that differ.
    """
    for rows, what in ((images, "image"), (texts, "text")):
        if not bool(torch.isfinite(rows).all()):
            return f"the embeddings hold no information: those of {what}s are no numbers"
        if len(rows) > 1 and float((rows - rows[0]).abs().max()) < SAME:
            return f"the embeddings hold no information: every {what} has the same one"
    return None


def refuse_empty(images: Tensor, texts: Tensor, name: str) -> None:
    """Refuse to edit by embeddings that hold no information.

    Args:
        images, texts: as for `shortcoming`.
        name: of the model.

    Raises:
        ModelError: they hold none.
    """
    if (reason := shortcoming(images, texts)) is not None:
        raise ModelError(f"{name}: {reason}, so there is nothing to forget. Check the weights")


def refuse_uninformative(clip: Clip) -> None:
    """Refuse to edit a model that gives every image, or every text, the same embedding.

    Raises:
        ModelError: it does.
    """
    refuse_empty(*_tried(clip), clip.name)


def lack_of(clip: Clip) -> str | None:
    """Why the embeddings of a model as it is now hold no information, in words; None where they
    do."""
    return shortcoming(*_tried(clip))


@torch.no_grad()
def _tried(clip: Clip) -> tuple[Tensor, Tensor]:
    """Normalised embeddings of three images of nothing, and of three texts."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, *clip.image_size, generator=draws)
    pixels = torch.cat([torch.zeros_like(noise), torch.ones_like(noise), noise])
    return clip.encode_image(pixels), clip.encode_text(TEXTS)
