"""A patch from two checkpoints: it leads from one to the other, or says why there is none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from slsgu.errors import LayerMismatchError
from slsgu.patch.difference import MOST_TENSORS, difference, farthest
from slsgu.patch.patch import Patch


def state(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights, a bias, a scalar, and what BatchNorm keeps."""
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(4, 3, generator=random) for name in ("a.weight", "b.weight")}
    tensors |= {"a.bias": torch.randn(4, generator=random), "logit_scale": torch.tensor(2.5)}
    tensors |= {"bn.running_mean": torch.zeros(3)}
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    return {**tensors, "bn.num_batches_tracked": torch.tensor(7)}


@given(st.integers(0, 1000), st.floats(0.01, 3), st.sampled_from([torch.float32, torch.float16]))
def test_it_leads_from_one_checkpoint_to_the_other(
    seed: int, size: float, dtype: torch.dtype
) -> None:
    before = state(dtype)
    random = torch.Generator().manual_seed(seed)
    step = size * torch.randn(4, 3, generator=random)
    after = Patch({"a.weight": step}, {"a.weight": before["a.weight"]}).apply_to(before)
    found = difference(before, after)
    assert found.layers == ("a.weight",)
    got = found.apply_to(before)
    assert all(torch.equal(got[name], after[name]) for name in after)
    assert farthest(found, after) == 0
    back = found.revert_from(after)
    assert all(torch.equal(back[name], before[name]) for name in before)


def test_the_patch_keeps_the_original_by_itself() -> None:
    """Weights are mapped from a file; the patch must not change with what it was made of."""
    before, after = state(), state()
    after["a.weight"] = after["a.weight"] + 1
    found = difference(before, after)
    before["a.weight"].zero_()
    assert torch.equal(found.original["a.weight"], state()["a.weight"])


@pytest.mark.parametrize("name", ["a.weight", "a.bias", "logit_scale"])
def test_weights_biases_and_scalars_may_differ(name: str) -> None:
    before, after = state(), state()
    after[name] = after[name] + 0.5
    found = difference(before, after)
    assert found.layers == (name,) and torch.equal(found.apply_to(before)[name], after[name])


@pytest.mark.parametrize("name", ["bn.running_mean", "bn.num_batches_tracked"])
def test_statistics_and_counts_may_not(name: str) -> None:
    before, after = state(), state()
    after["a.weight"] = after["a.weight"] + 1
    difference(before, after)  # control
    after[name] = after[name] + 1
    with pytest.raises(LayerMismatchError, match=f"differ in {name}, which is no weight"):
        difference(before, after)


def test_a_step_that_no_number_can_say_is_measured() -> None:
    before, after = {"w": torch.tensor([1.0])}, {"w": torch.tensor([1e-10])}
    assert farthest(difference(before, after), after) == pytest.approx(1e-10)


def test_storing_in_half_precision_is_no_difference() -> None:
    before = state()
    after = {n: t.half() if t.is_floating_point() else t for n, t in before.items()}
    with pytest.raises(LayerMismatchError, match="hold the same weights"):
        difference(before, after)
    after["b.weight"] = after["b.weight"] + 1
    found = difference(before, after)
    assert found.layers == ("b.weight",) and found.original["b.weight"].dtype == torch.float32
    # The other way round, training that half precision would hide is seen.
    trained = {**before, "a.weight": before["a.weight"] + 1e-6}
    half = {n: t.half() if t.is_floating_point() else t for n, t in trained.items()}
    wide = {n: t.float() if t.is_floating_point() else t for n, t in half.items()}
    with pytest.raises(LayerMismatchError, match="the same"):
        difference(half, wide)
    assert difference(half, {**wide, "a.bias": wide["a.bias"] + 1e-6}).layers == ("a.bias",)


def test_what_is_no_patch_is_refused_with_a_count_and_an_example() -> None:
    before, after = state(), state()
    with pytest.raises(LayerMismatchError, match="there is no edit between them"):
        difference(before, after)
    with pytest.raises(LayerMismatchError, match=r"second checkpoint lacks 1 .*\(a\.bias\)"):
        difference(before, {n: t for n, t in after.items() if n != "a.bias"})
    with pytest.raises(LayerMismatchError, match=r"first checkpoint lacks 4 .*\(p, q, r, \.\.\.\)"):
        difference(before, {**after, **dict.fromkeys("pqrs", torch.zeros(1))})
    with pytest.raises(LayerMismatchError, match=r"1 tensor.*a\.bias, \[4\] and \[5\]"):
        difference(before, {**after, "a.bias": torch.zeros(5)})
    with pytest.raises(LayerMismatchError, match=r"a\.bias of the second checkpoint .* not finite"):
        difference(before, {**after, "a.bias": torch.full((4,), torch.nan)})
    with pytest.raises(LayerMismatchError, match=r"a\.bias, which is no weight"):
        difference(before, {**after, "a.bias": torch.zeros(4, dtype=torch.int8)})


def test_two_trained_models_are_no_patch() -> None:
    before = {f"w{i:02}": torch.zeros(2) for i in range(MOST_TENSORS + 1)}
    after = {name: tensor + 1 for name, tensor in before.items()}
    with pytest.raises(LayerMismatchError, match=r"differ in 17 of 17 tensors \(w00, w01, w02, "):
        difference(before, after)
    after["w00"] = before["w00"]  # control
    assert len(difference(before, after).layers) == MOST_TENSORS
