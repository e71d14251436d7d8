"""Weights, set in place, and refused where their precision has no number for them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import torch
from torch import Tensor

from slsgu.errors import ArtifactError, LayerMismatchError
from slsgu.utils.artifact import all_finite


@torch.no_grad()
def write_weights(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Set weights in place."""
    for name, value in values.items():
        tensors[name].copy_(value)


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two layers have the same hash (`layer_hash`), at a fraction of its cost: the same
    shape and, in float32, the same bits. Zero is not minus zero."""
    if one.shape != other.shape:
        return False
    bits = [
        x.detach().to("cpu", torch.float32).contiguous().view(torch.int32) for x in (one, other)
    ]
    return torch.equal(*bits)


def refuse_infinite(name: str, tensor: Tensor) -> None:
    """A step that half precision cannot hold would become inf, and every answer nan."""
    if not all_finite(tensor):
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise LayerMismatchError(
            f"the patch takes {name} out of the range of {dtype}, in which this model is held: use "
            "a smaller scale, or a copy of the model in float32"
        )


def refuse_unfit(delta: Mapping[str, Tensor], original: Mapping[str, Tensor]) -> None:
    """A patch is of dense tensors: each change in float32, of the shape of its layer.

    Raises:
        ArtifactError: a tensor is something else, or one is missing.
    """
    if apart := sorted(map(str, delta.keys() ^ original.keys())):
        raise ArtifactError(f"a patch holds the change and the original of {apart[0]}, or neither")
    for what, tensors in (("change", delta), ("original", original)):
        for name, tensor in tensors.items():
            if (reason := _unfit(tensor)) is not None:
                raise ArtifactError(f"the {what} of {name} in a patch is {reason}")
    for name, tensor in delta.items():
        if tensor.dtype != torch.float32:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise ArtifactError(f"the change of {name} in a patch is {dtype}, not float32")
        if tensor.shape != original[name].shape:
            shapes = (list(tensor.shape), list(original[name].shape))
            raise ArtifactError(f"the change of {name} is {shapes[0]}, and the layer {shapes[1]}")


def _unfit(tensor: object) -> str | None:
    """Why a value is no tensor that can be added up, in words; None where it is one."""
    if not isinstance(tensor, Tensor):
        return f"a value of type {type(tensor).__name__}, not a tensor"
    if tensor.is_meta:
        return "on the meta device, where tensors hold no values"
    if tensor.layout != torch.strided or tensor.is_quantized:
        return "sparse or quantised, not a dense tensor"
    if not tensor.is_floating_point():
        return f"{str(tensor.dtype).removeprefix('torch.')}, not floating point"
    return None


def refuse_unsavable(delta: Mapping[str, Tensor]) -> None:
    """A patch file holds finite numbers, of one layer at least.

    Raises:
        ArtifactError: nothing is changed, or a sum or a multiple is out of the range of float32.
    """
    if not delta:
        raise ArtifactError("the patch changes no layer: there is nothing to save")
    for name, tensor in delta.items():
        if not all_finite(tensor):
            raise ArtifactError(
                f"the change of {name} is out of the range of float32: use a smaller scale"
            )


def layer_hash(name: str, tensor: Tensor) -> str:
    """SHA-256 of a layer: its name, shape, and values upcast to fp32 (little endian).

    The same layer hashes the same in fp32 and in fp16 that was upcast.
    """
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    digest = hashlib.sha256(name.encode() + b"\0" + struct.pack(f"<{values.ndim}q", *values.shape))
    digest.update(values.numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()
