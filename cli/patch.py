"""`slsgu patch`: patch files and checkpoints, without building a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Console, echo_json, percent
from .elsewhere import is_elsewhere, rewrite_elsewhere
from .groups import Commands, GroupedCommand, option
from .options import json_option, out_option
from .patch_export import export, export_options
from .patch_layers import layer_values, told_size, warn_of_size
from .patch_values import (
    PATH,
    a_scale,
    diff,
    merge,
    patches_argument,
    say_applied_conflicts,
    scale,
)
from .values import load_patches

if TYPE_CHECKING:
    from slsgu.patch.patch import Patch

model_argument = click.argument("model", type=PATH)


def scale_option(text: str) -> Callable[[Any], Any]:
    """`--scale`, with what it is for."""
    return option(
        "Method",
        "--scale",
        type=float,
        callback=a_scale,
        metavar="X",
        default=1.0,
        show_default=True,
        help=text,
    )


@click.group(cls=Commands)
def patch() -> None:
    """Show patches, merge and scale them, apply them to a checkpoint, or take them out again.

    A PATCH is a patch file, or a run folder that holds one.
    """


@patch.command(cls=GroupedCommand)
@click.argument("file", type=PATH, metavar="PATCH")
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what a patch changes, how it was made, and what it did.

    PATCH is a patch file, or a run folder that holds one.
    """
    loaded = load_patches([file])
    layers = [layer_values(loaded, name) for name in loaded.layers]
    if as_json:
        echo_json({"layers": layers, **loaded.metadata})
        return
    for part in loaded.parts:
        _print_part(part)
    for layer in layers:
        click.echo(
            f"layer      {layer['layer']} {layer['shape']} {layer['stored']}, "
            f"changed {told_size(layer['relative_change'], digits=2)}, "
            f"sha256 {layer['sha256'][:12]}"
        )


def _print_part(part: Mapping[str, Any]) -> None:
    """Where a patch, or a part of a sum of patches, came from and what it did."""
    from slsgu.evaluation.metrics import WORDS
    from slsgu.patch.header import model_names
    from slsgu.search.met_ranges import describe_taken

    request, test = part.get("request", {}), part.get("test", {})
    made = [f"slsgu {part.get('version', '')}".rstrip()]
    made += [f"{part[key]} {word}" for key, word in _MADE_BY if part.get(key)]
    if taken := part.get("unnamed"):
        made.append(describe_taken(taken))
    if part.get("merge"):
        onto = " onto the nearest sibling" if part.get("merge_onto") == "nearest" else ""
        made.append(f"merge {part['merge']:g}{onto}")
    if part.get("step_size") is not None:
        made.append(f"step {part['step_size']}{_times(part)}")
    click.echo(f"forgets    {', '.join(request.get('paths', [])) or 'unknown'}")
    click.echo(f"model      {' '.join(model_names([part])) or 'unknown'}")
    click.echo(f"made by    {', '.join(made)}")
    if part.get("command"):
        click.echo(f"command    {part['command']}")
    rows = [
        (WORDS.get(key, key), f"{percent(before):>6} -> {percent(test['after'][key]):>6}")
        for key, before in test.get("before", {}).items()
        if before is not None
    ]
    rows += [("Q-U", f"{percent(test.get('q_u')):>6}")] if test else []
    for name, figures in rows:
        click.echo(f"           {name:<40} {figures}")


_MADE_BY = (("search", "search"), ("forget_loss", "loss"), ("direction", "direction"))


def _times(part: Mapping[str, Any]) -> str:
    scale = part.get("scale", 1.0)
    return "" if scale == 1.0 else f" times {scale:g} (the figures are of the whole step)"


patch.add_command(merge)
patch.add_command(scale)
patch.add_command(diff)


@patch.command("apply", cls=GroupedCommand)
@patches_argument
@model_argument
@out_option("Where to write the patched model; must not exist.", metavar="PATH")
@scale_option("Multiply the step by this factor.")
@export_options
def apply_(patches: tuple[Path, ...], model: Path, out: Path, scale: float, **options: Any) -> None:
    """Apply patches to a model.

    Each PATCH is a patch file, or a run folder that holds one. MODEL is a checkpoint file, a
    local-dir or imagenet-lite0, with --pretrained the name of an architecture, transformers:FOLDER
    (a model that transformers saved) or diffusers:FOLDER (a pipeline); it does not change. Several
    patches are added, then applied.
    """
    if any(value is not None for value in options.values()):
        warn_of_size(export(patches, str(model), out, scale=scale, **options))
    elif is_elsewhere(model):
        rewrite_elsewhere(patches, model, out, scale)
        click.echo(f"patched    {out}")
    else:
        warn_of_size(_rewrite(patches, model, out, scale))
        click.echo(f"patched    {out}")
    say_applied_conflicts(patches)


@patch.command(cls=GroupedCommand)
@patches_argument
@model_argument
@out_option("Where to write the original model; must not exist.", metavar="PATH")
@scale_option("The factor with which the patches were applied.")
def revert(patches: tuple[Path, ...], model: Path, out: Path, scale: float) -> None:
    """Take patches out of a model, exact to the bit.

    Each PATCH is a patch file, or a run folder that holds one. MODEL is a checkpoint file, a
    local-dir, imagenet-lite0, transformers:FOLDER or diffusers:FOLDER; it does not change. Patches
    that were applied together are reverted together. Says whether all of the result equals the
    model that the patch was made from.
    """
    from slsgu.errors import SlsguWarning

    if is_elsewhere(model):
        rewrite_elsewhere(patches, model, out, scale, revert=True)
        click.echo(f"reverted   {out}")
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loaded = _rewrite(patches, model, out, scale, revert=True)
    for each in told:
        warnings.warn(each.message, each.category, stacklevel=2)
    differs = any(issubclass(each.category, SlsguWarning) for each in told)
    models = {part.get("model", {}).get("sha256") for part in loaded.parts}
    equal = not differs and len(models) == 1 and None not in models
    click.echo(f"reverted   {out}{' (all weights are those of the original)' if equal else ''}")


def _rewrite(
    patches: tuple[Path, ...], model: Path, out: Path, scale: float, *, revert: bool = False
) -> Patch:
    """Write a model with the sum of patches applied, or taken out; the sum is returned."""
    from slsgu.models.resolve import own_folder
    from slsgu.patch.rewrite import check_activation, rewrite_model

    model = own_folder(str(model)) or model
    _check_form(model, out)
    loaded = load_patches(patches)
    if scale != 1.0:
        loaded = scale * loaded
    if not revert:
        check_activation(loaded, model)
    change = loaded.revert_from if revert else loaded.apply_to
    Console().say_not_copied(rewrite_model(model, out, change))
    return loaded


def _check_form(model: Path, out: Path) -> None:
    """A folder stays a folder. A file takes the form that its new name says, which is told where
    it is another one."""
    from slsgu.models.checkpoint import SUFFIXES

    model, out = (Path(str(path).removeprefix("local-dir:")) for path in (model, out))
    if model.is_dir() and out.suffix in SUFFIXES:
        raise click.UsageError(
            f"{model} is a folder, and --out gets the same form: {out} is the name of a file"
        )
    both = {model.suffix, out.suffix} <= set(SUFFIXES)
    if model.is_file() and both and (model.suffix == SUFFIXES[0]) != (out.suffix == SUFFIXES[0]):
        Console().say(
            f"note: {model} is a {model.suffix} file and {out} will be a {out.suffix} file; all "
            "tensors are kept, but nothing else that stands in the file"
        )
