"""A safetensors file with a few tensors replaced: copied, and written to in their places.

The other tensors are never read, so time and memory do not grow with the model: the time is that
of copying the file, the memory that of the tensors that change.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.utils.files import replacing

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
}  # fmt: skip


def splice(source: Path, target: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy a safetensors file with some of its tensors replaced. All else, the header included,
    stays as it is, byte for byte.

    Args:
        source: it has been read once, so its header is known to be right.
        target: is there whole, or not at all.
        tensors: by their names in the file; each in the dtype and shape that it has there.

    Raises:
        ModelError: the file has no such tensor any more.
        SlsguError: the disk is full or the folder cannot be written.
    """
    places = _places(source, tensors)
    with replacing(target) as part:
        shutil.copyfile(source, part)
        with part.open("r+b") as file:
            for name, tensor in tensors.items():
                file.seek(places[name])
                values = tensor.detach().cpu().contiguous().view(-1)
                file.write(values.view(torch.uint8).numpy().data)


def fits(tensor: Tensor, stored: Tensor) -> bool:
    """Whether a tensor can take the place of another in a file."""
    return tensor.dtype in _DTYPES and (tensor.dtype, tensor.shape) == (stored.dtype, stored.shape)


def _places(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Where the bytes of each tensor begin in the file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    places = {}
    for name, tensor in tensors.items():
        # Training loops leave a prefix on every name, which reading has removed.
        entry = header.get(name, header.get(f"module.{name}"))
        wanted = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        if entry is None or {key: entry[key] for key in wanted} != wanted:
            raise ModelError(f"{path} changed while it was read: {name} is not as it was")
        start, end = entry["data_offsets"]
        assert end - start == tensor.nbytes, name
        places[name] = 8 + size + start
    return places
