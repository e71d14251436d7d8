"""`slsgu layers`: what can be edited."""

from __future__ import annotations

from typing import Any

import click

from .console import echo_json, echo_table
from .data_options import model_options
from .groups import GroupedCommand, option
from .options import json_option
from .values import load_clip


@click.command(cls=GroupedCommand)
@model_options
@option(
    "Method",
    "--norms/--no-norms",
    help="List the gains of LayerNorm and BatchNorm too.  [default: no]",
)
@json_option
def layers(norms: bool, as_json: bool, **options: Any) -> None:
    """List the layers of a model that can be edited, by the names that --layer takes.

    A layer is one weight tensor. Biases and embeddings are not listed, since they are never
    edited. A layer of kind `matrix` is a linear map or a convolution; `norm` is a gain.
    """
    from slsgu.models.layers import inventory

    clip = load_clip({**options, "device": "cpu", "precision": "fp32"})
    every = inventory(clip.model, norms=True)
    found = [layer for layer in every if norms or layer.kind != "norm"]
    if as_json:
        echo_json(
            [
                {
                    "layer": layer.name,
                    "tower": layer.tower,
                    "kind": layer.kind,
                    "shape": list(layer.shape),
                    "block": layer.block,
                    "last": layer.last,
                }
                for layer in found
            ]
        )
        return
    rows = [("layer", "tower", "kind", "shape")]
    rows += [
        (layer.name, layer.tower, layer.kind, " x ".join(map(str, layer.shape))) for layer in found
    ]
    echo_table(rows, left=3)
    hidden = len(every) - len(found)
    gains = f"; --norms lists {hidden} gains too" if hidden else ""
    click.echo(f"\n{len(found)} layers of {clip.name}{gains}", err=True)
