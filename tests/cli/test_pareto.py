"""`slsgu pareto` ranks layers as the run in its folder did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import Ran
from safetensors.torch import load_file, save_file

import slsgu
from slsgu.gradients.gradients import Gradients

Cli = Callable[..., Ran]
GAIN = "visual.ln_post.weight"
FEW = ("--trials", "2", "--force")


def layers(ran: Ran) -> dict[str, dict[str, object]]:
    assert ran.code == 0, ran.err
    return {row["layer"]: row for row in json.loads(ran.out)}


def front(rows: dict[str, dict[str, object]]) -> set[str]:
    return {name for name, row in rows.items() if row["on_front"]}


def test_a_gain_that_was_fixed_is_ranked(cli: Cli, world: list[str], tmp_path: Path) -> None:
    cli("apply", "--concept", "beagle", *world, *FEW, "--layer", GAIN)
    rows = layers(cli("pareto", "--json"))
    assert GAIN in rows and "visual.ln_pre.weight" not in rows
    ran = cli("pareto", "--fast")
    assert f"edited     {GAIN}\n" in ran.out and "1 of them gains" in ran.out


def test_a_result_that_is_no_file_is_told(cli: Cli, world: list[str], tmp_path: Path) -> None:
    cli("grads", "--concept", "beagle", "--run", "run", *world)
    assert "not marked" not in cli("pareto", "--run", "run", "--fast").err  # control
    os.mkfifo(tmp_path / "run" / "result.json")
    ran = cli("pareto", "--run", "run", "--fast")
    assert ran.code == 0 and "not marked: cannot read the result run/result.json" in ran.err


@pytest.mark.parametrize("options", [("--norms",), ("--search", "paper"), ()])
def test_the_front_is_that_of_the_search(
    cli: Cli, world: list[str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    ran = cli("apply", "--concept", "beagle", *world, *FEW, *options, "--thorough", "--json")
    searched = json.loads(ran.out)["candidates"]
    wanted = {row["layer"] for row in searched if row["on_front"]}
    shown = layers(cli("pareto", "--json", "--fast"))
    assert front(shown) == wanted
    gains = {name for name, row in shown.items() if row["kind"] == "norm"}
    assert bool(gains) == bool(options)
    other = layers(cli("pareto", "--json", "--fast", "--no-norms" if options else "--norms"))
    assert {n for n, r in other.items() if r["kind"] == "norm"} != gains  # control


def test_all_lists_all_layers_and_leaves_the_front_as_it_is(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    cli("grads", "--concept", "beagle", *world)
    some, every = (layers(cli("pareto", "--json", "--fast", *x)) for x in ((), ("--all",)))
    assert some.keys() < every.keys() and front(some) == front(every)
    assert GAIN in every and GAIN not in some
    clip = slsgu.load(world[1])
    from slsgu.models.layers import inventory

    assert every.keys() == {layer.name for layer in inventory(clip.model, norms=True)}


def test_a_run_made_from_python_is_ranked_with_what_it_measured(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    clip = slsgu.load(world[1])
    plan = slsgu.make_plan(
        clip,
        ["beagle"],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
        settings=slsgu.Settings(trials=2, force=True, thorough=True, norms=True),
    )
    outcome = slsgu.run_plan(plan, folder=slsgu.RunFolder(Path("python")))
    assert outcome.trace is not None
    ran = cli("pareto", "--run", "python", "--json")
    assert "request.yaml is not there" in ran.err
    rows = layers(ran)
    measured = {c.score.layer: c.score.efficiency for c in outcome.trace.candidates}
    assert any(value is not None for value in measured.values())
    assert {name: rows[name]["efficiency"] for name in measured} == measured
    assert front(rows) == {s.layer for s in outcome.trace.scores if s.on_front}


def test_a_refused_run_is_not_taken_for_the_newest(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    cli("grads", "--concept", "pug", *world)
    model = ignorant(Path(world[1].removeprefix("local-dir:")), tmp_path / "ignorant")
    odd = ("--concept", "beagle", "--model", f"local-dir:{model}", *world[2:])
    refused = cli("apply", *odd)
    assert refused.code == 1 and "does not know 'beagle'" in refused.err
    (folder,) = Path("runs").glob("beagle-*")
    assert "does not know" in (folder / "refused.txt").read_text()
    assert "pug:" in cli("pareto", "--fast").out
    assert "beagle:" in cli("pareto", "--fast", "--run", str(folder)).out  # named, it is shown
    measured = cli("evaluate", "--run", str(folder))
    assert measured.code == 1 and "was refused" in measured.err
    assert "does not know 'beagle'" in measured.err
    cli("apply", *odd, "--force", "--trials", "2")
    assert not (folder / "refused.txt").exists()
    assert "beagle:" in cli("pareto", "--fast").out


def ignorant(source: Path, target: Path) -> Path:
    """A copy of a model that gives each picture the name that suits it least."""
    shutil.copytree(source, target)
    file = target / "open_clip_model.safetensors"
    tensors = load_file(file)
    tensors["visual.proj"] = -tensors["visual.proj"]
    save_file(tensors, file, metadata={"format": "pt"})
    return target


def test_gradients_far_too_large_are_ranked_or_told(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    """Squares of large values do not fit single precision; nothing holds a quotient of 1e400."""
    cli("grads", "--concept", "beagle", "--run", "run", *world)
    found = Gradients.load(Path("run/gradients.safetensors"))
    name = found.layers[0].name
    large = {**found.forget, name: torch.full_like(found.forget[name], 1e38)}
    replace(found, forget=large).save(Path("run/gradients.safetensors"))
    assert layers(cli("pareto", "--run", "run", "--fast", "--json"))[name]["importance"] > 1e38  # type: ignore[operator]
    norms = {**found.weight_norms, name: 1e-300}
    replace(found, forget=large, weight_norms=norms).save(Path("run/gradients.safetensors"))
    ran = cli("pareto", "--run", "run", "--fast", "--json")
    assert ran.code == 1 and "importance is inf" in ran.err and "layers.json" in ran.err
