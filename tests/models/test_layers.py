"""The inventory of layers: right for every kind of tower, and placed where it runs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from helpers.networks import TOWERS, build_network
from torch import Tensor, nn

from slsgu.models.clip import Clip
from slsgu.models.layers import Tower, inventory, stages


@pytest.fixture(params=TOWERS, scope="module")
def network(request: pytest.FixtureRequest) -> nn.Module:
    model = build_network(request.param)
    model.name = request.param  # type: ignore[assignment]
    return model


def inputs(model: nn.Module, tower: Tower) -> Tensor:
    if tower == "vision":
        size: Any = model.visual.image_size  # type: ignore[union-attr]
        size = size if isinstance(size, int) else size[0]
        return torch.rand(2, 3, size, size)
    return torch.randint(1, 90, (2, 16))


def encode(model: Any, tower: Tower, batch: Tensor) -> Tensor:
    result: Tensor = (model.encode_image if tower == "vision" else model.encode_text)(batch)
    return result


def test_exactly_these(tiny: Clip) -> None:
    """Written out by hand, for the model everybody uses."""

    def blocks(prefix: str, parts: list[str]) -> set[str]:
        return {f"{prefix}transformer.resblocks.{i}.{part}" for i in range(2) for part in parts}

    matrices = [
        "attn.in_proj_weight",
        "attn.out_proj.weight",
        "mlp.c_fc.weight",
        "mlp.c_proj.weight",
    ]
    gains = ["ln_1.weight", "ln_2.weight"]
    expected = {"visual.conv1.weight", "visual.proj", "text_projection"}
    expected |= blocks("", matrices) | blocks("visual.", matrices)
    assert {layer.name for layer in inventory(tiny.model)} == expected
    with_norms = inventory(tiny.model, norms=True)
    extra = {"visual.ln_pre.weight", "visual.ln_post.weight", "ln_final.weight"}
    extra |= blocks("", gains) | blocks("visual.", gains)
    assert {layer.name for layer in with_norms if layer.kind == "norm"} == extra
    assert {layer.name for layer in with_norms if layer.kind == "matrix"} == expected


def test_blocks_of_the_usual_model(tiny: Clip) -> None:
    block = {layer.name: layer.block for layer in inventory(tiny.model, norms=True)}
    assert block["visual.conv1.weight"] is None
    assert block["visual.ln_pre.weight"] is None
    assert block["visual.transformer.resblocks.1.mlp.c_fc.weight"] == 1
    assert block["transformer.resblocks.0.attn.in_proj_weight"] == 0
    for name in ("visual.proj", "visual.ln_post.weight", "text_projection", "ln_final.weight"):
        assert block[name] == 2, name


def test_layers_are_weights(network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    layers = inventory(network, norms=True)
    assert len({layer.name for layer in layers}) == len(layers) > 10
    forbidden = ("bias", "logit", "embedding", "pos_embed", "token", "cls_emb", "query", "latent")
    for layer in layers:
        assert tuple(parameters[layer.name].shape) == layer.shape
        assert not any(word in layer.name for word in forbidden), layer.name
        assert (layer.tower == "vision") == layer.name.startswith("visual.")
        if layer.kind == "matrix":
            assert len(layer.shape) >= 2
    assert {layer.name for layer in inventory(network)} == {
        layer.name for layer in layers if layer.kind == "matrix"
    }


def test_nothing_is_forgotten(network: nn.Module) -> None:
    """Every linear map and convolution of the module tree is there, seen another way."""
    position = ("rel_pos",)
    expected = {
        f"{path}.weight"
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not any(p in path for p in position)
    }
    assert expected <= {layer.name for layer in inventory(network)}
    normal = (nn.LayerNorm, nn.BatchNorm2d)
    gains = {f"{p}.weight" for p, m in network.named_modules() if isinstance(m, normal)}
    assert gains <= {layer.name for layer in inventory(network, norms=True)}
    assert not gains & {layer.name for layer in inventory(network)}


@pytest.mark.parametrize("tower", ["vision", "language"])
def test_one_tensor_links_the_stages(network: nn.Module, tower: Tower) -> None:
    found = stages(network, tower)
    assert len(found) == (TOWERS[network.name][3] if tower == "vision" else 2)  # type: ignore[index]
    seen: list[tuple[Any, Any]] = []
    hooks = [
        module.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
        for module in found
    ]
    with torch.no_grad():
        encode(network, tower, inputs(network, tower))
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(found)
    for (_, output), (following, _) in itertools.pairwise(seen):
        assert torch.equal(output, following)


@pytest.mark.parametrize("tower", ["vision", "language"])
def test_an_edit_changes_nothing_before_its_block(network: nn.Module, tower: Tower) -> None:
    """`block` is the first stage whose output an edit changes; seen by editing every layer."""
    found, batch = stages(network, tower), inputs(network, tower)

    @torch.no_grad()
    def trace() -> tuple[list[Tensor], Tensor]:
        outputs: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda _, args, output: outputs.append(output.clone()))
            for module in found
        ]
        first: list[Tensor] = []
        hooks.append(
            found[0].register_forward_pre_hook(lambda _, args: first.append(args[0].clone()))
        )
        result = encode(network, tower, batch)
        for hook in hooks:
            hook.remove()
        return [first[0], *outputs], result

    before, embedding = trace()
    parameters = dict(network.named_parameters())
    for layer in inventory(network, norms=True):
        if layer.tower != tower:
            continue
        kept = parameters[layer.name].detach().clone()
        with torch.no_grad():
            parameters[layer.name].add_(torch.randn_like(kept))
        after, edited = trace()
        with torch.no_grad():
            parameters[layer.name].copy_(kept)
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        unchanged = 0 if layer.block is None else layer.block + 1  # the inputs of 0 .. block
        assert same == [i < unchanged for i in range(len(same))], layer
        assert not torch.equal(edited, embedding), layer


def test_no_stages_means_no_blocks() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    assert stages(Odd(), "vision") == []
    assert [layer.block for layer in inventory(Odd())] == [None, None]
