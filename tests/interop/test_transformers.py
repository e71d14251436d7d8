"""A patch does in transformers what it does in OpenCLIP, layer by layer, or is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.foreign import (
    HIDDEN_ACT,
    clip_config,
    clip_model,
    filled,
    openclip_model,
    pixels,
    random_patch,
    text_config,
    token_ids,
    vision_config,
)
from torch import Tensor, nn

from slsgu.errors import LayerMismatchError, SlsguError
from slsgu.interop.transformers import applied, apply, view_of
from slsgu.models.layers import inventory
from slsgu.models.transformers_names import (
    find_places,
    leftovers,
    plain,
    to_openclip,
    to_transformers,
)
from slsgu.patch.patch import Patch

NAMES = [layer.name for layer in inventory(openclip_model(quick=False), norms=True)]
BLOCK = "transformer.resblocks.1.mlp.c_fc.weight"


@pytest.fixture(scope="module", params=[True, False], ids=["quick-gelu", "gelu"])
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def ours(quick: bool) -> nn.Module:
    return openclip_model(quick=quick)


@pytest.fixture(scope="module")
def theirs(quick: bool, ours: nn.Module) -> Any:
    return clip_model(ours, quick=quick)


@torch.no_grad()
def embed_ours(model: Any) -> Tensor:
    return torch.cat([model.encode_image(pixels()), model.encode_text(token_ids())])


@torch.no_grad()
def embed_theirs(model: Any) -> Tensor:
    images = model.get_image_features(pixel_values=pixels())
    texts = model.get_text_features(input_ids=token_ids())
    both = [getattr(each, "pooler_output", each) for each in (images, texts)]
    return torch.cat(both)


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


# -- names ------------------------------------------------------------------------------------


def test_every_tensor_of_either_has_its_place_in_the_other(ours: nn.Module, theirs: Any) -> None:
    state, other = ours.state_dict(), theirs.state_dict()
    there = to_transformers(state, other)
    assert there.keys() == other.keys() and not leftovers(other)
    back = to_openclip(there)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_names_of_no_clip_model_have_no_place() -> None:
    assert find_places(nn.MultiheadAttention(8, 1).state_dict()) == {}
    assert leftovers(["encoder.layers.0.weight"]) == ["encoder.layers.0.weight"]


def test_places_are_found_under_every_prefix(theirs: Any) -> None:
    """In memory and on disk, and in larger models, the names begin in different ways."""
    tower = {
        name.removeprefix("vision_model."): tensor
        for name, tensor in theirs.state_dict().items()
        if name.startswith("vision_model.")
    }
    expected = {name for name in find_places(tower) if name != "logit_scale"}
    for prefix in ("", "vision_model.", "vision_tower.", "model.vision_tower.vision_model."):
        places = find_places(f"{prefix}{name}" for name in tower)
        assert places.keys() == expected and "visual.conv1.weight" in expected


# -- parity -----------------------------------------------------------------------------------


def test_unpatched_models_agree(ours: nn.Module, theirs: Any) -> None:
    assert difference(embed_ours(ours), embed_theirs(theirs)) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_patch_of_any_layer_does_the_same_in_both(
    name: str, ours: nn.Module, theirs: Any, quick: bool
) -> None:
    patch = random_patch(ours, name, activation=HIDDEN_ACT[quick])
    before = embed_ours(ours)
    with patch.applied(ours), applied(patch, theirs):
        in_ours, in_theirs = embed_ours(ours), embed_theirs(theirs)
        # and back: what transformers holds now, read with the names of OpenCLIP
        back = to_openclip(theirs.state_dict())
        assert all(torch.equal(back[n], t) for n, t in ours.state_dict().items())
    assert difference(in_ours, in_theirs) < 1e-5
    assert difference(in_ours, before) > 1e-4  # control: the patch does something


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_of_any_layer_in_transformers_does_the_same_in_openclip(
    name: str, ours: nn.Module, theirs: Any
) -> None:
    """Of query, key and value, each by itself."""
    state = {key: tensor.clone() for key, tensor in theirs.state_dict().items()}
    original = {key: t.clone() for key, t in ours.state_dict().items()}
    before = embed_ours(ours)
    try:
        for part in find_places(state)[name].names:
            draws = torch.Generator().manual_seed(2)
            edited = state[part] + 0.1 * torch.randn(state[part].shape, generator=draws)
            theirs.load_state_dict({**state, part: edited})
            ours.load_state_dict(to_openclip(theirs.state_dict()))
            after = embed_ours(ours)
            assert difference(after, embed_theirs(theirs)) < 1e-5, part
            assert difference(after, before) > 1e-4, part  # control: the edit does something
    finally:
        theirs.load_state_dict(state)
        ours.load_state_dict(original)


def test_the_names_of_a_text_tower_of_its_own_mean_the_same(ours: nn.Module, theirs: Any) -> None:
    patch = random_patch(ours, BLOCK)
    custom = Patch({f"text.{BLOCK}": patch.delta[BLOCK]}, {f"text.{BLOCK}": patch.original[BLOCK]})
    assert plain(f"text.{BLOCK}") == BLOCK
    with applied(patch, theirs):
        one = embed_theirs(theirs)
    with applied(custom, theirs):
        assert torch.equal(embed_theirs(theirs), one)


# -- every class ------------------------------------------------------------------------------


def single_tower(kind: str, ours: nn.Module, *, quick: bool) -> Any:
    import transformers

    config = (text_config if "Text" in kind else vision_config)(quick=quick)
    return filled(getattr(transformers, kind)(config), ours)


@torch.no_grad()
def outputs(model: Any) -> list[Tensor]:
    """Everything that a tower computes."""
    given = {"Text": {"input_ids": token_ids()}, "Vision": {"pixel_values": pixels()}}
    kind = next(key for key in given if key in type(model).__name__)
    found = model(**given[kind], output_hidden_states=True)
    return [*found.hidden_states, *(t for k, t in found.items() if k != "hidden_states")]


def states_ours(model: Any, tower: str) -> list[Tensor]:
    """What each block of OpenCLIP puts out, and the embedding."""
    blocks = (model.visual if tower == "vision" else model).transformer.resblocks
    found: list[Tensor] = []
    handles = [block.register_forward_hook(lambda *x: found.append(x[2])) for block in blocks]
    try:
        with torch.no_grad():
            run = model.encode_image(pixels()) if tower == "vision" else None
            run = model.encode_text(token_ids()) if run is None else run
    finally:
        for handle in handles:
            handle.remove()
    return [*found, run]


@pytest.mark.parametrize(
    "kind",
    [
        "CLIPTextModel",
        "CLIPTextModelWithProjection",
        "CLIPVisionModel",
        "CLIPVisionModelWithProjection",
    ],
)
def test_a_tower_alone_computes_what_openclip_does(kind: str, ours: nn.Module, quick: bool) -> None:
    model = single_tower(kind, ours, quick=quick)
    tower = "language" if "Text" in kind else "vision"
    places = view_of(model).places
    projections = () if "Projection" in kind else ("visual.proj", "text_projection")
    own = {layer.name for layer in inventory(ours, norms=True) if layer.tower == tower}
    assert {name for name in NAMES if name in places} == own.difference(projections)
    before = outputs(model)
    for name in filter(places.__contains__, NAMES):
        patch = random_patch(ours, name)
        with applied(patch, model):
            after = outputs(model)
        assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True)), name
        with patch.applied(ours):
            expected = states_ours(ours, tower)
        for block, state in enumerate(expected[:-1]):
            assert difference(after[block + 1], state) < 1e-5
        if "Projection" in kind:
            assert min(difference(x, expected[-1]) for x in after if x.shape == (3, 32)) < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(outputs(model), before, strict=True))


def test_what_a_tower_does_not_have_is_refused_with_the_reason(
    ours: nn.Module, quick: bool
) -> None:
    for name, kind, reason in (
        ("text_projection", "CLIPTextModel", r"no layer text_projection: it has no projection"),
        ("visual.proj", "CLIPVisionModel", r"no layer visual\.proj: it has no projection"),
        ("visual.proj", "CLIPTextModelWithProjection", r"vision tower, and it has the language"),
        (BLOCK, "CLIPVisionModelWithProjection", r"language tower, and it has the vision"),
    ):
        with pytest.raises(LayerMismatchError, match=reason):
            apply(random_patch(ours, name), single_tower(kind, ours, quick=quick))


# -- refusals ---------------------------------------------------------------------------------


def test_another_base_is_refused(ours: nn.Module, quick: bool) -> None:
    stranger = clip_model(openclip_model(quick=quick, seed=5), quick=quick)
    patch = random_patch(ours, BLOCK)
    with pytest.raises(LayerMismatchError, match="other weights than those that the patch expects"):
        apply(patch, stranger)


def test_another_architecture_is_refused(ours: nn.Module, theirs: Any) -> None:
    from transformers import CLIPTextModel, LlamaConfig, LlamaForCausalLM

    short = CLIPTextModel(text_config(quick=True, layers=1))
    with pytest.raises(LayerMismatchError, match="its language tower has only 1 blocks"):
        apply(random_patch(ours, BLOCK), short)
    wide = Patch({BLOCK: torch.zeros(8, 8)}, {BLOCK: torch.zeros(8, 8)})
    with pytest.raises(LayerMismatchError, match=r"has not the shape \(8, 8\)"):
        apply(wide, theirs)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    llama = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, vocab_size=9))
    with pytest.raises(LayerMismatchError, match="this LlamaForCausalLM has no tower of CLIP"):
        apply(random_patch(ours, BLOCK), llama)


def test_another_activation_is_refused(ours: nn.Module, theirs: Any, quick: bool) -> None:
    right, wrong = HIDDEN_ACT[quick], HIDDEN_ACT[not quick]
    with pytest.raises(LayerMismatchError, match=f"computes {right}, and tiny computes {wrong}"):
        apply(random_patch(ours, BLOCK, activation=wrong), theirs)
    apply(random_patch(ours, BLOCK, activation=right), theirs)  # control


def test_a_patch_is_not_applied_twice(ours: nn.Module, theirs: Any) -> None:
    patch = random_patch(ours, "visual.proj")
    once = apply(patch, theirs)
    with pytest.raises(LayerMismatchError, match="applied already"):
        apply(patch, once)


def test_a_target_that_does_not_read_the_layer_is_refused(ours: nn.Module, theirs: Any) -> None:
    last = random_patch(ours, BLOCK)
    with pytest.raises(LayerMismatchError, match=r"Stable Diffusion 2\.x does not read"):
        apply(last, theirs, target="sd2")
    apply(last, theirs, target="sd1")  # control
    with pytest.raises(SlsguError, match="unknown target"):
        apply(last, theirs, target="sd7")


# -- in place, and in half precision ----------------------------------------------------------


def test_in_place_restores_every_bit_whatever_happens(ours: nn.Module, theirs: Any) -> None:
    names = ("transformer.resblocks.0.attn.in_proj_weight", "text_projection")
    before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    places = find_places(before)
    with pytest.raises(KeyboardInterrupt), applied(random_patch(ours, *names), theirs):
        now = theirs.state_dict()
        touched = {name for name in before if not torch.equal(now[name], before[name])}
        assert touched == {part for name in names for part in places[name].names}
        raise KeyboardInterrupt
    assert all(torch.equal(t, before[name]) for name, t in theirs.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_rounded_copy_of_the_base_takes_the_patch(
    ours: nn.Module, quick: bool, dtype: torch.dtype
) -> None:
    patch = random_patch(ours, BLOCK)
    half = clip_model(ours, quick=quick).to(dtype)
    patched = apply(patch, half)
    found = patched.text_model.encoder.layers[1].mlp.fc1.weight
    before = half.text_model.encoder.layers[1].mlp.fc1.weight
    assert found.dtype == dtype and not torch.equal(found, before)
    assert torch.equal(found, (before.float() + patch.delta[BLOCK]).to(dtype))
    with pytest.raises(LayerMismatchError):  # one bit less of the base is not the base
        edited = clip_model(ours, quick=quick).to(dtype)
        edited.text_model.encoder.layers[1].mlp.fc1.weight[0, 0] += 1
        apply(patch, edited)


def test_quantised_weights_are_refused(ours: nn.Module, theirs: Any) -> None:
    on_meta = clip_config(quick=True)
    from transformers import CLIPModel

    with torch.device("meta"):
        empty = CLIPModel(on_meta)
    with pytest.raises(LayerMismatchError, match=r"not in memory.*without quantisation"):
        apply(random_patch(ours, BLOCK), empty)
