"""Our safetensors files: tensors, and one JSON string of metadata under the key `slsgu`.

Every header holds `kind` (what the file is), `schema` (its format number) and `content_sha256`, so
a reader can tell a foreign, a damaged and a newer file apart before it trusts a number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from slsgu.errors import ArtifactError
from slsgu.utils.files import replacing


def write_artifact(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, schema: int, header: Mapping[str, Any]
) -> None:
    """Write tensors and header, whole or not at all. The same content gives the same bytes."""
    refuse_name(path)
    metadata = _metadata(tensors, kind=kind, schema=schema, header=header)
    with replacing(path) as part:
        save_file(dict(tensors), part, metadata=metadata)


def artifact_sha256(
    tensors: Mapping[str, Tensor], *, kind: str, schema: int, header: Mapping[str, Any]
) -> str:
    """SHA-256 of the file that `write_artifact` would write; all of it is held in memory."""
    metadata = _metadata(tensors, kind=kind, schema=schema, header=header)
    return hashlib.sha256(save(dict(tensors), metadata=metadata)).hexdigest()


def _metadata(
    tensors: Mapping[str, Tensor], *, kind: str, schema: int, header: Mapping[str, Any]
) -> dict[str, str]:
    complete = json.loads(json.dumps({**header, "kind": kind, "schema": schema}, allow_nan=False))
    complete["content_sha256"] = content_sha256(complete, tensors)
    return {"slsgu": json.dumps(complete, sort_keys=True)}


def content_sha256(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over header and tensors, in the order of their names; tensors are not copied.

    Args:
        header: as read from JSON. Its `content_sha256`, if any, is left out.
        tensors: contiguous on the CPU, or they are copied one at a time.
    """
    described = {key: value for key, value in header.items() if key != "content_sha256"}
    # In ASCII, since a command line may hold what is not Unicode.
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"\0{name}\0{dtype}\0{list(tensor.shape)}\0".encode())
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
    """Read header (without what this module adds) and tensors.

    Raises:
        ArtifactError: missing, damaged, foreign (another `kind`), newer than `schema`, or from
            before files had a `content_sha256`.
    """
    if not path.is_file():
        raise ArtifactError(f"{what} not found: {path}")
    refuse_name(path)
    try:
        with safe_open(path, framework="pt") as file:
            raw = (file.metadata() or {}).get("slsgu")
            header = json.loads(raw) if raw is not None else {}
            if not isinstance(header, dict) or header.get("kind") != kind:
                raise ArtifactError(f"{path} is not a {what} made by slsgu")
            version = header.get("schema")
            if not isinstance(version, int) or version > schema:
                raise ArtifactError(
                    f"{path} has {what} format {version}; this slsgu reads up to {schema}: "
                    "install a newer slsgu"
                )
            if "content_sha256" not in header:
                raise ArtifactError(
                    f"{path} has a {what} format from before 0.1.0, without content_sha256: "
                    "make it again"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if header["content_sha256"] != content_sha256(header, tensors):
            raise ArtifactError(
                f"{what} is damaged: {path} does not hold what was written; remove it and make it "
                "again, or take another copy"
            )
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{what} is damaged: {path} ({error})") from None
    internal = ("kind", "schema", "content_sha256")
    return {key: value for key, value in header.items() if key not in internal}, tensors
