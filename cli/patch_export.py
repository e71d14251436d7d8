"""`slsgu patch apply --to`: a patched model in the form that its user needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Console, command_line
from .elsewhere import is_pipeline
from .groups import option, stack
from .values import load_patches

if TYPE_CHECKING:
    from slsgu.patch.patch import Patch

WAY_OUT = "If its configuration is wrong, say --quick-gelu or --gelu"
export_options: Callable[[Any], Any] = stack(
    option(
        "Input",
        "--pretrained",
        metavar="TAG|FILE",
        help="Weights, where MODEL is the name of an architecture: a pretrained tag, or a "
        "checkpoint file.",
    ),
    option(
        "Input",
        "--quick-gelu/--gelu",
        default=None,
        help="Activation that the weights were trained with.  [default: as configured]",
    ),
    option(
        "Output",
        "--to",
        "form",
        type=click.Choice(["local-dir", "safetensors", "pt"]),
        help="Form of the result: an OpenCLIP local-dir with configuration and model card, or a "
        "file of weights.  [default: that of MODEL]",
    ),
    option(
        "Output",
        "--push",
        metavar="OWNER/NAME",
        help="Upload the local-dir to this new repository of the Hugging Face Hub, private at "
        "first. Needs slsgu[hub].",
    ),
)


def export(
    patches: tuple[Path, ...],
    model: str,
    out: Path,
    *,
    scale: float,
    form: str | None,
    pretrained: str | None,
    quick_gelu: bool | None,
    push: str | None,
) -> Patch:
    """Apply patches, and write the form that was asked for.

    Returns:
        The sum of the patches, scaled.

    Raises:
        click.UsageError: the options do not go together.
    """
    from slsgu.errors import SlsguError
    from slsgu.models.config import activation_name
    from slsgu.models.local_dir import refuse_inside
    from slsgu.models.resolve import local_folder
    from slsgu.patch.export import changed_model, find_model
    from slsgu.patch.header import refuse_activation
    from slsgu.patch.rewrite import changed_weights
    from slsgu.report.hub import check_hub, push_folder
    from slsgu.utils.files import exists

    form = form or "local-dir"
    if is_pipeline(model):
        raise click.UsageError(
            f"{model} is written in the form that it has: leave out --to, --pretrained, --push "
            "and the activation"
        )
    if push is not None and form != "local-dir":
        raise click.UsageError("--push uploads a folder: it goes with --to local-dir")
    if form != "local-dir" and out.suffix != f".{form}":
        raise click.UsageError(f"--to {form} writes a file: --out {out} must end in .{form}")
    if exists(out):
        raise SlsguError(f"{out} exists already; give a new --out")
    if push is not None:
        check_hub(push)
    patch = scale * load_patches(patches) if scale != 1.0 else load_patches(patches)
    made_for = patch.parts[0].get("model", {})
    console = Console()
    if form != "local-dir" and pretrained is None and Path(model).is_file():
        changed_weights(Path(model), patch.apply_to)(out)  # bare weights need no architecture
    else:
        model = model.removeprefix("local-dir:") if pretrained is None else model
        spec = find_model(model, pretrained, quick_gelu=quick_gelu, made_for=made_for)
        refuse_activation(patch.parts, activation_name(spec.model_cfg), model, WAY_OUT)
        if form == "local-dir":
            console.say_not_copied(_folder(patch, spec, out, f"{model} {pretrained or ''}".strip()))
        else:
            refuse_inside(out, local_folder(spec.tokenizer), "an --out")
            changed_model(spec, patch.apply_to)(out)
    if form != "local-dir":
        console.say(
            "note: a file of weights says neither its activation (QuickGELU or GELU) nor its "
            "preprocessing; --to local-dir keeps both"
        )
    click.echo(f"patched    {out}")
    if push is not None:
        click.echo(f"pushed     {push_folder(out, push)}")
    return patch


def _folder(patch: Any, spec: Any, out: Path, base: str) -> list[str]:
    """Write a local-dir with its model card."""
    from slsgu.models.resolve import local_folder
    from slsgu.patch.export import CARD, export_local_dir
    from slsgu.patch.header import model_names
    from slsgu.report.card import model_card

    source = local_folder(spec.tokenizer)
    names = model_names(patch.parts)
    card = model_card(
        patch,
        base=names[0] if len(names) == 1 else base,
        command=command_line(),
        has_base_card=source is not None and (source / CARD).is_file(),
    )
    return export_local_dir(spec, out, patch.apply_to, {CARD: card})
