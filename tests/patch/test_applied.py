"""What `applied` refuses, and that refusing leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slsgu.errors import LayerMismatchError
from slsgu.patch.patch import Patch


class Half(nn.Module):
    """Two layers in half precision, with a negative zero, which only bits tell from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0, -0.0]).half())
        self.b = nn.Parameter(torch.tensor([3.0, 4.0]).half())


def bits(model: nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def patch(model: Half, size: float) -> Patch:
    """A small change of `a`, and one of this size of `b`."""
    original = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    return Patch({"a": torch.ones(2), "b": torch.full((2,), size)}, original)


def test_a_step_that_half_precision_cannot_hold_is_refused_before_anything_is_changed() -> None:
    model, untouched = Half(), bits(Half())
    for use in (patch(model, 1e5).apply, lambda m: patch(m, 1e5).applied(m).__enter__()):
        with pytest.raises(LayerMismatchError, match=r"takes b out of the range of float16"):
            use(model)
        assert bits(model) == untouched
    # Control: a smaller step goes in, and every bit comes back.
    with patch(model, 1e4).applied(model):
        assert bits(model) != untouched and bool(model.b.isfinite().all())
    assert bits(model) == untouched
