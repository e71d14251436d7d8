"""`slsgu patch merge`, `scale` and `diff`: patches made of patches, and of two checkpoints."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Console, command_line, echo_json
from .groups import GroupedCommand
from .options import force_option, json_option, out_option
from .patch_layers import warn_of_size
from .run_options import read_run, without_images
from .values import load_patches

if TYPE_CHECKING:
    from torch import Tensor

    from slsgu.patch.conflicts import Conflict
    from slsgu.patch.patch import Patch

PATH = click.Path(path_type=Path)
SUFFIX = ".safetensors"
patches_argument = click.argument(
    "patches", type=PATH, nargs=-1, required=True, metavar="PATCH [PATCH]..."
)


def a_scale(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse nan and inf, which `float` accepts, and 0, which changes nothing."""
    if not math.isfinite(value) or value == 0:
        raise click.BadParameter(f"{value:g} is not a finite number other than 0")
    return value


@click.command(cls=GroupedCommand)
@patches_argument
@out_option("Where to write the merged patch.", suffix=SUFFIX)
@force_option
@json_option
def merge(patches: tuple[Path, ...], out: Path, force: bool, as_json: bool) -> None:
    """Add patches up to one patch file, which does what all of them do.

    Each PATCH is a patch file, or a run folder that holds one. Patches that change the same layer
    must be merged before they are applied. They must be made for the same weights of that layer.
    """
    from slsgu.patch.conflicts import conflicts
    from slsgu.patch.size import refuse_idle
    from slsgu.utils.files import refuse_target

    if len(patches) < 2:
        raise click.UsageError("give at least two patches to merge")
    refuse_target(out, force=force)
    total = load_patches(patches)
    found = conflicts([load_patches([path]) for path in patches])
    refuse_idle(total, "the sum of the patches")
    total.save(out)
    warn_of_size(total)
    measure = _evaluation(total, patches, out)
    console = Console()
    _say_models(total, console)
    _say_conflicts(found, patches, measure, console)
    if as_json:
        pairs = [
            {
                "layer": each.layer,
                "patches": [str(patches[each.first]), str(patches[each.second])],
                "cosine": each.cosine,
            }
            for each in found
        ]
        echo_json({**_summary(total, out), "conflicts": pairs, "evaluate": measure})
        return
    _print(total, out)


@click.command(cls=GroupedCommand, context_settings={"ignore_unknown_options": True})
@click.argument("patch", type=PATH)
@click.argument("factor", type=float, callback=a_scale, metavar="X")
@out_option("Where to write the scaled patch.", suffix=SUFFIX)
@force_option
@json_option
def scale(patch: Path, factor: float, out: Path, force: bool, as_json: bool) -> None:
    """Multiply the step of a patch by X.

    PATCH is a patch file, or a run folder that holds one. X is a number other than 0; a negative
    one steps in the opposite direction from the original model. (To take a patch out of a model,
    use `slsgu patch revert`.)
    """
    from slsgu.patch.size import refuse_idle
    from slsgu.utils.files import refuse_target

    refuse_target(out, force=force)
    scaled = factor * load_patches([patch])
    refuse_idle(scaled, f"{factor:g} times {patch}")
    scaled.save(out)
    warn_of_size(scaled)
    if as_json:
        echo_json(_summary(scaled, out))
        return
    _print(scaled, out)


@click.command(cls=GroupedCommand)
@click.argument("model_a", type=PATH)
@click.argument("model_b", type=PATH)
@out_option("Where to write the patch.", suffix=SUFFIX)
@force_option
@json_option
def diff(model_a: Path, model_b: Path, out: Path, force: bool, as_json: bool) -> None:
    """Make the patch that leads from one checkpoint to another.

    MODEL_A and MODEL_B are checkpoint files, local-dirs or transformers:FOLDER, of one
    architecture, which differ in few tensors. The patch fits MODEL_A.
    """
    import slsgu
    from slsgu.models.tensors import state_sha256
    from slsgu.patch.difference import difference, farthest
    from slsgu.patch.patch import Patch
    from slsgu.patch.rewrite import stated_activation
    from slsgu.utils.files import refuse_target

    refuse_target(out, force=force)
    before, after = (_tensors(model) for model in (model_a, model_b))
    found = difference(before, after)
    activation = stated_activation(model_a)
    metadata = {
        "version": slsgu.__version__,
        "method": "difference of two checkpoints",
        "model": {
            "name": _name(model_a),
            "pretrained": None,
            "sha256": state_sha256(before),
            **({} if activation is None else {"activation": activation}),
        },
        "command": command_line(),
    }
    patch = Patch(found.delta, found.original, metadata)
    patch.save(out)
    warn_of_size(patch)
    rest = farthest(patch, after)
    if other := [name for name in patch.layers if before[name].dtype != after[name].dtype]:
        Console().say(
            f"note: {model_b} stores {', '.join(other)} in another precision, so the patch holds "
            "what rounding has changed, too"
        )
    if rest:
        Console().say(
            f"note: the patch leads to {model_b} up to rounding (a weight differs by {rest:.1g} at "
            f"most), so it cannot be reverted from {model_b} itself, only from {model_a} patched"
        )
    if as_json:
        echo_json({**_summary(patch, out), "exact": not rest, "largest_difference": rest})
        return
    click.echo(f"differ     {len(patch.layers)} of {len(before)} tensors")
    _print(patch, out)


def _tensors(model: Path) -> Mapping[str, Tensor]:
    """The weights of a model, by OpenCLIP's names."""
    from slsgu.models.checkpoint import read_state_dict
    from slsgu.models.transformers_folder import PREFIX, read_tensors
    from slsgu.patch.rewrite import place_of, refuse_unmarked

    if str(model).startswith(PREFIX):
        return read_tensors(Path(str(model).removeprefix(PREFIX)).expanduser())
    refuse_unmarked(model)
    return read_state_dict(place_of(model))


def _name(model: Path) -> str:
    """A model as `--model` would name it, if it is a folder."""
    from slsgu.patch.rewrite import place_of

    place = place_of(model)
    return f"local-dir:{place}" if place.is_dir() else str(model)


def _summary(patch: Patch, out: Path) -> dict[str, Any]:
    """A patch that was written, as JSON values."""
    return {
        "patch": str(out),
        "layers": list(patch.layers),
        "forgets": list(patch.requested_paths()),
        "sha256": patch.file_sha256,
    }


def _print(patch: Patch, out: Path) -> None:
    click.echo(f"forgets    {', '.join(patch.requested_paths()) or 'unknown'}")
    click.echo(f"layers     {', '.join(patch.layers)}")
    click.echo(f"patch      {out}")


def _say_models(total: Patch, console: Console) -> None:
    """Whether the patches were made for models that differ."""
    from slsgu.patch.header import model_names

    models = {part.get("model", {}).get("sha256") or "unknown": part for part in total.parts}
    if len(models) > 1:
        names = ", ".join(
            " ".join([*model_names([part]), sha[:12]]) for sha, part in models.items()
        )
        console.say(
            f"note: the patches were made for models that differ ({names}); the sum fits a model "
            "in which every layer that it changes is as its patch expects"
        )


def _say_conflicts(
    found: Sequence[Conflict], patches: Sequence[Path], measure: str, console: Console
) -> None:
    """Which layers several patches change, and how to measure what comes of it."""
    for layer in dict.fromkeys(each.layer for each in found):
        here = [each for each in found if each.layer == layer]
        who = dict.fromkeys(i for each in here for i in (each.first, each.second))
        cosines = sorted(each.cosine for each in here if each.cosine is not None)
        ends = list(dict.fromkeys(f"{x:.2f}" for x in (*cosines[:1], *cosines[-1:])))
        angle = f"; cosine between the changes {' to '.join(ends)}" if ends else ""
        names = ", ".join(str(patches[i]) for i in who)
        console.say(f"conflict: {len(who)} patches change {layer} ({names}){angle}")
    if found:
        console.say(f"each patch was measured alone; to measure the sum: {measure}")


def say_applied_conflicts(patches: Sequence[Path]) -> None:
    """As `_say_conflicts`, of patches that are applied together without a file of their sum."""
    from slsgu.patch.conflicts import conflicts

    if len(patches) > 1:
        loaded = [load_patches([path]) for path in patches]
        words = [word for path in patches for word in ("--patch", str(path))]
        measure = shlex.join(["slsgu", "evaluate", *words])
        _say_conflicts(conflicts(loaded), patches, measure, Console())


def _and_data(run: Path) -> str:
    """What stands in a command that measures a run, where the run has no images of its own."""
    from slsgu.errors import SlsguError

    with contextlib.suppress(SlsguError, click.ClickException):
        return " --data DIR" if without_images(read_run(run)) else ""
    return ""


def _evaluation(total: Patch, patches: Sequence[Path], out: Path) -> str:
    """The command that measures a merged patch."""
    from slsgu.pipeline.run_folder import RunFolder

    runs = [path for path in patches if RunFolder(path).request.is_file()]
    if runs and len(runs) == len(patches):  # they know the model, the data and all images used
        words = ["--run", str(runs[0])]
        words += [word for path in runs for word in ("--patch", str(path))]
        return shlex.join(["slsgu", "evaluate", *words]) + _and_data(runs[0])
    words = ["slsgu", "evaluate", "--patch", str(out)]
    models = [part.get("model", {}) for part in total.parts]
    if models and models[0].get("name") not in (None, "menagerie"):
        words += ["--model", str(models[0]["name"])]
        tag = models[0].get("pretrained")
        words += ["--pretrained", str(tag)] if tag else []
        return f"{shlex.join(words)} --data DIR"
    return shlex.join(words)
