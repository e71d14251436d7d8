"""Rewrite a model on disk, a checkpoint file or a local-dir, tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from slsgu.checkpoint import read_state_dict, weights_file, write_state_dict
from slsgu.errors import SlsguError
from slsgu.files import replacing_folder

Change = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def rewrite_model(model: Path, out: Path, change: Change) -> None:
    """Read `model`, change its tensors, write `out` in the same form. `model` is unchanged.

    Args:
        model: a checkpoint file, or a local-dir, whose other files are copied along.
        out: must not exist yet. A file for a file, a folder for a folder.
        change: for example `Patch.apply_to` or `Patch.revert_from`.

    Raises:
        ModelError: `model` can not be read.
        SlsguError: `out` exists, or can not be written.
    """
    model, out = (Path(str(path).removeprefix("local-dir:")) for path in (model, out))
    weights = weights_file(model)
    if out.exists():
        raise SlsguError(f"{out} exists already; give a new --out")
    tensors = change(read_state_dict(weights))
    if weights == model:
        write_state_dict(out, tensors, like=weights)
        return
    with replacing_folder(out) as part:
        for entry in model.iterdir():
            if entry.is_file() and entry.name != weights.name:
                shutil.copyfile(entry, part / entry.name)
        write_state_dict(part / weights.name, tensors, like=weights)
