"""A target reads a layer exactly where an edit of the layer changes what the target is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.networks import PROMPTS, build_network, tokenize
from torch import Tensor, nn

from slsgu.errors import LayerMismatchError, SlsguError
from slsgu.interop.targets import TARGETS, find_target, require_read
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch

PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def text_states(model: nn.Module) -> list[Tensor]:
    """What each block of the text tower puts out [B, L, w]."""
    text = model.text if hasattr(model, "text") else model
    return outputs(text.transformer.resblocks, lambda: model.encode_text(tokenize(PROMPTS)))


def image_states(model: nn.Module) -> list[Tensor]:
    """The same for the image side."""
    return outputs(model.visual.transformer.resblocks, lambda: model.encode_image(PIXELS))


def outputs(blocks: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    found: list[Tensor] = []
    handles = [block.register_forward_hook(lambda *x: found.append(x[2])) for block in blocks]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found


def ln_final(model: nn.Module) -> nn.Module:
    return model.text.ln_final if hasattr(model, "text") else model.ln_final


# What each system is given, written down from their own code: `FrozenOpenCLIPEmbedder` of Stable
# Diffusion 2 stops a block early and then runs ln_final; diffusers takes `hidden_states[-2]` of
# both encoders of XL, and the pooled output of the second; LLaVA drops the class token.
GIVEN: dict[str, Callable[[nn.Module], list[Tensor]]] = {
    "clip": lambda m: [m.encode_image(PIXELS), m.encode_text(tokenize(PROMPTS))],
    "sd1": lambda m: [ln_final(m)(text_states(m)[-1])],
    "sd2": lambda m: [ln_final(m)(text_states(m)[-2])],
    "sdxl": lambda m: [text_states(m)[-2]],
    "sdxl-1": lambda m: [text_states(m)[-2]],
    "sdxl-2": lambda m: [text_states(m)[-2], m.encode_text(tokenize(PROMPTS))],
    "llava": lambda m: [image_states(m)[-2][:, 1:]],
}


def changed(model: nn.Module, name: str, given: Callable[[nn.Module], list[Tensor]]) -> bool:
    """Whether another value of a layer changes what a system is given."""
    parameter = model.get_parameter(name)
    with torch.no_grad():
        before, own = given(model), parameter.clone()
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        after = given(model)
        parameter.copy_(own)
    return not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_every_target_is_tested() -> None:
    assert GIVEN.keys() == TARGETS.keys()


@pytest.mark.parametrize("network", ["vit", "custom-text-vit"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_layer_is_read_where_an_edit_of_it_is_seen(target: str, network: str) -> None:
    model = build_network(network)
    names = [layer.name for layer in inventory(model, norms=True)]
    read = {name for name in names if TARGETS[target].reads(name, model)}
    assert read == {name for name in names if changed(model, name, GIVEN[target])}
    assert read  # control: something is
    assert target == "clip" or read < set(names)


def test_a_wrong_claim_would_be_noticed() -> None:
    """Control: each target is given something else than the others, but for its own rule."""
    model = build_network("vit")
    names = [layer.name for layer in inventory(model, norms=True)]
    seen = {t: {n for n in names if changed(model, n, GIVEN[t])} for t in TARGETS}
    del seen["sdxl"]  # what both encoders read, and so what the first one does
    assert len({frozenset(each) for each in seen.values()}) == len(seen)


def patch_of(model: nn.Module, *names: str) -> Patch:
    weights = {name: model.get_parameter(name).detach().clone() for name in names}
    return Patch({name: torch.ones_like(weight) for name, weight in weights.items()}, weights)


def test_a_patch_that_would_do_nothing_is_refused_with_the_reason() -> None:
    model = build_network("vit")
    projection = patch_of(model, "visual.proj")
    require_read(projection, "clip", model)
    with pytest.raises(LayerMismatchError, match=r"LLaVA 1.5 does not read visual\.proj.*nothing"):
        require_read(projection, "llava", model)
    inner = patch_of(model, "visual.transformer.resblocks.0.mlp.c_fc.weight")
    require_read(inner, "llava", model)  # control
    with pytest.raises(LayerMismatchError, match="Stable Diffusion 1"):
        require_read(inner, "sd1", model)


def test_a_patch_that_is_read_in_part_is_refused_and_names_the_rest() -> None:
    model = build_network("custom-text-vit")
    inner = "text.transformer.resblocks.1.mlp.c_fc.weight"
    both = patch_of(model, inner, "text.text_projection")
    with pytest.raises(LayerMismatchError) as caught:
        require_read(both, "sd1", model)
    said, _, advice = str(caught.value).partition(": it reads")
    assert said.endswith("read text.text_projection")
    offered = advice.rsplit(" ", 1)[-1]
    assert TARGETS["sd1"].reads(offered, model)
    require_read(patch_of(model, inner), "sd1", model)  # control


def test_a_vision_tower_that_is_no_transformer_has_nothing_for_llava() -> None:
    model = build_network("resnet")
    name = "visual.layer1.0.conv1.weight"
    assert not TARGETS["llava"].reads(name, model) and TARGETS["clip"].reads(name, model)
    with pytest.raises(LayerMismatchError, match="It reads no layer of this model"):
        require_read(patch_of(model, name), "llava", model)


def test_names_that_do_not_exist_are_refused() -> None:
    model = build_network("vit")
    with pytest.raises(LayerMismatchError, match=r"no layer visual\.transformer\.resblocks\.9"):
        TARGETS["clip"].reads("visual.transformer.resblocks.9.mlp.c_fc.weight", model)
    with pytest.raises(LayerMismatchError, match="biases and embeddings"):
        TARGETS["clip"].reads("token_embedding.weight", model)
    with pytest.raises(SlsguError, match=r"unknown target 'sd9'.*choose clip, sd1"):
        find_target("sd9")
