"""A patch is a value; apply and revert are exact; files are checked before they are trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import slsgu
from slsgu.errors import ArtifactError, LayerMismatchError, SlsguError
from slsgu.patch.patch import Patch
from slsgu.patch.weights import layer_hash
from slsgu.utils.artifact import content_sha256, write_artifact
from slsgu.utils.files import file_sha256


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.b = nn.Parameter(torch.randn(3, generator=generator))


def patch_for(model: nn.Module, name: str = "a", seed: int = 1, half: bool = False) -> Patch:
    weight = dict(model.named_parameters())[name].detach().clone()
    generator = torch.Generator().manual_seed(seed)
    delta = torch.randn(weight.shape, generator=generator)
    return Patch({name: delta}, {name: weight.half() if half else weight}, {"step_size": 1.0})


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_zero_step_changes_nothing_and_a_step_changes_one_layer() -> None:
    model, patch = Net(), patch_for(Net())
    assert same((0.0 * patch).apply(model), model)
    moved = patch.apply(model)
    assert not torch.equal(moved.a, model.a)
    assert torch.equal(moved.b, model.b)


def test_apply_leaves_its_input_alone() -> None:
    model = Net()
    patch_for(model).apply(model)
    assert same(model, Net())


def test_applied_restores_every_bit_even_after_an_error() -> None:
    model = Net()
    with pytest.raises(RuntimeError, match="inside"), patch_for(model).applied(model):
        assert not same(model, Net())
        raise RuntimeError("inside")
    assert same(model, Net())


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_algebra_is_that_of_the_weights(x: float, y: float) -> None:
    model, patch = Net(), patch_for(Net())
    together = (x * patch + y * patch).apply(model)
    expected = model.a + (x + y) * patch.delta["a"]
    assert torch.allclose(together.a, expected, atol=1e-5)
    opposite = (-(x * patch)).apply(model)
    assert torch.allclose(opposite.a, model.a - x * patch.delta["a"], atol=1e-5)


def test_patches_of_two_layers_add_up_and_of_other_weights_do_not() -> None:
    model = Net()
    both = patch_for(model, "a") + patch_for(model, "b")
    assert set(both.layers) == {"a", "b"}
    other = Net()
    with torch.no_grad():
        other.a.add_(1)
    with pytest.raises(LayerMismatchError, match="different weights of a"):
        patch_for(model) + patch_for(other)


def test_a_scale_survives_sums() -> None:
    one = Patch(patch_for(Net(), "a").delta, patch_for(Net(), "a").original, {"step_size": 1.0})
    other = patch_for(Net(), "b")
    both = 2.0 * (0.5 * (one + other) + one)
    assert [part["scale"] for part in both.metadata["sum_of"]] == [1.0, 1.0, 2.0]


def test_a_patch_refuses_other_weights_a_second_time_and_a_missing_layer() -> None:
    model, patch = Net(), patch_for(Net())
    with pytest.raises(LayerMismatchError, match="applied already"):
        patch.apply(patch.apply(model))
    with pytest.raises(LayerMismatchError, match="not made for this model"):
        with torch.no_grad():
            model.a[0, 0] += 1e-6
        patch.apply(model)
    with pytest.raises(LayerMismatchError, match="no layer a"):
        patch.apply(nn.Linear(2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_apply_then_revert_is_equal_to_the_bit(dtype: torch.dtype) -> None:
    tensors = {n: t.detach().to(dtype) for n, t in Net().state_dict().items()}
    patch = Patch({"a": torch.full((4, 3), 0.1)}, {"a": tensors["a"]})
    patched = patch.apply_to(tensors)
    assert patched["a"].dtype == dtype and not torch.equal(patched["a"], tensors["a"])
    back = patch.revert_from(patched)
    assert all(torch.equal(back[n], tensors[n]) and back[n].dtype == dtype for n in tensors)
    # Control: subtracting the change is not exact in every precision, and nothing is reverted
    # that was not applied.
    with pytest.raises(LayerMismatchError, match="nothing to revert"):
        patch.revert_from(tensors)


def test_a_half_precision_layer_and_its_upcast_hash_the_same() -> None:
    layer = torch.randn(5, 2).half()
    assert layer_hash("x", layer) == layer_hash("x", layer.float())
    assert layer_hash("x", layer) != layer_hash("y", layer)
    assert layer_hash("x", layer) != layer_hash("x", layer.T.contiguous())


def test_a_patch_from_half_precision_fits_the_upcast_model() -> None:
    model = Net()
    with torch.no_grad():
        model.a.copy_(model.a.half().float())
    patch = patch_for(model, half=True)
    assert not same(patch.apply(model), model)


def test_save_and_load_keep_everything_and_bytes_repeat(tmp_path: Path) -> None:
    patch = patch_for(Net())
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    patch.save(one)
    Patch.load(one).save(two)
    assert one.read_bytes() == two.read_bytes()
    loaded = Patch.load(one)
    assert torch.equal(loaded.delta["a"], patch.delta["a"])
    assert loaded.metadata["step_size"] == 1.0


def test_the_hash_of_the_file_is_known_without_it(tmp_path: Path) -> None:
    patch = patch_for(Net()) + patch_for(Net(), "b", half=True)
    patch.save(tmp_path / "p.safetensors")
    assert patch.file_sha256 == file_sha256(tmp_path / "p.safetensors")
    assert Patch.load(tmp_path / "p.safetensors").file_sha256 == patch.file_sha256
    other = Patch(patch.delta, patch.original, {"command": "another"})  # control
    assert other.file_sha256 != patch.file_sha256 != (0.5 * patch).file_sha256


def test_ten_lines_without_slsgu_apply_it(tmp_path: Path) -> None:
    """The documented format is enough (docs/formats.md)."""
    model, patch = Net(), patch_for(Net())
    patch.save(tmp_path / "p.safetensors")
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for key, delta in load_file(tmp_path / "p.safetensors").items():
        if key.startswith("delta/"):
            name = key.removeprefix("delta/")
            tensors[name] = (tensors[name].float() + delta).to(tensors[name].dtype)
    assert torch.equal(tensors["a"], patch.apply(model).a)


def test_damaged_foreign_and_newer_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    patch_for(Net()).save(path)
    whole = path.read_bytes()
    with pytest.raises(ArtifactError, match="not found"):
        Patch.load(tmp_path / "none.safetensors")
    for broken in (whole[:-5], whole[:20], b"", b"PK\x03\x04" + whole):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match="damaged"):
            Patch.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ArtifactError, match="not a patch"):
        Patch.load(path)
    write_artifact(path, {"x": torch.zeros(1)}, kind="slsgu-patch", schema=99, header={})
    with pytest.raises(ArtifactError, match="newer slsgu"):
        Patch.load(path)
    write_artifact(path, {"x": torch.zeros(1)}, kind="slsgu-gradients", schema=1, header={})
    with pytest.raises(ArtifactError, match="not a patch"):
        Patch.load(path)


def test_a_patch_whose_layer_was_tampered_with_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    patch_for(Net()).save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["slsgu"])
    tensors = load_file(path)
    tensors["original/a"] = tensors["original/a"] + 1
    save_file(tensors, path, metadata={"slsgu": json.dumps(header)})
    with pytest.raises(ArtifactError, match="does not hold what was written"):
        Patch.load(path)
    header["content_sha256"] = content_sha256(header, tensors)  # a hand that covers its tracks
    save_file(tensors, path, metadata={"slsgu": json.dumps(header)})
    with pytest.raises(ArtifactError, match="disagrees with itself"):
        Patch.load(path)


def test_no_byte_of_a_patch_can_change_unnoticed(tmp_path: Path) -> None:
    """Header and tensors alike: a digit of a figure is as easily lost as a weight."""
    net = nn.Linear(2, 2, bias=False)
    weight = net.weight.detach()
    path = tmp_path / "p.safetensors"
    Patch({"weight": torch.ones(2, 2)}, {"weight": weight.clone()}, {"step_size": 1.5}).save(path)
    whole = path.read_bytes()
    assert Patch.load(path).metadata["step_size"] == 1.5  # control
    for place in range(len(whole)):
        for bit in (1, 16):  # another digit; something that is no text
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(ArtifactError):
                Patch.load(path)


def test_a_command_line_that_is_not_unicode_can_be_kept(tmp_path: Path) -> None:
    command = "slsgu apply --data " + b"caf\xe9".decode(errors="surrogateescape")
    patch = patch_for(Net())
    path = tmp_path / "p.safetensors"
    Patch(patch.delta, patch.original, {"command": command}).save(path)
    assert Patch.load(path).metadata["command"] == command


def test_a_file_from_before_there_were_hashes_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    patch_for(Net()).save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["slsgu"])
    tensors = load_file(path)
    save_file(tensors, path, metadata={"slsgu": json.dumps(header)})
    assert Patch.load(path)  # control
    del header["content_sha256"]
    save_file(tensors, path, metadata={"slsgu": json.dumps(header)})
    with pytest.raises(ArtifactError, match=r"before 0\.1\.0.*make it again"):
        Patch.load(path)


def test_a_patch_that_leaves_the_range_of_the_stored_precision_is_refused() -> None:
    net = Net().half()
    patch = patch_for(net)
    assert patch.apply_to(dict(net.state_dict())) and patch.apply(net)  # control
    with pytest.raises(LayerMismatchError, match=r"takes a out of the range of float16"):
        (1e8 * patch).apply_to(dict(net.state_dict()))
    with pytest.raises(LayerMismatchError, match=r"takes a out of the range of float16"):
        (1e8 * patch).apply(net)
    assert same(net, Net().half())


@pytest.mark.parametrize("wrong", [None, 5, "model", [], torch.zeros(2)])
def test_a_model_of_another_type_is_refused_in_words(wrong: object) -> None:
    model = Net()
    patch = patch_for(model)
    with pytest.raises(SlsguError, match="the model is of type"):
        patch.apply(wrong)  # type: ignore[arg-type]
    with pytest.raises(SlsguError, match="the model is of type"), patch.applied(wrong):  # type: ignore[arg-type]
        pass
    with pytest.raises(SlsguError, match="the model is of type"):
        slsgu.make_plan(wrong, "beagle")  # type: ignore[arg-type]
    if wrong is not None and not isinstance(wrong, str):
        with pytest.raises(SlsguError, match="the model is of type"):
            slsgu.load(wrong)  # type: ignore[arg-type]
    assert patch.apply(model) is not model  # control


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), float("-inf")])
def test_a_factor_that_is_no_number_is_refused(factor: float) -> None:
    with pytest.raises(SlsguError, match="cannot be scaled by"):
        factor * patch_for(Net())


@pytest.mark.parametrize(
    ("delta", "original", "told"),
    [
        (torch.ones(2, dtype=torch.float64), torch.ones(2), "is float64, not float32"),
        (torch.ones(2, dtype=torch.int64), torch.ones(2), "is int64, not floating point"),
        (torch.ones(2), torch.ones(2, dtype=torch.int64), "the original of w in a patch is int64"),
        (torch.ones(2).to_sparse(), torch.ones(2), "is sparse or quantised"),
        (torch.ones(2, device="meta"), torch.ones(2), "is on the meta device"),
        (torch.ones(3), torch.ones(2), r"the change of w is \[3\], and the layer \[2\]"),
        (2.0, torch.ones(2), "is a value of type float, not a tensor"),
    ],
)
def test_a_patch_is_of_dense_tensors_that_fit_their_layers(
    delta: Tensor, original: Tensor, told: str
) -> None:
    with pytest.raises(ArtifactError, match=told):
        Patch({"w": delta}, {"w": original})
    with pytest.raises(ArtifactError, match="the change and the original of w, or neither"):
        Patch({"w": torch.ones(2)}, {})
    assert Patch({"w": torch.ones(2)}, {"w": torch.ones(2).half()}).layers == ("w",)  # control
