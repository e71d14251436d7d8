"""Rewrite a model on disk, a checkpoint file or a local-dir, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from slsgu.errors import ModelError, SlsguError
from slsgu.models.checkpoint import CONFIG_NAME, read_state_dict, weights_file, write_state_dict
from slsgu.models.config import activation_name, read_config
from slsgu.models.local_dir import copy_others, refuse_inside
from slsgu.models.resolve import LOCAL, own_folder
from slsgu.models.splice import fits, splice
from slsgu.models.transformers_folder import PREFIX, activation_of
from slsgu.models.transformers_weights import read_json
from slsgu.patch.header import refuse_activation
from slsgu.patch.patch import Patch
from slsgu.patch.size import nothing_changes
from slsgu.utils.files import exists, replacing_folder
from slsgu.utils.names import refuse_blank

Change = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def check_activation(patch: Patch, model: str | Path) -> None:
    """Refuse a local-dir whose configuration says another activation than that of the model which a
    patch was made for. A file of weights does not say any.

    Raises:
        LayerMismatchError: they differ.
        ModelError: the configuration cannot be read.
    """
    if (activation := stated_activation(model)) is not None:
        folder = place_of(model)
        way_out = f"If {folder / CONFIG_NAME} is wrong, correct quick_gelu there"
        refuse_activation(patch.parts, activation, str(folder), way_out)


def stated_activation(model: str | Path) -> str | None:
    """The activation that the configuration of a local-dir, or of a folder of transformers, says;
    None of a file of weights.

    Raises:
        ModelError: the configuration cannot be read.
    """
    if str(model).startswith(PREFIX):
        folder = Path(str(model).removeprefix(PREFIX)).expanduser()
        return activation_of(read_json(folder / "config.json", "configuration"), folder)
    config = place_of(model) / CONFIG_NAME
    return activation_name(read_config(config)[0]) if config.is_file() else None


def refuse_unmarked(model: str | Path) -> None:
    """Refuse a folder of another library that is named without its prefix: its layers have other
    names.

    Raises:
        ModelError: it is one.
    """
    folder = place_of(model)
    if (folder / CONFIG_NAME).is_file():
        return
    for file, library in (("model_index.json", "diffusers"), ("config.json", "transformers")):
        if (folder / file).is_file():
            raise ModelError(f"{folder} is a folder of {library}: write {library}:{folder}")


def place_of(model: str | Path) -> Path:
    """The file or folder that a model is in, whether or not it is there: a checkpoint file, a
    local-dir with or without its prefix, or the folder of the model that slsgu builds itself.

    Raises:
        ModelError: as for `own_folder`.
    """
    return own_folder(str(model)) or Path(str(model).removeprefix(LOCAL))


def rewrite_model(model: str | Path, out: str | Path, change: Change) -> list[str]:
    """Read `model`, change its tensors, write `out` in the same form. `model` is unchanged.

    Of a safetensors file, only the tensors that `change` looks at are read into memory.

    Args:
        model: a checkpoint file, `imagenet-lite0`, or a local-dir, whose other files are copied
            along, but for those that may hold weights: an unpatched copy, a patch or a gradient
            cache beside the patched weights would bring the knowledge back. Folders in it stay
            behind too, and so, with a warning, do links to files elsewhere, which were never part
            of the model.
        out: must not exist yet. A file for a file, a folder for a folder.
        change: for example `Patch.apply_to` or `Patch.revert_from`.

    Returns:
        Names of what was left out, those of folders with a slash at the end.

    Raises:
        ModelError: `model` cannot be read.
        SlsguError: `out` exists, or cannot be written; or no bit of the weights would change.
    """
    for path, what in ((model, "the name of the model"), (out, "the name of what to write")):
        refuse_blank(str(path).removeprefix("local-dir:"), what, SlsguError)
    refuse_unmarked(model)
    model, out = place_of(model), Path(str(out).removeprefix("local-dir:"))
    weights = weights_file(model)
    if exists(out):
        raise SlsguError(f"{out} exists already; give a new --out")
    refuse_inside(out, model, "an --out")
    write = changed_weights(weights, change)
    if weights == model:
        write(out)
        return []
    with replacing_folder(out) as part:
        left_out = copy_others(model, part, weights.name)
        write(part / weights.name)
    return left_out


def changed_weights(weights: Path, change: Change) -> Callable[[Path], None]:
    """Change the tensors of a checkpoint file.

    Returns:
        What writes the changed file to a path, whose suffix chooses the format.

    Raises:
        ModelError: the file cannot be read.
        SlsguError: no bit would change.
    """
    before = read_state_dict(weights, whole=False)
    after, changed = _changed(before, change, weights)
    in_place = after.keys() == before.keys() and all(fits(changed[n], before[n]) for n in changed)

    def write(path: Path) -> None:
        if in_place and weights.suffix == path.suffix == ".safetensors":
            splice(weights, path, changed)
        else:
            write_state_dict(path, after, like=weights)

    return write


def changed_tensors(
    tensors: Mapping[str, Tensor], change: Change, source: Path
) -> Callable[[Path], None]:
    """Change tensors that are no checkpoint file of OpenCLIP's.

    Args:
        source: where they come from, for messages.

    Returns:
        What writes them, changed, to a path, whose suffix chooses the format.

    Raises:
        SlsguError: no bit would change.
    """
    after, _ = _changed(tensors, change, source)
    return lambda path: write_state_dict(path, after)


def _changed(
    before: Mapping[str, Tensor], change: Change, source: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All tensors after a change, and those that differ."""
    after = change(before)
    changed = {n: t for n, t in after.items() if n not in before or not _same(t, before[n])}
    if not changed:
        raise nothing_changes(source)
    return after, changed


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))
