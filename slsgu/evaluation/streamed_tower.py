"""The image side on a stream of batches, twice each: before an edit and after it."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from slsgu.evaluation.tower import Tower
from slsgu.models.clip import Clip
from slsgu.models.layers import stages


class StreamedTower:
    """The image side on one batch of images after another: in full, and again from a cut once the
    model is edited. The cut is checked against the full forward on the first batch.

    Args:
        clip: the model.
        cut: stage before which edits change nothing; 0 runs in full each time.
    """

    def __init__(self, clip: Clip, *, cut: int = 0) -> None:
        self._clip, self._cut = clip, cut
        self._pixels = torch.empty(0)
        self._tower: Tower | None = None

    def load(self, pixels: Tensor) -> Tensor:
        """Features [B, d] of a batch [B, 3, H, W], not normalised. The model must be unedited."""
        self._pixels = pixels
        if self._tower is None:
            self._tower = Tower(
                self._clip.model,
                lambda start, stop: self._clip.image_features(self._pixels[start:stop]),
                len(pixels),
                stages(self._clip.model, "vision"),
                batch_size=sys.maxsize,
                cut=self._cut,
            )
        else:
            self._tower.restart(len(pixels))
        return self._tower.base

    def run(self) -> Tensor:
        """Features [B, d] of the batch with the weights as they are now."""
        assert self._tower is not None, "load a batch first"
        return self._tower.run()
