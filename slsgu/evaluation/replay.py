"""Image and prompt embeddings under an edit of one layer, by re-running only what it can change."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from slsgu.evaluation.tower import Tower
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, stages


class Replay:
    """Image and prompt embeddings of a fixed set, under edits of one layer.

    Args:
        clip: the model.
        pixels: preprocessed images [N, 3, H, W].
        prompts: P distinct prompts.
        batch_size: inputs per forward pass.
        budget: bytes of activations that may be kept for each tower.
        cuts: for a tower, the stage before which it is cut while it is run for the first time,
            as `prepare` does in a second run.
    """

    def __init__(
        self,
        clip: Clip,
        pixels: Tensor,
        prompts: Sequence[str],
        *,
        batch_size: int = 128,
        budget: float = float("inf"),
        cuts: Mapping[str, int] = {},  # nothing writes to it
    ) -> None:
        self.parameters = dict(clip.model.named_parameters())
        self._clip, self._pixels = clip, pixels
        self._rows = torch.arange(len(pixels))
        prompts = list(prompts)
        self._towers = {
            "vision": Tower(
                clip.model,
                lambda a, b: clip.image_features(pixels[a:b]),
                len(pixels),
                stages(clip.model, "vision"),
                batch_size,
                budget,
                cuts.get("vision", 0),
            ),
            "language": Tower(
                clip.model,
                lambda a, b: clip.text_features(prompts[a:b], batch_size=b - a),
                len(prompts),
                stages(clip.model, "language"),
                batch_size,
                budget,
                cuts.get("language", 0),
            ),
        }

    def part(self, rows: Tensor) -> Replay:
        """Some of the images and all prompts. Nothing is run: what the model says of them is known.
        The text side is shared, with its cut.

        Args:
            rows: the places of the images.
        """
        part = copy.copy(self)
        part._rows = self._rows[rows]
        vision = self._towers["vision"].part(part._image_features, rows)
        part._towers = {**self._towers, "vision": vision}
        return part

    def _image_features(self, start: int, stop: int) -> Tensor:
        return self._clip.image_features(self._pixels[self._rows[start:stop]])

    @property
    def base(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the unedited model: images [N, d], prompts [P, d]."""
        return self._embeddings("vision"), self._embeddings("language")

    def features_of(self, tower: str) -> Tensor:
        """Features of one tower of the unedited model, not normalised [N or P, d]."""
        return self._towers[tower].base

    def spans(self, tower: str) -> Iterator[tuple[int, int, Callable[[], Tensor]]]:
        """`Tower.spans` of one tower."""
        return self._towers[tower].spans()

    def prepare(self, layer: Layer) -> None:
        """Cut the layer's tower before it. Cheapest when layers come from shallow to deep."""
        self._towers[layer.tower].cut_before(layer.block)

    def with_weight(self, layer: Layer, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, images [N, d] and prompts [P, d], with one layer replaced.

        The layer is edited in place and restored bit for bit.
        """
        moved = normalize(self.features(layer, weight), dim=-1)
        if layer.tower == "vision":
            return moved, self._embeddings("language")
        return self._embeddings("vision"), moved

    def uncut(self, tower: str) -> None:
        """Run a tower from its inputs on, until it is prepared for a layer again."""
        self._towers[tower].cut_before(None)

    def in_full(self, tower: str) -> Tensor:
        """Features of one tower as it is, run from its inputs on, not normalised [N or P, d]."""
        self.uncut(tower)
        return self._towers[tower].run()

    def features(self, layer: Layer, weight: Tensor) -> Tensor:
        """Features of the layer's tower with the layer replaced, not normalised [N or P, d]."""
        with edited(self.parameters[layer.name], weight):
            return self._towers[layer.tower].run()

    def _embeddings(self, tower: str) -> Tensor:
        return normalize(self._towers[tower].base, dim=-1)


@contextlib.contextmanager
def edited(parameter: nn.Parameter, weight: Tensor) -> Iterator[None]:
    """Put another tensor in a parameter's place, and the parameter's own back, whatever happens.

    Nothing is copied: the parameter's own memory is not touched, so it comes back bit for bit, and
    an edit of many layers costs no more than one of a few.
    """
    original = parameter.data
    assert weight.shape == original.shape, (weight.shape, original.shape)
    try:
        parameter.data = weight.detach().to(original).contiguous()
        yield
    finally:
        parameter.data = original
