"""A model in memory, saved as an OpenCLIP `local-dir`."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

from slsgu.errors import ModelError, SlsguError, SlsguWarning
from slsgu.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME, unshared, weights_file
from slsgu.models.clip import Clip
from slsgu.models.config import read_config
from slsgu.utils.files import replacing_folder
from slsgu.utils.wording import printable

# Of any framework, whole, in shards, with the index that names the shards, as a backup
# (`model.bin.old`), or as a temporary that a killed writer left (`.model.bin.HOST.1-x.part`).
WEIGHT_FILE = re.compile(
    r"\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx|npy|npz|gguf|tflite|pkl|pickle|part)"
    r"(?![^.~])",  # the end of the name or of a part of it
    re.I,
)

_NEEDED = (CONFIG_NAME, "config.json", "model_index.json")  # of OpenCLIP and other libraries


def save_local_dir(clip: Clip, folder: Path) -> list[str]:
    """Write a model as an OpenCLIP `local-dir`, each tensor in the dtype it was stored in.

    Of a model that came from a `local-dir`, the other files are copied, as `rewrite_model` does.

    Args:
        clip: the model, with the configuration it was built from.
        folder: must not exist yet.

    Returns:
        Names of files that were not copied, since they may hold weights.

    Raises:
        ModelError: a weight does not fit its stored dtype (it overflows).
        SlsguError: the folder exists or cannot be written, or lies in that of the model.
    """
    refuse_inside(folder, clip.folder, "a folder")
    tensors = {}
    for name, tensor in clip.model.state_dict().items():
        stored = tensor.detach().cpu().to(clip.stored_dtypes.get(name, tensor.dtype))
        if not bool(torch.isfinite(stored).all()):
            raise ModelError(
                f"cannot save {folder}: {name} does not fit the precision it was stored in "
                f"({str(stored.dtype).removeprefix('torch.')}); use a smaller step"
            )
        tensors[name] = stored
    with replacing_folder(folder) as part:
        left_out = _write_beside(clip, part)
        save_file(unshared(tensors), part / WEIGHTS_NAME, metadata={"format": "pt"})
    return left_out


def refuse_inside(out: Path | None, model: Path | None, instead: str) -> None:
    """Refuse to write a model into the folder of the one that it was made from.

    Args:
        out: None if nothing is written.
        model: the folder that is not to change; None if the model came from none.
        instead: what to give elsewhere, for the message.

    Raises:
        SlsguError: `out` lies in it.
    """
    if out is None or model is None or not model.is_dir():
        return
    # Of links that lead to themselves, Path.resolve makes an error.
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(model)):
        raise SlsguError(f"{out} lies in {model}, which is not changed: give {instead} elsewhere")


def _write_beside(clip: Clip, folder: Path) -> list[str]:
    """Configuration and tokenizer: the files of the `local-dir` that the model came from; of
    another source, or if the configuration was overridden, written anew."""
    if clip.folder is not None and _is_as_configured(clip, clip.folder):
        return copy_others(clip.folder, folder, weights_file(clip.folder).name)
    config = {"model_cfg": clip.model_cfg, "preprocess_cfg": clip.preprocess_cfg}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    if hasattr(clip.tokenizer, "save_pretrained"):
        clip.tokenizer.save_pretrained(str(folder))  # a local-dir brings its own tokenizer
    return []


def _is_as_configured(clip: Clip, source: Path) -> bool:
    """Whether a folder still holds the configuration that a model was built from."""
    try:
        weights_file(source)
        model_cfg, preprocess_cfg = read_config(source / CONFIG_NAME)
    except ModelError:
        return False
    used = {key: clip.preprocess_cfg.get(key) for key in preprocess_cfg}
    return (model_cfg, preprocess_cfg) == (clip.model_cfg, used)


def copy_others(source: Path, target: Path, *weights: str) -> list[str]:
    """Copy the files of a `local-dir` but for its weights, byte for byte.

    Args:
        weights: the names of the files with the weights.

    Links to files elsewhere were never part of the model: they stay behind, with a warning.

    Returns:
        Names of what was left out, since it may hold weights; those of folders end with a slash.

    Raises:
        ModelError: what stays behind is the configuration.
    """
    left_out: list[str] = []
    for entry in sorted(source.iterdir()):
        if entry.name in weights or _holds(entry, target):
            continue
        if leads_out(entry):
            if entry.name in _NEEDED:
                raise ModelError(
                    f"{entry.name} of {source} is a link to a file elsewhere, without which the "
                    "result would be no model: copy it into the folder"
                )
            warnings.warn(
                f"not copied: {printable(entry.name)} is a link to a file outside the model's "
                "folder",
                SlsguWarning,
                stacklevel=2,
            )
        elif not entry.is_file() or WEIGHT_FILE.search(entry.name):
            left_out.append(f"{entry.name}/" if entry.is_dir() else entry.name)
        else:
            shutil.copyfile(entry, target / entry.name)
    return left_out


def _holds(entry: Path, target: Path) -> bool:
    """Whether a folder is what is being written, or holds it."""
    return entry.is_dir() and target.resolve().is_relative_to(entry.resolve())


def leads_out(entry: Path) -> bool:
    """Whether an entry of a model's folder is a link to a file elsewhere. In the cache of
    huggingface_hub every file is a link from `snapshots/REVISION` into `blobs`, beside it."""
    if not entry.is_symlink() or not entry.exists():
        return False
    folder = entry.parent.resolve()
    homes = [folder]
    for each in (folder, *folder.parents):  # a part of a pipeline lies one folder deeper
        if each.parent.name == "snapshots":
            homes.append(each.parents[1] / "blobs")
    return entry.resolve().parent not in homes
