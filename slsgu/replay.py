"""Evaluate a weight edit by re-running only what it can change.

One layer moves at a time. Everything before it, and the whole other tower, stays as it was, so
the output of the stage before the layer's own is kept and each trial starts from there. Layers
are visited from shallow to deep, and the kept activations are carried forward with them: at any
time there is one set of activations per tower in memory.

This needs nothing of an architecture but its list of sequential stages (`layers.stages`): stages
that are skipped hand their input through, the last of them returns what was kept. Before it is
used, a cut is checked against the full forward; a tower that does not agree is run in full.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slsgu.clip import Clip
from slsgu.layers import Layer, stages

TOLERANCE = 1e-4  # largest difference of a normalised embedding between a replay and a full run


class Tower:
    """One tower on fixed inputs: its embeddings, in full or from a cut between two stages.

    Args:
        encode: embeddings [B, d] of inputs `start:stop`.
        count: how many inputs there are.
        stage_list: the tower's sequential stages; empty to always run in full.
        batch_size: inputs a forward pass.
    """

    def __init__(
        self,
        encode: Callable[[int, int], Tensor],
        count: int,
        stage_list: Sequence[nn.Module],
        batch_size: int,
    ) -> None:
        self._encode = encode
        self._spans = [(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
        self._stages = list(stage_list)
        self._cut = 0  # how many stages lie before the cut
        self._kept: list[Tensor] = []  # output of stage `_cut - 1`, one tensor a span
        self.base = self._run()  # embeddings of the unedited model [count, d]

    def cut_before(self, block: int | None) -> None:
        """Keep what stage `block - 1` puts out. `None` or 0: run in full from now on.

        Must be called while the model is unedited.
        """
        block = block or 0
        if not self._stages or block == self._cut:
            return
        if block < self._cut:
            self._cut, self._kept = 0, []
        if block == 0:
            return
        self._kept = [self._output_of(block - 1, index) for index in range(len(self._spans))]
        self._cut = block
        if not torch.allclose(self._run(), self.base, rtol=0, atol=TOLERANCE):
            self._stages, self._cut, self._kept = [], 0, []

    def run(self) -> Tensor:
        """Embeddings [count, d] with the weights as they are now."""
        return self._run()

    def _run(self) -> Tensor:
        with torch.no_grad():
            parts = []
            for index, (start, stop) in enumerate(self._spans):
                with self._skipping(index):
                    parts.append(self._encode(start, stop))
            return torch.cat(parts)

    def _output_of(self, stage: int, index: int) -> Tensor:
        """What one stage puts out for one span; nothing behind it is run."""
        found: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
            found.append(output)
            raise _Stop

        handle = self._stages[stage].register_forward_hook(keep)
        try:
            with torch.no_grad(), self._skipping(index), contextlib.suppress(_Stop):
                self._encode(*self._spans[index])
        finally:
            handle.remove()
        return found[0]

    @contextlib.contextmanager
    def _skipping(self, index: int) -> Iterator[None]:
        """Stages before the cut hand their input through; the last one returns what was kept."""
        skipped = self._stages[: self._cut]
        try:
            for stage in skipped[:-1]:
                stage.forward = _hand_through
            for stage in skipped[-1:]:
                stage.forward = lambda *args, **kwargs: self._kept[index]
            yield
        finally:
            for stage in skipped:
                del stage.forward  # the class's own method shows through again


class _Stop(Exception):
    """Leaves a forward pass early."""


def _hand_through(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


class Replay:
    """Image and prompt embeddings of a fixed set, under edits of one layer.

    Args:
        clip: the model.
        pixels: preprocessed images [N, 3, H, W].
        prompts: P distinct prompts.
        batch_size: inputs a forward pass.
    """

    def __init__(
        self, clip: Clip, pixels: Tensor, prompts: Sequence[str], *, batch_size: int = 128
    ) -> None:
        self._parameters = dict(clip.model.named_parameters())
        prompts = list(prompts)
        self._towers = {
            "vision": Tower(
                lambda start, stop: clip.encode_image(pixels[start:stop]),
                len(pixels),
                stages(clip.model, "vision"),
                batch_size,
            ),
            "language": Tower(
                lambda start, stop: clip.encode_text(prompts[start:stop]),
                len(prompts),
                stages(clip.model, "language"),
                batch_size,
            ),
        }

    @property
    def base(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the unedited model: images [N, d], prompts [P, d]."""
        return self._towers["vision"].base, self._towers["language"].base

    def prepare(self, layer: Layer) -> None:
        """Cut the layer's tower before it. Cheapest when layers come from shallow to deep."""
        self._towers[layer.tower].cut_before(layer.block)

    def with_weight(self, layer: Layer, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, images [N, d] and prompts [P, d], with one layer replaced.

        The layer is edited in place and restored bit for bit.
        """
        with edited(self._parameters[layer.name], weight):
            moved = self._towers[layer.tower].run()
        if layer.tower == "vision":
            return moved, self._towers["language"].base
        return self._towers["vision"].base, moved


@contextlib.contextmanager
def edited(parameter: nn.Parameter, weight: Tensor) -> Iterator[None]:
    """Replace a parameter's values in place, and restore them bit for bit, whatever happens."""
    kept = parameter.detach().clone()
    try:
        with torch.no_grad():
            parameter.copy_(weight)
        yield
    finally:
        with torch.no_grad():
            parameter.copy_(kept)
