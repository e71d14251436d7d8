"""A layer that is fixed: its gradient, and nothing computed for any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.gradients import close, plan_for

from slsgu.data.ledger import Ledger
from slsgu.gradients.compute import compute_gradients
from slsgu.gradients.gradients import Gradients
from slsgu.models.clip import Clip
from slsgu.models.layers import stages
from slsgu.pipeline.run_folder import obtain_gradients, run_folder

LAYERS = [
    "visual.proj",
    "visual.ln_post.weight",
    "visual.transformer.resblocks.0.mlp.c_fc.weight",
    "visual.conv1.weight",
    "text_projection",
    "transformer.resblocks.0.ln_1.weight",
]
PIECES = {"batch_size": 4, "workers": 0}  # four micro-batches in a logical batch


class Runs:
    """How often a stage has run, and how often for a gradient."""

    def __init__(self, stage: torch.nn.Module) -> None:
        self.all = self.graphs = 0
        self.hook = stage.register_forward_hook(self._note)

    def _note(self, _module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        self.all += 1
        self.graphs += output.requires_grad


@pytest.mark.parametrize("layer", LAYERS)
def test_its_gradient_is_that_of_the_pass_for_all_layers(
    tiny: Clip, photos: Path, layer: str
) -> None:
    """But for rounding: torch has a faster attention for blocks that are not differentiated."""
    every = compute_gradients(plan_for(tiny, photos, **PIECES), Ledger())
    one = compute_gradients(plan_for(tiny, photos, **PIECES, layer=layer), Ledger())
    for found, expected in ((one.forget, every.forget), (one.retain, every.retain)):
        assert list(found) == [layer] and len(expected) > 20
        assert close(dict(found), {layer: expected[layer]}, 1e-4) and found[layer].any()
        assert not close(dict(found), {layer: 1.01 * expected[layer]}, 1e-4)  # control
    assert one.losses == pytest.approx(every.losses, rel=1e-5) and one.counts == every.counts


def test_what_lies_before_it_is_not_differentiated(tiny: Clip, photos: Path) -> None:
    first = {t: stages(tiny.model, t)[0] for t in ("vision", "language")}  # type: ignore[arg-type]

    def runs(layer: str | None) -> dict[str, Runs]:
        watched = {tower: Runs(stage) for tower, stage in first.items()}
        compute_gradients(plan_for(tiny, photos, **PIECES, layer=layer), Ledger())
        for each in watched.values():
            each.hook.remove()
        return watched

    full = runs(None)
    assert full["vision"].graphs and full["language"].graphs  # control
    last = runs("visual.proj")
    assert not last["vision"].graphs and not last["language"].graphs
    assert last["vision"].all < 0.7 * full["vision"].all  # once each, not twice
    text = runs("text_projection")
    assert not text["vision"].graphs and text["vision"].all == last["vision"].all
    deep = runs("visual.transformer.resblocks.0.mlp.c_fc.weight")
    assert deep["vision"].graphs and not deep["language"].graphs


def test_gradients_of_all_layers_serve_one_but_not_the_other_way(
    tiny: Clip, photos: Path, tmp_path: Path
) -> None:
    every, one, other = (
        plan_for(tiny, photos, layer=layer) for layer in (None, "visual.proj", "text_projection")
    )
    folder = run_folder(every, root=tmp_path)
    assert run_folder(one, root=tmp_path) == folder
    assert not obtain_gradients(one, folder, Ledger())[1]
    assert obtain_gradients(one, folder, Ledger())[1]  # control: its own are reused
    for plan in (other, every):
        folder = run_folder(plan, folder.path)  # the folder is of the same request
        assert not obtain_gradients(plan, folder, Ledger())[1]
        assert Gradients.load(folder.gradients).key == plan.key
    found, reused = obtain_gradients(one, run_folder(one, folder.path), Ledger())
    assert reused and len(found.forget) > 20


def test_it_can_be_had_with_checkpointed_activations(tiny: Clip, photos: Path) -> None:
    for layer in LAYERS[:3]:
        plan = plan_for(tiny, photos, layer=layer, checkpoint_activations=True, **PIECES)
        plain = compute_gradients(plan_for(tiny, photos, layer=layer, **PIECES), Ledger())
        found = compute_gradients(plan, Ledger())
        assert torch.allclose(found.forget[layer], plain.forget[layer], rtol=1e-4, atol=1e-7)


def test_retain_gradients_of_all_layers_serve_one(
    taught_dir: Path, photos: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    rows = {
        name: "".join(f"{path},a {name}\n" for path in sorted((photos / "images" / name).iterdir()))
        for name in ("beagle", "tabby", "pug")
    }
    for name, lines in (("forget", rows["beagle"]), ("retain", rows["tabby"] + rows["pug"])):
        (tmp_path / f"{name}.csv").write_text(f"image,caption\n{lines}")
    command = ["apply", "--forget", "forget.csv", "--retain", "retain.csv", "--name", "beagle"]
    command += ["--parent", "dog", "--model", f"local-dir:{taught_dir}", "--force"]
    command += ["--contrastive-batch", "4", "--workers", "0", "--trials", "1"]
    fixed = ["--layer", "visual.proj"]
    first = cli(*command, *fixed, "--run", "one")
    assert "retain gradient: reusing" not in first.err
    assert "retain gradient: reusing" in cli(*command, *fixed, "--run", "two").err
    assert "retain gradient: reusing" not in cli(*command, "--run", "three").err
    assert cli("cache", "clear").code == 0
    assert "retain gradient: reusing" not in cli(*command, "--run", "four").err
    assert "retain gradient: reusing" in cli(*command, *fixed, "--run", "five").err
