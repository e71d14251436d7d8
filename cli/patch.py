"""`slsgu patch`: patch files and checkpoints, without building a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from slsgu.utils.wording import share

from .console import Console, echo_json, percent

CHECKPOINT = click.Path(path_type=Path)


def a_scale(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse nan and inf, which `float` accepts, and 0, which changes nothing."""
    if not math.isfinite(value) or value == 0:
        raise click.BadParameter(f"{value:g} is not a finite number other than 0")
    return value


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


def _say_left_out(names: list[str]) -> None:
    if names:
        Console().say(f"not copied, since it may hold weights: {', '.join(names)}")


@click.group()
def patch() -> None:
    """Show a patch file, apply it to a checkpoint, or take it back out."""


@patch.command()
@click.argument("file", type=CHECKPOINT)
@click.option("--json", "as_json", is_flag=True, help="All metadata as JSON.")
def show(file: Path, as_json: bool) -> None:
    """What a patch changes, where it came from, and what it did."""
    from slsgu.patch.patch import Patch, layer_hash

    loaded = Patch.load(file)
    layers: list[dict[str, Any]] = [
        {
            "layer": name,
            "shape": list(loaded.delta[name].shape),
            "stored": str(loaded.original[name].dtype).removeprefix("torch."),
            "relative_change": float(
                loaded.delta[name].double().norm() / loaded.original[name].double().norm()
            ),
            "sha256": layer_hash(name, loaded.original[name]),
        }
        for name in loaded.layers
    ]
    if as_json:
        echo_json({"layers": layers, **loaded.metadata})
        return
    for part in loaded.metadata.get("sum_of", [loaded.metadata]):
        request = part.get("request", {})
        model = part.get("model", {})
        click.echo(f"forgets    {', '.join(request.get('paths', [])) or 'unknown'}")
        click.echo(f"model      {model.get('name')} {model.get('pretrained') or ''}".rstrip())
        click.echo(
            f"made by    slsgu {part.get('version')}, {part.get('search')} search, "
            f"{part.get('forget_loss')} loss, {part.get('direction')} direction, "
            f"step {part.get('step_size')}{_times(part)}"
        )
        if part.get("command"):
            click.echo(f"command    {part['command']}")
        test = part.get("test", {})
        for key, before in test.get("before", {}).items():
            if before is not None:
                after = test["after"][key]
                click.echo(f"{key:<15}{percent(before):>7} -> {percent(after):>6}")
        if test:
            click.echo(f"{'Q-U':<15}{percent(test.get('q_u')):>7}")
    for layer in layers:
        click.echo(
            f"layer      {layer['layer']} {layer['shape']} {layer['stored']}, "
            f"changed by {share(layer['relative_change'], digits=2)} its norm, "
            f"sha256 {layer['sha256'][:12]}"
        )


def _times(part: dict[str, Any]) -> str:
    scale = part.get("scale", 1.0)
    return "" if scale == 1.0 else f" times {scale:g} (the figures are of the whole step)"


@patch.command("apply")
@click.argument("file", type=CHECKPOINT)
@click.argument("model", type=CHECKPOINT)
@click.option("--out", type=CHECKPOINT, required=True, help="Where to write the patched model.")
@click.option(
    "--scale", type=float, callback=a_scale, default=1.0, show_default=True, help="Times the step."
)
def apply_(file: Path, model: Path, out: Path, scale: float) -> None:
    """Apply patch FILE to MODEL: a checkpoint file or a local-dir."""
    from slsgu.patch.patch import Patch
    from slsgu.patch.rewrite import rewrite_model

    _check_form(model, out)
    loaded = Patch.load(file)
    if scale != 1.0:
        loaded = scale * loaded
    _say_left_out(rewrite_model(model, out, loaded.apply_to))
    click.echo(f"patched    {out}")


@patch.command()
@click.argument("file", type=CHECKPOINT)
@click.argument("model", type=CHECKPOINT)
@click.option("--out", type=CHECKPOINT, required=True, help="Where to write the original model.")
@click.option(
    "--scale",
    type=float,
    callback=a_scale,
    default=1.0,
    show_default=True,
    help="As it was applied.",
)
def revert(file: Path, model: Path, out: Path, scale: float) -> None:
    """Take patch FILE back out of MODEL, exact to the bit."""
    from slsgu.patch.patch import Patch
    from slsgu.patch.rewrite import rewrite_model

    _check_form(model, out)
    loaded = Patch.load(file)
    if scale != 1.0:
        loaded = scale * loaded
    _say_left_out(rewrite_model(model, out, loaded.revert_from))
    click.echo(f"reverted   {out}")
