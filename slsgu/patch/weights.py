"""Weights, set in place, and refused where their precision has no number for them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from slsgu.errors import ArtifactError, LayerMismatchError


@torch.no_grad()
def write_weights(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Set weights in place."""
    for name, value in values.items():
        tensors[name].copy_(value)


def refuse_infinite(name: str, tensor: Tensor) -> None:
    """A step that half precision cannot hold would become inf, and every answer nan."""
    if not bool(tensor.isfinite().all()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise LayerMismatchError(
            f"the patch takes {name} out of the range of {dtype}, in which this model is held: use "
            "a smaller scale, or a copy of the model in float32"
        )


def refuse_unsavable(delta: Mapping[str, Tensor]) -> None:
    """A patch file holds finite numbers, of one layer at least.

    Raises:
        ArtifactError: nothing is changed, or a sum or a multiple is out of the range of float32.
    """
    if not delta:
        raise ArtifactError("the patch changes no layer: there is nothing to save")
    for name, tensor in delta.items():
        if not bool(tensor.isfinite().all()):
            raise ArtifactError(
                f"the change of {name} is out of the range of float32: use a smaller scale"
            )
