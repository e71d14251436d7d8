"""Re-running only what changed gives what a full run gives, for every layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from slsgu.clip import Clip
from slsgu.layers import Layer, inventory, stages
from slsgu.replay import TOLERANCE, Replay, Tower, edited

PROMPTS = ["a photo of a dog", "a cat", "the big red truck", "something else", "x"]


def nudged(clip: Clip, layer: Layer) -> torch.Tensor:
    weight = dict(clip.model.named_parameters())[layer.name].detach()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    return weight + 0.3 * weight.norm() * noise / noise.norm()


def full_run(clip: Clip, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return clip.encode_image(pixels), clip.encode_text(PROMPTS)


@pytest.mark.parametrize("order", [list, lambda layers: list(reversed(layers))])
def test_every_layer_replays_to_what_a_full_run_gives(
    tiny: Clip, order: Callable[[list[Layer]], list[Layer]]
) -> None:
    pixels = torch.randn(7, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0))
    replay = Replay(tiny, pixels, PROMPTS, batch_size=3)
    before = {name: p.detach().clone() for name, p in tiny.model.named_parameters()}
    moved = 0
    for layer in order(inventory(tiny.model, norms=True)):
        weight = nudged(tiny, layer)
        replay.prepare(layer)
        found = replay.with_weight(layer, weight)
        with edited(dict(tiny.model.named_parameters())[layer.name], weight):
            expected = full_run(tiny, pixels)
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=TOLERANCE), layer.name
        changed = any(
            not torch.allclose(one, other, atol=1e-3)
            for one, other in zip(found, replay.base, strict=True)
        )
        moved += changed
    assert moved > 10  # control: the edits do change embeddings
    after = dict(tiny.model.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_deep_cut_skips_the_stages_before_it(tiny: Clip) -> None:
    calls = [0, 0]
    blocks = stages(tiny.model, "vision")
    pixels = torch.randn(4, 3, *tiny.image_size)
    replay = Replay(tiny, pixels, PROMPTS, batch_size=4)
    last = [layer for layer in inventory(tiny.model) if layer.block == len(blocks) - 1]
    layer = next(layer for layer in last if layer.tower == "vision")
    replay.prepare(layer)
    for index in (0, -1):
        weight = blocks[index].mlp.c_fc  # a module that only runs when its block does

        def count(*_: object, place: int = index) -> None:
            calls[place] += 1

        weight.register_forward_hook(count)
    replay.with_weight(layer, nudged(tiny, layer))
    assert calls == [0, 1]


def test_a_tower_whose_stages_are_not_a_chain_is_run_in_full() -> None:
    """A skip connection around the stages makes the cut wrong: it must be noticed."""
    torch.manual_seed(0)
    stage = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
    inputs = torch.randn(6, 4)

    def encode(start: int, stop: int) -> torch.Tensor:
        hidden = stage[0](inputs[start:stop])
        # The second stage is fed from outside the chain as well.
        return stage[1](hidden) + hidden.sin()

    tower = Tower(encode, 6, [*stage], 3)
    tower.cut_before(2)
    weight = stage[1].weight.detach() + 1
    with edited(stage[1].weight, weight):
        assert torch.allclose(tower.run(), encode(0, 6).detach(), atol=1e-6)
