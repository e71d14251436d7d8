"""Points of the image side where knowledge may live: what every stage puts out, pooled.

A point is the output of a stage (`slsgu.models.layers.stages`), of what pools after the last one,
or the embedding. An output with a place for each patch or pixel is pooled: of tokens [B, N, C] the
first and the mean of all stand beside each other, of maps [B, C, H, W] the mean over all places.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, cat, nn

from slsgu.models.layers import stages

EMBEDDING = "embedding"
_AFTER_STAGES = ("visual.ln_post", "visual.trunk")  # what comes behind them, where it is there


class Points:
    """The points of one model, with hooks that note what they put out.

    Attributes:
        names: of the points, in the order of the forward pass, without the embedding.
        stage_count: how many of them are stages; the others come behind.
    """

    def __init__(self, model: nn.Module) -> None:
        paths = {module: path for path, module in model.named_modules()}
        found = [(paths[stage], stage) for stage in stages(model, "vision")]
        self.stage_count = len(found)
        known = dict(model.named_modules())
        found += [(path, known[path]) for path in _AFTER_STAGES if path in known]
        self.names = [path for path, _ in found]
        self._modules = [module for _, module in found]

    @contextlib.contextmanager
    def noting(self, count: int) -> Iterator[dict[str, Tensor]]:
        """The pooled outputs [B, C] of the points in the first run within, by name. (A tower may
        run again, to check that it can be cut.)

        Args:
            count: B, images in a batch.
        """
        noted: dict[str, Tensor] = {}

        def note(name: str) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                if isinstance(output, Tensor) and name not in noted:
                    noted[name] = pooled(output, count)

            return hook

        handles = [
            module.register_forward_hook(note(name))
            for name, module in zip(self.names, self._modules, strict=True)
        ]
        try:
            yield noted
        finally:
            for handle in handles:
                handle.remove()


def pooled(output: Tensor, count: int) -> Tensor:
    """The output of a stage as one row per image [B, C].

    >>> import torch
    >>> pooled(torch.zeros(2, 5, 3), 2).shape, pooled(torch.zeros(2, 3, 7, 7), 2).shape
    (torch.Size([2, 6]), torch.Size([2, 3]))
    """
    output = output.float()
    if output.ndim == 3:
        if output.shape[0] != count and output.shape[1] == count:
            output = output.transpose(0, 1)
        return cat([output[:, 0], output.mean(dim=1)], dim=1)
    if output.ndim == 4:
        last = output.shape[1] == output.shape[2] != output.shape[3]  # [B, H, W, C]
        return output.mean(dim=(1, 2) if last else (2, 3))
    return output.flatten(1)
