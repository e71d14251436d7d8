"""What holds of every forget loss in the table, also of one that is added."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.losses.forget import FORGET_LOSSES, ForgetLoss


def batch(count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of images [B, d] and captions [M, d], and shares [B, M]."""
    images, texts = (normalize(torch.randn(n, 8).double(), dim=-1) for n in (count, 4))
    return images, texts, torch.rand(count, 4).double().softmax(dim=1)


def depends_on_its_batch(loss: ForgetLoss) -> bool:
    images, texts, weights = batch()
    together = loss(images, texts, weights)
    alone = [loss(images[i : i + 1], texts, weights[i : i + 1]) for i in range(len(images))]
    return together.shape != (len(images),) or not torch.allclose(together, torch.cat(alone))


@pytest.mark.parametrize("name", FORGET_LOSSES)
def test_the_loss_of_an_image_does_not_depend_on_its_batch(name: str) -> None:
    assert not depends_on_its_batch(FORGET_LOSSES[name].of_images)


def test_a_loss_that_looks_at_its_batch_is_noticed() -> None:
    cosine = FORGET_LOSSES["cosine"].of_images
    assert depends_on_its_batch(lambda *given: cosine(*given) - cosine(*given).mean())
    assert depends_on_its_batch(lambda *given: cosine(*given).mean())


@pytest.mark.parametrize("name", FORGET_LOSSES)
def test_the_loss_rises_as_an_image_leaves_its_caption(name: str) -> None:
    """Forgetting ascends it, so away from the caption must be up."""
    images, texts, weights = batch()
    own = weights @ texts
    losses = [
        FORGET_LOSSES[name].of_images(normalize(images + t * own, dim=-1), texts, weights)
        for t in (1.0, 0.0, -1.0)
    ]
    assert bool((losses[0] < losses[1]).all()) and bool((losses[1] < losses[2]).all())
