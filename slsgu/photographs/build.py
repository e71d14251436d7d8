"""Build `imagenet-lite0` once, as an OpenCLIP `local-dir` in the user's cache folder.

The same on every machine, to the bit, so that patches made on one apply on another. Beside the
folder lies a list of what its files hash to: a damaged folder is built again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from slsgu.errors import ArtifactError, SlsguError
from slsgu.photographs import NAME, TEXT_TOWER
from slsgu.photographs.projection import DIMENSIONS, project
from slsgu.photographs.teach import TEXT_CFG
from slsgu.photographs.trunk import SHA256, TIMM_NAME, read_trunk, weights_path
from slsgu.utils.cache import cache_folder
from slsgu.utils.files import (
    exists,
    file_sha256,
    json_sha256,
    read_json,
    replacing_folder,
    write_json,
)
from slsgu.utils.reading import open_regular
from slsgu.utils.temporaries import release, remove_stale, temporary_name

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": DIMENSIONS,
        "vision_cfg": {
            "timm_model_name": TIMM_NAME,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
            "image_size": 224,
        },
        "text_cfg": TEXT_CFG,
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
LOGIT_SCALE = 30.0  # about the classifier's own: length of its class vectors times an embedding's
CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
_MOST_BYTES = 1 << 30  # of a file of the model, which has 68 MiB: what is larger is not hashed
_FORMAT = 1  # changes whenever the same two sources would give another model


def built() -> Path:
    """The folder of the model, built if it is not there or damaged.

    Raises:
        ModelError: the package with the image weights is not installed, or is another one.
        SlsguError: the cache folder cannot be written.
    """
    weights_path()  # without the package there is no model, although one may be left in the cache
    folder = cache_folder() / "models" / f"{NAME}-{_key()}"
    if is_whole(folder):
        return folder
    if exists(folder) and not is_whole(folder):  # another process may just have built it
        _remove(folder)
    try:
        with replacing_folder(folder) as part:
            write(part)
            hashes = {file.name: file_sha256(file) for file in sorted(part.iterdir())}
            write_json(_list_of(folder), hashes)
    except SlsguError:
        if not is_whole(folder):  # another process was faster
            raise
    return folder


def write(folder: Path, text_tower: Path = TEXT_TOWER) -> None:
    """Write configuration and weights into an empty folder.

    Args:
        folder: what becomes the `local-dir`.
        text_tower: the file that `slsgu.photographs.teach.teach` writes.
    """
    trunk = read_trunk()
    space = project(*trunk.classifier)
    state: dict[str, Tensor] = {f"visual.trunk.{k}": v for k, v in trunk.weights.items()}
    state["visual.head.proj.weight"], state["visual.head.proj.bias"] = space.weight, space.bias
    state |= text_weights(text_tower)
    state["logit_scale"] = torch.tensor(math.log(LOGIT_SCALE))
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(CONFIG, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def text_weights(path: Path) -> dict[str, Tensor]:
    """The text tower under OpenCLIP's names. Rows of tokens that were not taught are zero.

    Everything but the token table becomes fp32, so that an edit is not rounded to fp16.
    """
    stored = load_file(path)
    tokens = stored.pop("tokens").long()
    rows = stored.pop("token_embedding.weight")
    table = torch.zeros(TEXT_CFG["vocab_size"], rows.shape[1], dtype=rows.dtype)
    table[tokens] = rows
    return {"token_embedding.weight": table, **{k: v.float() for k, v in stored.items()}}


def is_whole(folder: Path) -> bool:
    """Whether a folder holds the files that were written, unchanged."""
    try:
        hashes = read_json(_list_of(folder), "list of a model's files")
        return (
            isinstance(hashes, dict)
            and set(hashes) == {CONFIG_FILE, WEIGHTS_FILE}
            and all(_has_hash(folder / name, sha256) for name, sha256 in hashes.items())
        )
    except (ArtifactError, OSError):
        return False


def _has_hash(path: Path, sha256: Any) -> bool:
    """Whether a file holds what was written. A pipe, a device or a file of terabytes in its place
    is not read.

    Raises:
        ArtifactError: there is no regular file.
    """
    with open_regular(path, "file of a model") as file:
        size = os.fstat(file.fileno()).st_size
    return size <= _MOST_BYTES and file_sha256(path) == sha256


def entries(cache: Path) -> Iterator[tuple[Path, int]]:
    """The models kept in a cache folder, of this version and earlier ones, and their bytes."""
    for folder in sorted((cache / "models").glob(f"{NAME}-*")):
        if folder.is_dir():
            yield folder, sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())


def clear(cache: Path) -> tuple[int, int]:
    """Remove all of them, and what killed writers have left.

    Returns:
        How many there were, and their bytes.

    Raises:
        SlsguError: one cannot be removed.
    """
    count = size = 0
    remove_stale(cache / "models", f"{NAME}-*")
    for folder, bytes_ in entries(cache):
        _remove(folder)
        count, size = count + 1, size + bytes_
    return count, size


def _remove(folder: Path) -> None:
    """Take a folder away in one step: another process never sees half of it."""
    try:
        if (listed := _list_of(folder)).is_dir() and not listed.is_symlink():
            shutil.rmtree(listed)
        else:
            listed.unlink(missing_ok=True)
        if folder.is_dir() and not folder.is_symlink():
            gone = folder.parent / temporary_name(folder.name)
            try:
                folder.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            finally:
                release(gone)
        else:
            folder.unlink(missing_ok=True)
    except OSError as error:
        raise SlsguError(f"cannot remove {folder}: {error.strerror}") from None


def _key() -> str:
    """A hash of all that decides the model's bits."""
    return json_sha256([_FORMAT, SHA256, file_sha256(TEXT_TOWER), CONFIG, LOGIT_SCALE])[:12]


def _list_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
