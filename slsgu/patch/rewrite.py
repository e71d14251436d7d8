"""Rewrite a model on disk, a checkpoint file or a local-dir, tensor by tensor."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from slsgu.errors import SlsguError, SlsguWarning
from slsgu.models.checkpoint import read_state_dict, weights_file, write_state_dict
from slsgu.utils.files import replacing_folder
from slsgu.utils.names import refuse_blank
from slsgu.utils.wording import printable

# Of any framework, whole, in shards, with the index that names the shards, as a backup
# (`model.bin.old`), or as a temporary that a killed writer left (`.model.bin.HOST.1-x.part`).
WEIGHT_FILE = re.compile(
    r"\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx|npy|npz|gguf|tflite|pkl|pickle|part)"
    r"(?![^.~])",  # the end of the name or of a part of it
    re.I,
)
Change = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def rewrite_model(model: str | Path, out: str | Path, change: Change) -> list[str]:
    """Read `model`, change its tensors, write `out` in the same form. `model` is unchanged.

    Args:
        model: a checkpoint file, or a local-dir, whose other files are copied along, but for those
            that may hold weights: an unpatched copy, a patch or a gradient cache beside the
            patched weights would bring the knowledge back. Folders in it stay behind too, and so,
            with a warning, do links to files elsewhere, which were never part of the model.
        out: must not exist yet. A file for a file, a folder for a folder.
        change: for example `Patch.apply_to` or `Patch.revert_from`.

    Returns:
        Names of what was left out, those of folders with a slash at the end.

    Raises:
        ModelError: `model` can not be read.
        SlsguError: `out` exists, or can not be written; or no bit of the weights would change.
    """
    for path, what in ((model, "the name of the model"), (out, "the name of what to write")):
        refuse_blank(str(path).removeprefix("local-dir:"), what, SlsguError)
    model, out = (Path(str(path).removeprefix("local-dir:")) for path in (model, out))
    weights = weights_file(model)
    if out.exists():
        raise SlsguError(f"{out} exists already; give a new --out")
    before = read_state_dict(weights)
    tensors = change(before)
    if all(name in before and _same(tensor, before[name]) for name, tensor in tensors.items()):
        raise SlsguError(
            f"nothing in {model} would change: the step is smaller than the distance between two "
            "numbers in which the weights are stored. Use a larger scale"
        )
    if weights == model:
        write_state_dict(out, tensors, like=weights)
        return []
    left_out: list[str] = []
    with replacing_folder(out) as part:
        for entry in sorted(model.iterdir()):
            if entry.name == weights.name:
                continue
            if _leads_out(entry):
                warnings.warn(
                    f"not copied: {printable(entry.name)} is a link to a file outside the model's "
                    "folder",
                    SlsguWarning,
                    stacklevel=2,
                )
            elif not entry.is_file() or WEIGHT_FILE.search(entry.name):
                left_out.append(f"{entry.name}/" if entry.is_dir() else entry.name)
            else:
                shutil.copyfile(entry, part / entry.name)
        write_state_dict(part / weights.name, tensors, like=weights)
    return left_out


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _leads_out(entry: Path) -> bool:
    """Whether an entry of a model's folder is a link to a file elsewhere. In the cache of
    huggingface_hub every file is a link from `snapshots/REVISION` into `blobs`, beside it."""
    if not entry.is_symlink() or not entry.exists():
        return False
    folder = entry.parent.resolve()
    homes = [folder]
    if folder.parent.name == "snapshots":
        homes.append(folder.parents[1] / "blobs")
    return entry.resolve().parent not in homes
