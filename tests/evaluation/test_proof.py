"""The evaluation run: what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import slsgu
from slsgu.evaluation import proof
from slsgu.evaluation.proof import evaluate
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch


def test_an_edit_of_many_layers_costs_one_tower_and_no_copies(
    taught: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = dict(taught.model.named_parameters())
    names = [layer.name for layer in inventory(taught.model) if layer.tower == "vision"]
    assert len(names) > 5
    before = {name: weights[name].detach().clone() for name in names}
    patch = Patch({name: 1e-3 * before[name] for name in names}, before)
    task = slsgu.make_task(
        taught,
        ["beagle"],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
        machine=slsgu.MachineSettings(batch_size=4),
    )
    towers: list[Any] = []
    runs: list[dict[str, int]] = []
    moved: dict[str, torch.Tensor] = {}  # kept, so that no copy can come to lie in their memory
    patched = Patch.patched

    def made(self: Patch, name: str) -> torch.Tensor:
        return moved.setdefault(name, patched(self, name))

    class Counted(proof.StreamedTower):
        def __init__(self, *given: Any, **named: Any) -> None:
            towers.append(self)
            super().__init__(*given, **named)

        def run(self) -> torch.Tensor:
            runs.append({name: weights[name].data_ptr() for name in names})
            return super().run()

    clones: list[torch.Tensor] = []
    clone = torch.Tensor.clone

    def count(tensor: torch.Tensor, **named: Any) -> torch.Tensor:
        if any(tensor.data_ptr() == weights[name].data_ptr() for name in names):
            clones.append(tensor)
        return clone(tensor, **named)

    monkeypatch.setattr(proof, "StreamedTower", Counted)
    monkeypatch.setattr(torch.Tensor, "clone", count)
    monkeypatch.setattr(Patch, "patched", made)
    measured = evaluate(
        taught,
        task.splits.test,
        task.taxonomy,
        task.templates,
        reading=task.reading,
        request=task.request,
        patch=patch,
    )
    assert len(measured.samples) > 8 and len(runs) >= 3
    assert len(towers) == 1 and not clones
    # Every batch ran on the patched weights themselves, not on copies of them.
    assert all(run == {name: moved[name].data_ptr() for name in names} for run in runs)
    assert all(torch.equal(weights[name], before[name]) for name in names)
    weights[names[0]].data.clone()  # control: a copy is counted
    assert len(clones) == 1


def test_what_an_edit_leaves_to_find_is_measured_for_every_method(
    taught: Clip, photos: Path
) -> None:
    """An edit of the texts takes a name, and leaves what a few images find as it was."""
    task = slsgu.make_task(
        taught, ["dog"], data=photos / "images", taxonomy=photos / "pets.yaml",
    )  # fmt: skip
    weights = dict(taught.model.named_parameters())
    found = {}
    for name in ("text_projection", "visual.proj"):
        weight = weights[name].detach().clone()
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        patch = Patch({name: noise[:, :1] * noise[:1] - weight}, {name: weight})  # of rank 1 now
        measures = evaluate(
            taught, task.splits.test, task.taxonomy, task.templates, request=task.request,
            patch=patch,
        ).measures  # fmt: skip
        assert measures.found is not None
        found[name] = measures.found
    texts, images = found["text_projection"], found["visual.proj"]
    assert texts.before == texts.after == images.before > texts.chance
    assert images.after != images.before  # control
    alone = evaluate(taught, task.splits.test, task.taxonomy, task.templates)
    assert alone.measures.found is None  # nothing is to be forgotten
