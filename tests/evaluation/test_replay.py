"""Re-running only what changed gives what a full run gives, for every layer of every tower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers.networks import PROMPTS, TOWERS, build_network, images, tokenize
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.evaluation.replay import Replay, edited
from slsgu.evaluation.tower import TOLERANCE
from slsgu.evaluation.tower import Tower as ReplayTower
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory, stages


@pytest.fixture
def clips(tiny: Clip) -> Callable[[str], Clip]:
    def make(name: str) -> Clip:
        return replace(tiny, model=build_network(name), tokenizer=tokenize)

    return make


def nudged(clip: Clip, layer: Layer) -> Tensor:
    weight = dict(clip.model.named_parameters())[layer.name].detach()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    return weight + 0.3 * weight.norm() * noise / noise.norm()


def full_run(clip: Clip, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """By OpenCLIP's own forward passes, on whole contexts."""
    with torch.no_grad():
        texts = clip.model.encode_text(clip.tokenize(PROMPTS))  # type: ignore[operator]
        return clip.encode_image(pixels), normalize(texts, dim=-1)


@pytest.mark.parametrize("budget", [float("inf"), 2e4, 0])
@pytest.mark.parametrize("name", TOWERS)
def test_every_layer_replays_to_what_a_full_run_gives(
    clips: Callable[[str], Clip], name: str, budget: float
) -> None:
    clip = clips(name)
    pixels = images(clip, 5)
    replay = Replay(clip, pixels, PROMPTS, batch_size=2, budget=budget)
    before = {name: p.detach().clone() for name, p in clip.model.named_parameters()}
    layers = inventory(clip.model, norms=True)
    if budget != float("inf"):  # the arithmetic is the same: a sample is enough
        layers = layers[::7]
    moved = 0
    for layer in [*layers, *layers[::-5]]:  # from shallow to deep, then back
        weight = nudged(clip, layer)
        replay.prepare(layer)
        found = replay.with_weight(layer, weight)
        with edited(dict(clip.model.named_parameters())[layer.name], weight):
            expected = full_run(clip, pixels)
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=TOLERANCE), layer.name
        moved += any(
            not torch.allclose(one, other, atol=10 * TOLERANCE)
            for one, other in zip(found, replay.base, strict=True)
        )
    assert moved > len(layers) / 2  # control: the edits do change embeddings
    after = dict(clip.model.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def layer_of(clip: Clip, ending: str) -> Layer:
    return next(layer for layer in inventory(clip.model) if layer.name.endswith(ending))


@pytest.mark.parametrize("name", TOWERS)
def test_a_deep_cut_runs_nothing_before_it(clips: Callable[[str], Clip], name: str) -> None:
    """Of the linear maps of the tower, only those of the last stage and behind it run."""
    clip = clips(name)
    replay = Replay(clip, images(clip, 2), PROMPTS)
    blocks = stages(clip.model, "vision")
    layers = [layer for layer in inventory(clip.model) if layer.tower == "vision"]
    last = next(layer for layer in layers if layer.block == len(blocks) - 1)
    ran: set[str] = set()
    for path, module in clip.model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            inner = f"{path}.weight"
            if inner in {layer.name for layer in layers}:
                original = module.forward

                def spy(
                    x: Tensor, run: Callable[..., Tensor] = original, at: str = inner
                ) -> Tensor:
                    ran.add(at)
                    return run(x)

                module.forward = spy  # type: ignore[method-assign]
    full = clip.encode_image(images(clip, 2))
    everything = set(ran)
    ran.clear()
    replay.prepare(last)
    ran.clear()
    replay.with_weight(last, nudged(clip, last))
    places = {layer.name: layer.block for layer in layers}
    assert full.isfinite().all()
    assert ran == {at for at in everything if (places[at] or 0) >= len(blocks) - 1}
    assert ran < everything


def test_texts_are_run_only_to_their_end(clips: Callable[[str], Clip]) -> None:
    clip = clips("vit")
    seen: list[int] = []
    block = stages(clip.model, "language")[0]
    block.register_forward_pre_hook(lambda _module, args: seen.append(args[0].shape[1]))
    with torch.no_grad():
        short = clip.encode_text(["x", "yes"])
        full = normalize(clip.model.encode_text(clip.tokenize(["x", "yes"])), dim=-1)  # type: ignore[operator]
    assert seen == [4, 16]  # three letters and the end; the whole context
    assert torch.allclose(short, full, atol=1e-6)


@pytest.mark.parametrize("name", ["custom-text-vit", "siglip"])
def test_texts_that_are_read_elsewhere_are_run_whole(
    clips: Callable[[str], Clip], name: str
) -> None:
    clip = clips(name)
    seen: list[int] = []
    block = stages(clip.model, "language")[0]
    block.register_forward_pre_hook(lambda _module, args: seen.append(args[0].shape[1]))
    with torch.no_grad():
        clip.encode_text(["x"])
    assert seen[0] >= 16


def test_the_budget_bounds_what_is_kept(clips: Callable[[str], Clip]) -> None:
    clip = clips("vit")
    layer = layer_of(clip, "visual.proj")

    def kept(budget: float) -> int:
        replay = Replay(clip, images(clip, 8), PROMPTS, batch_size=1, budget=budget)
        replay.prepare(layer)
        spans = replay._towers["vision"]._spans
        return sum(0 if span.kept is None else span.kept.nbytes for span in spans)

    everything = kept(float("inf"))
    assert 0 < kept(everything / 2) <= everything / 2 < everything


def test_a_first_run_can_be_cut(clips: Callable[[str], Clip]) -> None:
    """The search begins where it knows that it will: each input goes through the tower once."""
    clip = clips("vit")
    layer, pixels = layer_of(clip, "visual.proj"), images(clip, 6)
    count = len(stages(clip.model, "vision"))
    runs: list[int] = []
    stages(clip.model, "vision")[0].register_forward_hook(lambda *_: runs.append(1))

    def features(cuts: dict[str, int], budget: float = float("inf")) -> tuple[int, Tensor, int]:
        runs.clear()
        replay = Replay(clip, pixels, PROMPTS, batch_size=2, budget=budget, cuts=cuts)
        replay.prepare(layer)
        kept = sum(x.kept.nbytes for x in replay._towers["vision"]._spans if x.kept is not None)
        found = len(runs)
        return found, replay.features(layer, nudged(clip, layer)), kept

    late, expected, everything = features({})
    early, found, _ = features({"vision": count})
    assert late == early + 3 and torch.equal(found, expected)  # three batches
    _, found, kept = features({"vision": count}, everything / 2)
    assert 0 < kept <= everything / 2 and torch.equal(found, expected)


def one_tower(
    encode: Callable[[Tensor, torch.nn.ModuleList], Tensor],
) -> tuple[ReplayTower, torch.nn.ModuleList, Callable[[int, int], Tensor]]:
    torch.manual_seed(0)
    stage = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
    inputs = torch.randn(6, 4)

    def run(start: int, stop: int) -> Tensor:
        return encode(inputs[start:stop], stage).detach()

    return ReplayTower(stage, run, 6, [*stage], 3), stage, run


def test_a_tower_whose_stages_are_not_a_chain_is_run_in_full() -> None:
    """A skip connection around the stages makes the cut wrong: it must be noticed."""
    tower, stage, run = one_tower(lambda x, stage: stage[1](stage[0](x)) + stage[0](x).sin())
    tower.cut_before(2)
    with edited(stage[1].weight, stage[1].weight.detach() + 1):  # type: ignore[arg-type, operator]
        assert torch.allclose(tower.run(), run(0, 6), atol=1e-6)


def test_a_tower_that_overwrites_what_was_kept_is_run_in_full() -> None:
    tower, stage, run = one_tower(lambda x, stage: stage[1](stage[0](x).mul_(2)))
    tower.cut_before(1)
    for _ in range(2):
        with edited(stage[1].weight, stage[1].weight.detach() + 1):  # type: ignore[arg-type, operator]
            assert torch.allclose(tower.run(), run(0, 6), atol=1e-6)


def test_more_prompts_in_a_span_than_are_encoded_at_once(clips: Callable[[str], Clip]) -> None:
    """Texts are encoded 256 at a time by default; a span must be one pass all the same."""
    clip = clips("vit")
    prompts = [f"{letter}{number}" for letter in "abc" for number in range(90)]
    replay = Replay(clip, images(clip, 1), prompts, batch_size=300)
    layer = layer_of(clip, "text_projection")
    replay.prepare(layer)
    _, found = replay.with_weight(layer, nudged(clip, layer))
    with edited(replay.parameters[layer.name], nudged(clip, layer)), torch.no_grad():
        expected = clip.encode_text(prompts)
    assert torch.allclose(found, expected, atol=TOLERANCE)
