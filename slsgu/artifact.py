"""Our safetensors files: tensors, and one JSON string of metadata under the key `slsgu`.

Every header holds `kind` (what the file is), `schema` (its format number) and `tensors_sha256`, so
a reader can tell a foreign, a damaged and a newer file apart before it trusts a tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slsgu.errors import ArtifactError
from slsgu.files import replacing


def write_artifact(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, schema: int, header: Mapping[str, Any]
) -> None:
    """Write tensors and header, whole or not at all. The same content gives the same bytes."""
    refuse_name(path)
    whole = {**header, "kind": kind, "schema": schema, "tensors_sha256": tensors_sha256(tensors)}
    text = json.dumps(whole, sort_keys=True, allow_nan=False)
    with replacing(path) as part:
        save_file(dict(tensors), part, metadata={"slsgu": text})


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        values = tensor.detach().cpu().contiguous().flatten()
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def refuse_name(path: Path) -> None:
    """safetensors opens no file whose name is not Unicode.

    Raises:
        ArtifactError: `path` is such a name.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ArtifactError(f"{str(path)!r} is not a name in UTF-8: choose another") from None


def read_artifact(
    path: Path, *, kind: str, schema: int, what: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header (without `kind` and `schema`) and tensors.

    Raises:
        ArtifactError: missing, damaged, foreign (another `kind`), or newer than `schema`.
    """
    if not path.is_file():
        raise ArtifactError(f"{what} not found: {path}")
    refuse_name(path)
    try:
        with safe_open(path, framework="pt") as file:
            raw = (file.metadata() or {}).get("slsgu")
            header = json.loads(raw) if raw is not None else {}
            if not isinstance(header, dict) or header.pop("kind", None) != kind:
                raise ArtifactError(f"{path} is not a {what} made by slsgu")
            found = header.pop("schema", None)
            if not isinstance(found, int) or found > schema:
                raise ArtifactError(
                    f"{path} has {what} format {found}; this slsgu reads up to {schema}: "
                    "install a newer slsgu"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if header.pop("tensors_sha256", None) != tensors_sha256(tensors):
            raise ArtifactError(f"{what} is damaged: {path} holds other numbers than were written")
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{what} is damaged: {path} ({error})") from None
    return header, tensors
