"""What was tried and dropped, so that the docs have figures for it: modes of q_u.py that the
library does not have. Each is a context in which the library does something else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Tensor

import slsgu.search.candidates as candidates
import slsgu.search.layer as layer
import slsgu.search.pareto as pareto
from slsgu.losses.retain import RETAIN_LOSSES
from slsgu.search.pareto import LayerScore


@contextlib.contextmanager
def signed_alignment() -> Iterator[None]:
    """The front takes the cosine with its sign: where forgetting lowers the retain loss, the
    better. The published code, and we, take its absolute value."""
    front = pareto.pareto_front

    def signed(scores: list[LayerScore]) -> list[LayerScore]:
        by_name = {score.layer: score for score in scores}
        found = front([replace(score, alignment=score.cosine) for score in scores])
        return [by_name[score.layer] for score in found]

    with patch.object(pareto, "pareto_front", signed):
        yield


@contextlib.contextmanager
def cross_entropy() -> Iterator[None]:
    """The retain gradient is that of the cross-entropy over all captions of the retain set: with
    one template, over the leaves of the taxonomy."""

    def loss(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(scale * images @ texts.T, captions)

    with patch.dict(RETAIN_LOSSES, {"multi-positive": loss}):
        yield


@contextlib.contextmanager
def every_step() -> Iterator[None]:
    """No curve is interpolated and no layer is screened: steps are doubled and bisected, each
    evaluated on all images, and the choice is among them."""
    with (
        patch.object(layer, "_on_curve", layer._by_steps),
        patch.object(candidates, "_part", lambda *_: None),
    ):
        yield


TRIED: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "signed": signed_alignment,
    "cross-entropy": cross_entropy,
    "every-step": every_step,
}
