"""A patch switched in a model in use: the bits come back, and two patches do not mix silently."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.foreign import clip_model, filled, openclip_model, random_patch, text_config
from torch import Tensor, nn

from slsgu import interop
from slsgu.errors import LayerMismatchError, SlsguError
from slsgu.interop import diffusers, transformers
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.models.transformers_names import to_openclip
from slsgu.patch.patch import Patch

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def net(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Two layers; the first with a negative zero and a subnormal, which only bits tell apart."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).to(dtype)
    with torch.no_grad():
        model[0].weight[0, :2] = torch.tensor([-0.0, 1e-6])
    return model


def patch_of(model: nn.Module, *names: str, size: float = 0.1) -> Patch:
    parameters = dict(model.named_parameters())
    original = {name: parameters[name].detach().clone() for name in names}
    return Patch({n: torch.full(t.shape, size) for n, t in original.items()}, original)


def bits(model: nn.Module) -> dict[str, bytes]:
    def raw(tensor: Tensor) -> bytes:
        return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()

    return {name: raw(tensor) for name, tensor in model.named_parameters()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_thousand_switches_leave_the_original_bits(dtype: torch.dtype) -> None:
    model = net(dtype)
    before = bits(model)
    patch = patch_of(model, "0.weight")
    switch = interop.toggle(model, patch)
    patched = bits(patch.apply(model))
    for _ in range(1000):
        switch.on()
        switch.off()
    assert bits(model) == before != patched
    switch.on()
    assert bits(model) == patched
    # Control: adding and subtracting the step is what does not come back.
    drifting = net(dtype)
    with torch.no_grad():
        for _ in range(1000):
            drifting[0].weight.add_(0.1).sub_(0.1)
    assert bits(drifting) != before


def test_switching_twice_is_switching_once() -> None:
    model = net()
    before = bits(model)
    switch = interop.toggle(model, patch_of(model, "0.weight"))
    assert not switch.is_on
    switch.off()
    switch.on()
    once = bits(model)
    switch.on()
    assert switch.is_on and bits(model) == once != before
    switch.off()
    assert not switch.is_on and bits(model) == before


def test_two_switches_of_one_layer_refuse_each_other_and_their_sum_works() -> None:
    model = net()
    before = bits(model)
    a, b = patch_of(model, "0.weight"), patch_of(model, "0.weight", size=0.3)
    one, two, both = (interop.toggle(model, p) for p in (a, b, a + b))
    one.on()
    on = bits(model)
    for other in (two, both):
        with pytest.raises(LayerMismatchError, match=r"another patch that changes 0\.weight is on"):
            other.on()
        assert bits(model) == on and not other.is_on
    with pytest.raises(LayerMismatchError, match="other weights"):
        interop.toggle(model, b)
    one.off()
    both.on()
    assert bits(model) == bits((a + b).apply(net()))
    both.off()
    two.on()  # control: alone it can be switched
    two.off()
    assert bits(model) == before


def test_switches_of_two_layers_do_not_know_each_other() -> None:
    model = net()
    before = bits(model)
    one = interop.toggle(model, patch_of(model, "0.weight"))
    two = interop.toggle(model, patch_of(model, "1.weight"))
    one.on()
    two.on()
    one.off()
    assert bits(model) == bits(patch_of(net(), "1.weight").apply(net()))
    two.off()
    assert bits(model) == before


def test_a_switch_and_a_with_do_not_mix() -> None:
    model = net()
    before = bits(model)
    a = patch_of(model, "0.weight")
    switch = interop.toggle(model, a)
    with a.applied(model):
        inside = bits(model)
        with pytest.raises(LayerMismatchError, match="is on in this model"):
            switch.on()
        assert bits(model) == inside
    switch.on()
    with pytest.raises(LayerMismatchError, match="applied already"), a.applied(model):
        pass
    on_top = patch_of(model, "0.weight", size=1.0)  # made for the patched layer
    with on_top.applied(model):
        with pytest.raises(LayerMismatchError, match="is on in this model"):
            switch.off()
    switch.off()
    assert bits(model) == before


def test_a_model_that_was_changed_meanwhile_is_refused() -> None:
    model = net()
    switch = interop.toggle(model, patch_of(model, "0.weight"))
    switch.on()
    with torch.no_grad():
        model[0].weight[1, 1] += 1
    trained = bits(model)
    with pytest.raises(LayerMismatchError, match="no longer as the switch left it"):
        switch.off()
    assert bits(model) == trained and switch.is_on
    for convert in (nn.Module.half, nn.Module.double):
        model = net()
        switch = interop.toggle(model, patch_of(model, "0.weight"))
        convert(model)
        with pytest.raises(LayerMismatchError, match="converted"):
            switch.on()
    # Control: a layer that the patch does not change may be.
    model = net()
    switch = interop.toggle(model, patch_of(model, "0.weight"))
    with torch.no_grad():
        model[1].weight.add_(1)
    switch.on()
    switch.off()


def test_a_foreign_patch_gets_no_switch() -> None:
    other = net()
    with torch.no_grad():
        other[0].weight.add_(1)
    with pytest.raises(LayerMismatchError, match="other weights"):
        interop.toggle(net(), patch_of(other, "0.weight"))


def test_a_real_model_answers_as_the_patched_one_and_as_before(tiny: Clip) -> None:
    pixels = torch.rand(1, 3, 32, 32)
    before = tiny.encode_image(pixels)
    name = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    patch = patch_of(tiny.model, name, size=0.2)
    switch = interop.toggle(tiny.model, patch)
    switch.on()
    after = tiny.encode_image(pixels)
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(
            patch.apply(_original(tiny)).encode_image(pixels), dim=-1
        )
    assert torch.equal(after, wanted) and not torch.equal(after, before)
    switch.off()
    assert torch.equal(tiny.encode_image(pixels), before)


def _original(clip: Clip) -> nn.Module:
    """The same weights, loaded afresh."""
    from slsgu.models.clip import load

    return load(clip.name, device="cpu").model


# -- models of transformers ---------------------------------------------------------------------

LAYER = "transformer.resblocks.0.attn.in_proj_weight"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_thousand_switches_leave_the_bits_of_a_text_encoder(dtype: torch.dtype) -> None:
    from transformers import CLIPTextModel

    ours = openclip_model(quick=True)
    encoder = filled(CLIPTextModel(text_config(quick=True)), ours).to(dtype)
    patch = random_patch(ours, LAYER)
    before, patched = bits(encoder), bits(transformers.apply(patch, encoder))
    switch = interop.toggle(encoder, patch, target="sd1")
    for _ in range(1000):
        switch.on()
        switch.off()
    assert bits(encoder) == before != patched
    switch.on()
    assert bits(encoder) == patched
    switch.off()
    with pytest.raises(LayerMismatchError, match="does not read transformer"):
        last = random_patch(ours, "transformer.resblocks.1.mlp.c_fc.weight")
        interop.toggle(encoder, last, target="sdxl-1")


def test_blocks_and_switches_of_transformers_know_each_other() -> None:
    ours = openclip_model(quick=True)
    model = clip_model(ours, quick=True)
    before = bits(model)
    a, b = random_patch(ours, LAYER), random_patch(ours, "visual.proj")
    switch = interop.toggle(model, a)
    with transformers.applied(a, model):
        with pytest.raises(LayerMismatchError, match="is on in this model"):
            switch.on()
        with transformers.applied(b, model):
            both = bits(model)
        assert bits(model) != both
    assert bits(model) == before
    # Left out of order: it is told, and the bits come back all the same.
    outer = transformers.applied(a, model)
    outer.__enter__()
    on_top = random_patch(transformers_as_ours(model), LAYER)
    inner = transformers.applied(on_top, model)
    inner.__enter__()
    with pytest.raises(LayerMismatchError, match="leave the inner"):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert bits(model) == before


def transformers_as_ours(model: nn.Module) -> nn.Module:
    """What a model of transformers holds now, as one of OpenCLIP."""
    ours = openclip_model(quick=True)
    ours.load_state_dict(to_openclip(model.state_dict()))
    return ours


def test_many_threads_switch_one_model_and_the_bits_come_back() -> None:
    """Each thread has a layer of its own, and is interrupted now and then."""
    ours = openclip_model(quick=True)
    before = bits(ours)
    names = [layer.name for layer in inventory(ours)][:8]

    def work(name: str) -> None:
        patch = random_patch(ours, name)
        switch = interop.toggle(ours, patch)
        for number in range(125):
            with contextlib.suppress(ZeroDivisionError), patch.applied(ours):
                if number % 3 == 0:
                    raise ZeroDivisionError
            switch.on()
            switch.off()

    with ThreadPoolExecutor(len(names)) as pool:
        for done in [pool.submit(work, name) for name in names]:
            done.result()
    assert bits(ours) == before


def test_arguments_of_another_kind_are_told() -> None:
    """The three take them in different order."""
    model = net()
    patch = patch_of(model, "0.weight")
    for call, says in (
        (lambda: interop.toggle(patch, model), "the model is of type Patch; give Module"),
        (lambda: interop.toggle(model, model), "the patch is of type Sequential; give Patch"),
        (lambda: transformers.apply(model, patch), "first argument, the patch, is of type Sequ"),
        (lambda: transformers.apply(patch, patch), "the model is of type Patch"),
        (lambda: diffusers.apply(patch, model), "behind the pipeline, a patch, is of type Sequ"),
        (lambda: diffusers.apply(patch, patch), "first argument is of type Patch; give a pipeline"),
        (lambda: diffusers.apply(model), "give at least one patch"),
    ):
        with pytest.raises(SlsguError, match=says):
            call()
    source = openclip_model(quick=True)
    with transformers.applied(random_patch(source, "visual.proj"), clip_model(source, quick=True)):
        pass  # control
