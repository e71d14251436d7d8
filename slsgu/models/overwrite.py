"""Other values for a few tensors of a safetensors file, written where they lie.

Everything else in the file keeps its bytes, and neither memory nor time hang on its size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from slsgu.models.checkpoint import headers


def overwrite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors over those of the same name, shape and dtype in a safetensors file.

    Args:
        path: a copy: a crash in the middle leaves it neither old nor new.

    Raises:
        ModelError: the file is damaged.
    """
    stored = headers(path)
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for name, tensor in tensors.items():
            assert stored[name] == (tensor.dtype, tuple(tensor.shape)), name
            begin, end = header[name]["data_offsets"]
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            assert data.nbytes == end - begin, name
            file.seek(8 + size + begin)
            file.write(data.data)
