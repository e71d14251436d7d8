"""Patches in models that transformers or diffusers saved, on disk: a new folder is written.

`transformers:FOLDER` is one model, `diffusers:FOLDER` a pipeline with all its parts. Only the file
that holds the layer is written anew, and of it only the bytes of the layer; all others are copied
byte for byte. What is not a part of the model but may hold its weights stays behind: an unpatched
variant would bring the knowledge back.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slsgu.errors import ModelError, SlsguError, SlsguWarning
from slsgu.interop.diffusers import INDEX, Encoder, assign, encoders_of_index
from slsgu.interop.targets import Target
from slsgu.interop.transformers import view_from
from slsgu.interop.view import View
from slsgu.models.checkpoint import read_state_dict, write_state_dict
from slsgu.models.local_dir import copy_others, leads_out, refuse_inside
from slsgu.models.overwrite import overwrite
from slsgu.models.transformers_folder import PREFIX
from slsgu.models.transformers_weights import CONFIG, FolderWeights, find_weights, read_json
from slsgu.patch.patch import Patch
from slsgu.patch.size import nothing_changes
from slsgu.utils.files import exists, replacing_folder
from slsgu.utils.wording import printable

PIPELINE = "diffusers:"
Edit = Callable[[View, Patch, Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class SavedModel:
    """A model in a folder, with OpenCLIP's names."""

    folder: Path
    weights: FolderWeights
    view: View

    def read(self, patch: Patch) -> dict[str, Tensor]:
        """What the folder holds of the layers of a patch."""
        return self.weights.read(self.view.parts(patch))

    def write(self, changed: Mapping[str, Tensor], out: Path) -> list[str]:
        """Write a copy of the folder with other values for some tensors.

        Args:
            changed: by the model's own names.
            out: an empty folder.

        Returns:
            What was left out, since it may hold weights.
        """
        before = self.weights.read(changed)
        if all(torch.equal(tensor, before[name]) for name, tensor in changed.items()):
            raise nothing_changes(self.folder)
        left_out = copy_others(self.folder, out, *self.weights.used)
        for file in sorted(self.weights.used):
            shutil.copyfile(self.folder / file, out / file)
            own = {n: t for n, t in changed.items() if self.weights.files[n] == file}
            if own and file.endswith(".safetensors"):
                overwrite(out / file, own)
            elif own:
                tensors = read_state_dict(self.folder / file)
                write_state_dict(out / file, {**tensors, **own}, like=self.folder / file)
        return left_out


def open_saved(folder: Path, target: str | Target | None = None, title: str = "") -> SavedModel:
    """A model that transformers saved.

    Args:
        folder: with `config.json` and the weights.
        target: what of it is read, as for `slsgu.interop.transformers.apply`.
        title: which model it is, for messages; empty for the name of the folder.

    Raises:
        ModelError: it cannot be read.
        LayerMismatchError: it has no tower of CLIP.
    """
    if not folder.is_dir():
        raise ModelError(f"no such folder: {folder}")
    if not (folder / CONFIG).is_file():
        hint = f": write {PIPELINE}{folder}" if (folder / INDEX).is_file() else ""
        raise ModelError(f"{folder} is not a model that transformers saved, without {CONFIG}{hint}")
    config = read_json(folder / CONFIG, "model configuration")
    weights = find_weights(folder)
    view = view_from(title or str(folder), weights.files, config, target)
    return SavedModel(folder, weights, view)


def rewrite_folder(
    model: str, out: Path, patches: Sequence[Patch], *, revert: bool = False
) -> list[str]:
    """Apply patches to a saved model, or take them out, and write the result as a new folder.

    Args:
        model: `transformers:FOLDER` or `diffusers:FOLDER`; it does not change.
        out: must not exist yet; it is written whole or not at all.
        patches: of a pipeline with two text encoders, each goes to the one that it was made for.
        revert: take the patches out.

    Returns:
        Names of what was left out, since it may hold weights.

    Raises:
        ModelError: the folder cannot be read.
        LayerMismatchError: a patch does not fit, or would change nothing.
        SlsguError: `out` exists, or cannot be written.
    """
    assert patches
    if exists(out):
        raise SlsguError(f"{out} exists already; give a new --out")
    edit: Edit = View.reverted if revert else View.changed
    if model.startswith(PIPELINE):
        folder = Path(model.removeprefix(PIPELINE)).expanduser()
        refuse_inside(out, folder, "an --out")
        return _rewrite_pipeline(folder, out, patches, edit)
    folder = Path(model.removeprefix(PREFIX)).expanduser()
    refuse_inside(out, folder, "an --out")
    saved = open_saved(folder)
    total = sum(patches[1:], start=patches[0])
    saved.view.require(total)
    changed = edit(saved.view, total, saved.read(total))
    with replacing_folder(out) as part:
        return saved.write(changed, part)


def _rewrite_pipeline(folder: Path, out: Path, patches: Sequence[Patch], edit: Edit) -> list[str]:
    index = folder / INDEX
    if not index.is_file():
        raise ModelError(f"{folder} is not a pipeline that diffusers saved: it has no {INDEX}")
    parts = read_json(index, "pipeline index")
    targets = encoders_of_index(parts, str(folder))
    for name in parts:
        if leads_out(folder / name):  # and is not followed, so that the result would lack it
            raise ModelError(
                f"{printable(name)} of {folder} is a link to a folder elsewhere: copy it into the "
                "pipeline"
            )
    saved = {
        name: open_saved(folder / name, target, f"{name} of {folder}")
        for name, target in targets.items()
    }
    encoders = {name: Encoder(each.view, each.read) for name, each in saved.items()}
    changed = assign(patches, encoders, edit)
    left_out: list[str] = []
    with replacing_folder(out) as part:
        skipped = copy_others(folder, part)
        for name in sorted(skipped):
            component = name.removesuffix("/")
            if not name.endswith("/") or component not in parts:
                left_out.append(name)
            elif component in changed:
                (part / component).mkdir()
                beside = saved[component].write(changed[component], part / component)
                left_out += [f"{component}/{each}" for each in beside]
            else:
                shutil.copytree(folder / component, part / component, ignore=_foreign)
    return left_out


def _foreign(folder: str, names: list[str]) -> list[str]:
    """Links to what is not a part of the pipeline, which are not followed."""
    found = [name for name in names if leads_out(Path(folder, name))]
    for name in found:
        warnings.warn(
            f"not copied: {printable(name)} is a link to a file outside the model's folder",
            SlsguWarning,
            stacklevel=2,
        )
    return found
