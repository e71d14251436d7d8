"""Our safetensors files: tensors, and one JSON string of metadata under the key `slsgu`.

Every header holds `kind` (what the file is), `schema` (its format number) and `content_sha256`, so
a reader can tell a foreign, a damaged and a newer file apart before it trusts a number. What else
a header must hold, each reader says as a schema (`slsgu.utils.schema`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from slsgu.errors import ArtifactError
from slsgu.utils.files import json_text, replacing
from slsgu.utils.memory import free_bytes
from slsgu.utils.reading import open_regular
from slsgu.utils.schema import Check, MisfitError, anything, parse_json
from slsgu.utils.wording import printable

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8)
# What safetensors, torch and json raise over bytes that somebody has chosen.
_FAILURES = (
    SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError,
    MemoryError,
)  # fmt: skip


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
    whole = {**header, "kind": kind, "schema": schema}
    complete = json.loads(json_text(whole, f"cannot write {kind}"))
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
    path: Path, *, kind: str, schema: int, what: str, holds: Check = anything
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header (without what this module adds) and tensors.

    Args:
        what: what the file is, for messages.
        holds: what the header must be. A hash shows damage; whoever makes a file on purpose gives
            it the right one.

    Raises:
        ArtifactError: missing, damaged, foreign (another `kind`), newer than `schema`, from before
            files had a `content_sha256`, or with a value in it that makes no sense.
    """
    header = read_header(path, kind=kind, schema=schema, what=what, holds=holds)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except _FAILURES as error:
        raise ArtifactError(f"{what} is damaged: {path} ({error})") from None
    for name, tensor in tensors.items():
        if (reason := _unusable(tensor)) is not None:
            raise ArtifactError(f"{what} is damaged: {path}: {printable(name)} {reason}")
    if header["content_sha256"] != content_sha256(header, tensors):
        raise ArtifactError(
            f"{what} is damaged: {path} does not hold what was written; remove it and make it "
            "again, or take another copy"
        )
    internal = ("kind", "schema", "content_sha256")
    return {key: value for key, value in header.items() if key not in internal}, tensors


def read_header(
    path: Path, *, kind: str, schema: int, what: str, holds: Check = anything
) -> dict[str, Any]:
    """The header alone, in no time, with what this module adds. Whether the file holds what was
    written is not looked at.

    Raises:
        ArtifactError: as `read_artifact`.
    """
    with open_regular(path, what) as opened:
        size, free = os.fstat(opened.fileno()).st_size, free_bytes()
    if size > free:
        raise ArtifactError(
            f"cannot read {what} {path}: it claims {size:,} bytes, and {free:,} are free in memory"
        )
    refuse_name(path)
    try:
        with safe_open(path, framework="pt") as file:
            raw = (file.metadata() or {}).get("slsgu")
        header = parse_json(raw) if raw is not None else {}
    except _FAILURES as error:
        raise ArtifactError(f"{what} is damaged: {path} ({error})") from None
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise ArtifactError(f"{path} is not a {what} made by slsgu")
    version = header.get("schema")
    if not isinstance(version, int) or isinstance(version, bool) or version > schema:
        raise ArtifactError(
            f"{path} has {what} format {str(version)[:20]}; this slsgu reads up to {schema}: "
            "install a newer slsgu"
        )
    if "content_sha256" not in header:
        raise ArtifactError(
            f"{path} has a {what} format from before 0.1.0, without content_sha256: make it again"
        )
    try:
        holds(header, "")
    except MisfitError as error:
        raise ArtifactError(f"{what} is damaged: {path}: {error}") from None
    return header


def all_finite(tensor: Tensor) -> bool:
    """Whether no value is nan or infinite, in one pass that allocates nothing."""
    return tensor.numel() == 0 or all(bool(x.isfinite()) for x in torch.aminmax(tensor))


def _unusable(tensor: Tensor) -> str | None:
    """Why a tensor is none that slsgu writes, in words; None where it is one."""
    if tensor.dtype not in DTYPES:
        dtype = str(tensor.dtype).removeprefix("torch.")
        return f"holds {dtype} values, which slsgu writes nowhere"
    if tensor.is_floating_point() and not all_finite(tensor):
        return "holds values that are not finite numbers"
    return None
