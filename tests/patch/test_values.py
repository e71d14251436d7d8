"""Patches are values: sums in any order and any brackets are the same, and forget nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slsgu.errors import ArtifactError, LayerMismatchError
from slsgu.patch.conflicts import conflicts
from slsgu.patch.patch import Patch
from slsgu.patch.weights import layer_hash, same_values
from slsgu.utils.artifact import all_finite

ORIGINAL = {
    name: torch.randn(3, 2, generator=torch.Generator().manual_seed(place))
    for place, name in enumerate("abc")
}
scales = st.floats(-4, 4, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-3)


@st.composite
def patches(draw: st.DrawFn) -> Patch:
    """A patch of one to three layers, with where it came from."""
    names = draw(st.sets(st.sampled_from("abc"), min_size=1))
    seed = draw(st.integers(0, 9))
    random = torch.Generator().manual_seed(seed)
    delta = {name: torch.randn(3, 2, generator=random) for name in sorted(names)}
    path = f"animal/{seed}-{''.join(sorted(names))}"
    metadata: dict[str, Any] = {"request": {"paths": [path]}, "step_size": 1.0}
    return Patch(delta, {name: ORIGINAL[name].clone() for name in delta}, metadata)


def close(one: Patch, other: Patch) -> bool:
    return one.delta.keys() == other.delta.keys() and all(
        torch.allclose(one.delta[name], other.delta[name], atol=1e-5) for name in one.delta
    )


def parts(patch: Patch) -> list[dict[str, Any]]:
    return [dict(part) for part in patch.parts]


@given(patches(), patches())
def test_addition_is_commutative(p: Patch, q: Patch) -> None:
    assert all(torch.equal((p + q).delta[name], (q + p).delta[name]) for name in (p + q).layers)
    assert sorted(map(str, parts(p + q))) == sorted(map(str, parts(q + p)))
    assert set((p + q).requested_paths()) == {*p.requested_paths(), *q.requested_paths()}


@given(patches(), patches(), patches())
def test_addition_is_associative_in_weights_and_in_provenance(p: Patch, q: Patch, r: Patch) -> None:
    left, right = (p + q) + r, p + (q + r)
    assert close(left, right)
    assert parts(left) == parts(right) == [*parts(p), *parts(q), *parts(r)]
    assert not close(left, p + q + 2.0 * r)  # control


@given(scales, patches(), patches())
def test_scaling_distributes_in_weights_and_in_provenance(x: float, p: Patch, q: Patch) -> None:
    assert close(x * (p + q), x * p + x * q)
    assert parts(x * (p + q)) == parts(x * p + x * q)


@given(st.lists(patches(), min_size=1, max_size=4))
def test_sum_adds_up_and_lists_every_request(several: Sequence[Patch]) -> None:
    total = sum(several)
    assert isinstance(total, Patch)
    assert parts(total) == [dict(p.metadata) for p in several]
    wanted = {name for p in several for name in p.layers}
    assert set(total.layers) == wanted
    for name in wanted:
        steps = [p.delta[name] for p in several if name in p.delta]
        assert torch.allclose(total.delta[name], torch.stack(steps).sum(dim=0), atol=1e-5)


def test_the_empty_sum_changes_nothing_and_cannot_be_saved(tmp_path: Path) -> None:
    nothing = Patch({}, {})
    total = sum([], nothing)
    assert total.layers == () and total.apply_to(ORIGINAL) == ORIGINAL
    patch = Patch({"a": torch.ones(3, 2)}, {"a": ORIGINAL["a"]}, {"step_size": 2.0})
    for same in (nothing + patch, patch + nothing, sum([patch], nothing), 0 + patch, patch + 0):
        assert close(same, patch) and parts(same) == parts(patch)
    with pytest.raises(ArtifactError, match="changes no layer"):
        total.save(tmp_path / "p")
    with pytest.raises(TypeError):
        patch + 1  # control: only nothing is nothing
    with pytest.raises(TypeError):
        patch + "a"  # type: ignore[operator]


def test_a_multiple_beyond_all_numbers_is_not_saved(tmp_path: Path) -> None:
    patch = Patch({"a": torch.ones(3, 2)}, {"a": ORIGINAL["a"]})
    (1e30 * patch).save(tmp_path / "p")  # control
    with pytest.raises(ArtifactError, match="change of a is out of the range"):
        (1e300 * patch).save(tmp_path / "q")
    assert not (tmp_path / "q").exists()


@given(patches(), patches())
def test_a_saved_sum_is_the_sum(p: Patch, q: Patch) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (p + q).save(Path(folder, "p"))
        loaded = Patch.load(Path(folder, "p"))
    assert close(loaded, p + q) and parts(loaded) == parts(p + q)


# -- conflicts --------------------------------------------------------------------------------


def one(name: str, values: Sequence[float]) -> Patch:
    return Patch({name: torch.tensor([*map(float, values)])}, {name: torch.zeros(len(values))})


def test_conflicts_are_pairs_on_one_layer_with_their_angle() -> None:
    right, up, left, other = (
        one("a", [2, 0]), one("a", [0, 3]), one("a", [-1, 0]), one("b", [1, 1]),
    )  # fmt: skip
    found = conflicts([right, up, other, left])
    assert [(c.layer, c.first, c.second, c.cosine) for c in found] == [
        ("a", 0, 1, 0.0), ("a", 0, 3, -1.0), ("a", 1, 3, 0.0),
    ]  # fmt: skip
    assert conflicts([right, other]) == []  # control
    (zero,) = conflicts([right, 0 * up])
    assert zero.cosine is None
    larger = Patch({"a": torch.ones(3)}, {"a": torch.zeros(3)})
    same_size = Patch({"a": torch.ones(2)}, {"a": torch.ones(2)})
    assert conflicts([right, larger, same_size]) == []  # of other models


def test_a_model_that_was_rounded_is_told_from_another() -> None:
    patch = Patch({"a": torch.ones(2)}, {"a": torch.tensor([0.1, 0.2])})
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(LayerMismatchError, match=f"rounded to {str(dtype)[6:]}: apply"):
            patch.check({"a": patch.original["a"].to(dtype)})
    with pytest.raises(LayerMismatchError, match="has other weights"):  # control
        patch.check({"a": torch.tensor([0.3, 0.4]).half()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_value_that_is_not_finite_is_found(dtype: torch.dtype, bad: float) -> None:
    tensor = torch.randn(1001).to(dtype)
    assert all_finite(tensor) and all_finite(tensor[:0])  # control
    for place in (0, 500, 1000):
        assert not all_finite(tensor.index_fill(0, torch.tensor([place]), bad))


def test_values_are_compared_as_the_layer_hash_does() -> None:
    layer = torch.tensor([1.5, 0.0])
    others = [layer.half(), layer.double(), -layer, layer * torch.tensor([1, -1]), layer[None]]
    for other in (*others, torch.tensor([1.5, 1e-45])):
        same = layer_hash("a", layer) == layer_hash("a", other)
        assert same_values(layer, other) == same
    assert same_values(layer, layer.half()) and not same_values(layer, layer + 1)
