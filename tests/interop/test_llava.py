"""Patches in vision-language models: what the language model is given changes as in OpenCLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.foreign import openclip_model, pixels, random_patch, saved
from torch import Tensor, nn

from slsgu.errors import LayerMismatchError
from slsgu.interop.folder import rewrite_folder
from slsgu.interop.llava import vision_target
from slsgu.interop.transformers import applied, apply
from slsgu.models.layers import inventory
from slsgu.models.transformers_names import to_transformers

IMAGE = 98  # the token that stands for a patch of the image


@pytest.fixture(scope="module")
def ours() -> nn.Module:
    return openclip_model(quick=True)


def build(ours: nn.Module, layer: int | list[int] = -2) -> Any:
    from helpers.foreign import vision_config
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    text = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=99,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision_config(quick=True).to_dict(), text_config=text.to_dict(),
        image_token_index=IMAGE, vision_feature_layer=layer, image_seq_length=4,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    given = to_transformers(ours.state_dict(), model.state_dict())
    model.load_state_dict({**model.state_dict(), **given})
    return model


@pytest.fixture(scope="module")
def llava(ours: nn.Module) -> Any:
    return build(ours)


@torch.no_grad()
def answer(model: Any) -> Tensor:
    """What the model says next of three images."""
    ids = torch.tensor([[5, *[IMAGE] * 4, 7]] * 3)
    logits: Tensor = model(input_ids=ids, pixel_values=pixels()).logits
    return logits


def states(model: Any, run: Callable[[], Any], blocks: nn.Module) -> list[Tensor]:
    found: list[Tensor] = []
    handles = [block.register_forward_hook(lambda *x: found.append(x[2])) for block in blocks]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [each[0] if isinstance(each, tuple) else each for each in found]


def given(model: Any) -> Tensor:
    """What goes into the projector: the patch tokens that the language model is shown."""
    found: list[Tensor] = []
    handle = model.model.multi_modal_projector.register_forward_pre_hook(
        lambda module, args: found.append(args[0])
    )
    try:
        answer(model)
    finally:
        handle.remove()
    return found[0]


def expected(ours: Any) -> Tensor:
    blocks = ours.visual.transformer.resblocks
    return states(ours, lambda: ours.encode_image(pixels()), blocks)[-2][:, 1:]


def test_every_layer_that_is_read_changes_what_is_read_as_in_openclip(
    ours: nn.Module, llava: Any
) -> None:
    before, said = given(llava), answer(llava)
    assert float((before.reshape(3, 4, -1) - expected(ours)).abs().max()) < 1e-5
    kept = {name: tensor.clone() for name, tensor in llava.state_dict().items()}
    for layer in inventory(ours, norms=True):
        patch = random_patch(ours, layer.name)
        if layer.tower == "vision" and layer.block in (None, 0):
            with applied(patch, llava), patch.applied(ours):
                after = given(llava).reshape(3, 4, -1)
                assert float((after - expected(ours)).abs().max()) < 1e-5, layer.name
                assert not torch.equal(answer(llava), said), layer.name
        else:
            with pytest.raises(LayerMismatchError):
                apply(patch, llava)
            with patch.applied(ours):  # control: nothing would have changed
                assert float((expected(ours) - before.reshape(3, 4, -1)).abs().max()) < 1e-5
        assert all(torch.equal(t, kept[n]) for n, t in llava.state_dict().items())


def test_a_layer_that_is_not_read_is_refused_with_the_reason(ours: nn.Module, llava: Any) -> None:
    last = random_patch(ours, "visual.transformer.resblocks.1.mlp.c_fc.weight")
    with pytest.raises(LayerMismatchError, match=r"LLaVA 1\.5 does not read visual.*block"):
        apply(last, llava)
    with pytest.raises(LayerMismatchError, match=r"no layer visual\.proj: it has no projection"):
        apply(random_patch(ours, "visual.proj"), llava)
    with pytest.raises(LayerMismatchError, match="language tower, and it has the vision tower"):
        apply(random_patch(ours, "text_projection"), llava)
    wrong = random_patch(ours, "visual.conv1.weight", activation="gelu")
    with pytest.raises(LayerMismatchError, match="computes quick_gelu, and tiny computes gelu"):
        apply(wrong, llava)


@pytest.mark.parametrize(("layer", "unread"), [(-1, 0), (-2, 1), (1, 1), (2, 0), ([-3, -1], 0)])
def test_the_configuration_says_what_is_read(
    layer: int | list[int], unread: int, ours: nn.Module
) -> None:
    config = {"vision_feature_layer": layer, "vision_config": {"num_hidden_layers": 2}}
    assert vision_target(config).unread_blocks == unread
    if isinstance(layer, int) and unread == 0:
        model = build(ours, layer)
        patch = random_patch(ours, "visual.transformer.resblocks.1.mlp.c_fc.weight")
        before = answer(model)
        with applied(patch, model):
            assert not torch.equal(answer(model), before)


def test_on_disk_nothing_but_the_layer_changes(ours: nn.Module, llava: Any, tmp_path: Path) -> None:
    """On disk the names begin in another way than in memory."""
    from transformers import LlavaForConditionalGeneration

    folder = saved(llava, tmp_path / "llava", max_shard_size="40KB")
    patch = random_patch(ours, "visual.transformer.resblocks.0.attn.out_proj.weight")
    assert rewrite_folder(f"transformers:{folder}", tmp_path / "out", [patch]) == []
    files = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    differing = [
        f for f in files if (folder / f).read_bytes() != (tmp_path / "out" / f).read_bytes()
    ]
    assert len(differing) == 1 < len([f for f in files if f.suffix == ".safetensors"])
    loaded = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    with applied(patch, llava):
        assert torch.equal(answer(loaded), answer(llava))
    with pytest.raises(LayerMismatchError):
        rewrite_folder(
            f"transformers:{folder}", tmp_path / "no", [random_patch(ours, "visual.proj")]
        )


def test_a_vision_tower_of_another_kind_is_refused() -> None:
    config = {"vision_feature_layer": -2, "vision_config": {"model_type": "siglip_vision_model"}}
    with pytest.raises(LayerMismatchError, match="siglip_vision_model for a vision tower"):
        vision_target(config)
