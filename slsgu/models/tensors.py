"""What tensors of a checkpoint file must be, before anything calculates with them."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.utils.memory import free_bytes
from slsgu.utils.wording import printable

SAFE_TORCH = (2, 6)


def refuse_unsafe_torch(path: Path) -> None:
    """Before torch 2.6 a crafted pickle could get around `weights_only` and run code.

    Raises:
        ModelError: this torch is older.
    """
    match = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if match and (int(match[1]), int(match[2])) < SAFE_TORCH:
        raise ModelError(
            f"{path} is not read with torch {torch.__version__}, in which such a file can run code "
            "(CVE-2025-32434): install torch 2.6 or newer, or take the weights as .safetensors"
        )


def refuse_odd(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not plain arrays of numbers, or claim more than memory holds: a
    pickle can say that one stored number is repeated 2^40 times.

    Raises:
        ModelError: naming the first.
    """
    for name, tensor in tensors.items():
        what = None
        if tensor.is_meta:
            what = "has no values"
        elif tensor.is_nested or tensor.layout != torch.strided:
            what = "is a sparse tensor"
        elif tensor.is_quantized:
            what = "is quantised"
        if what is not None:
            raise ModelError(
                f"{path}: {printable(name)} {what}, and slsgu reads plain tensors only: convert "
                "the weights to floating-point tensors"
            )
    headers = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    refuse_headers(headers, path)


def refuse_headers(
    headers: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], path: Path, *, whole: bool = True
) -> None:
    """Refuse dtypes and sizes that no model has.

    Args:
        whole: whether all of the weights will be held in memory.

    Raises:
        ModelError: the weights are complex, of less than 16 bits, or larger than memory.
    """
    for name, (dtype, _) in headers.items():
        if dtype.is_complex:
            raise ModelError(
                f"{path}: {printable(name)} holds complex numbers; a model has real weights"
            )
        if dtype.is_floating_point and dtype.itemsize < 2:
            raise ModelError(
                f"{path}: {printable(name)} holds {str(dtype).removeprefix('torch.')} values, with "
                "which torch does not calculate: convert the weights to bfloat16 or float32"
            )
    size = sum(math.prod(shape) * dtype.itemsize for dtype, shape in headers.values())
    if whole and size > (free := free_bytes()):
        raise ModelError(
            f"{path} claims {size:,} bytes of weights, and {free:,} are free in memory"
        )


def refuse_integers(
    stored: Mapping[str, torch.dtype], wanted: Mapping[str, Tensor], path: Path
) -> None:
    """Refuse whole numbers where the architecture has fractions: they are codes of a quantised
    model, which mean nothing without their scales.

    Args:
        stored: the dtype of each tensor in the file.
        wanted: the tensors of the architecture.

    Raises:
        ModelError: naming the first.
    """
    for name, tensor in wanted.items():
        dtype = stored.get(name, stored.get(name.removeprefix("text.")))
        if dtype is not None and tensor.is_floating_point() and not dtype.is_floating_point:
            raise ModelError(
                f"{path}: {printable(name)} holds {str(dtype).removeprefix('torch.')} values, "
                "where the architecture has floating-point weights: take weights that are not "
                "quantised"
            )


def state_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors, sorted by name: names, shapes and values upcast to fp32.

    The same weights hash the same in fp32 and in fp16 that was upcast. One pass over the memory
    of the tensors; only what is not fp32 on the CPU already is copied, one tensor at a time.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().to("cpu", torch.float32).contiguous()
        digest.update(
            name.encode() + b"\0" + struct.pack(f"<{values.ndim + 1}q", values.ndim, *values.shape)
        )
        digest.update(values.numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()
