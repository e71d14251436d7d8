"""`slsgu layers`: the names that --layer takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from helpers.commands import Ran

import slsgu
from slsgu.models.layers import inventory

Cli = Callable[..., Ran]


def test_every_layer_is_listed_with_tower_kind_and_shape(cli: Cli, taught_dir: Path) -> None:
    model = ["--model", f"local-dir:{taught_dir}"]
    wanted = inventory(slsgu.load(model[1], device="cpu").model)
    ran = cli("layers", *model)
    rows = [line.split(maxsplit=3) for line in ran.out.splitlines()[2:]]
    assert ran.code == 0 and f"{len(wanted)} layers" in ran.err
    assert rows == [[x.name, x.tower, x.kind, " x ".join(map(str, x.shape))] for x in wanted]
    found = json.loads(cli("layers", *model, "--json").out)
    assert [row["layer"] for row in found] == [layer.name for layer in wanted]
    assert {row["layer"] for row in found if row["last"]} == {"visual.proj", "text_projection"}


def test_gains_are_listed_if_asked_for(cli: Cli, taught_dir: Path) -> None:
    model = ["--model", f"local-dir:{taught_dir}", "--json"]
    few, many = (json.loads(cli("layers", *model, *w).out) for w in ([], ["--norms"]))
    assert {row["kind"] for row in few} == {"matrix"}
    assert {row["kind"] for row in many} == {"matrix", "norm"} and len(many) > len(few)


def test_a_model_that_is_not_there(cli: Cli) -> None:
    ran = cli("layers", "--model", "local-dir:nowhere")
    assert ran.code == 1 and "no such folder" in ran.err and not ran.out
