"""A mask of booleans means the opposite to the two attention functions that `taps` knows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward

from slsgu.search.taps import Taps


def attend(attention: nn.MultiheadAttention, tokens: Tensor, mask: Tensor) -> Tensor:
    """Self-attention by the function itself: the module would hand on a mask of numbers."""
    output, _ = multi_head_attention_forward(
        tokens, tokens, tokens, 8, 2, attention.in_proj_weight, attention.in_proj_bias,
        None, None, False, 0.0, attention.out_proj.weight, attention.out_proj.bias,
        training=False, need_weights=False, attn_mask=mask,
    )  # fmt: skip
    return output


def test_a_boolean_mask_keeps_out_what_it_marks() -> None:
    attention = nn.MultiheadAttention(8, 2).eval()
    tokens = torch.randn(5, 3, 8)
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
    weights = {"in": attention.in_proj_weight, "out": attention.out_proj.weight}
    reported: list[str] = []
    for mask in (ahead, torch.zeros(5, 5).masked_fill(ahead, -torch.inf)):
        with torch.no_grad():
            expected = attend(attention, tokens, mask)
        with Taps(weights, lambda name, *_: reported.append(name)):
            watched = attend(attention, tokens, mask)
        assert torch.allclose(watched, expected, atol=1e-6)
        watched.sum().backward()
    assert sorted(reported) == ["in", "in", "out", "out"]
    with torch.no_grad():  # control: the mask matters
        opposite = attend(attention, tokens, ~ahead.T)
    assert not torch.allclose(opposite, expected, atol=1e-3)
