"""The end of the image tower on fixed images: its last stage and all behind it, to be trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.data.samples import Sample
from slsgu.evaluation.tower import Tower
from slsgu.models.clip import Clip
from slsgu.models.layers import stages


class Tail:
    """Images whose way through the tower is kept up to its last stage.

    A tower that cannot be cut is run in full each time.

    Args:
        clip: the model; its last stage and what comes behind may change later.
        samples: N images.
        batch_size: images in one forward pass.
    """

    def __init__(self, clip: Clip, samples: Sequence[Sample], batch_size: int) -> None:
        pixels = torch.stack([clip.preprocess(sample.read()) for sample in samples])
        stage_list = stages(clip.model, "vision")
        self._clip, self._batch_size = clip, batch_size
        self._pixels = pixels
        self._tower = Tower(
            clip.model,
            lambda start, stop: clip.image_features(self._pixels[start:stop]),
            len(samples),
            stage_list,
            batch_size,
            cut=max(len(stage_list) - 1, 0),
        )
        self._kept = self._tower.kept
        if self._kept is not None:
            self._pixels = pixels[:1].expand(
                batch_size, *pixels.shape[1:]
            )  # only its shape is read

    def __call__(self, rows: Tensor) -> Tensor:
        """Normalised embeddings of some images [n, d]; gradients flow if they are enabled.

        Args:
            rows: n of their indices.
        """
        parts = []
        for part in torch.split(rows, self._batch_size):
            if self._kept is None:
                features = self._clip.image_features(self._pixels[part])
            else:
                features = self._tower.run_from(self._kept[part])
            parts.append(normalize(features, dim=-1))
        return torch.cat(parts)
