"""A mask of booleans means the opposite to the two attention functions that `taps` knows."""

from __future__ import annotations

import torch
from torch import nn

from slsgu.search.taps import Taps


def test_a_boolean_mask_keeps_out_what_it_marks() -> None:
    attention = nn.MultiheadAttention(8, 2).eval()
    tokens = torch.randn(5, 3, 8)
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
    weights = {"in": attention.in_proj_weight, "out": attention.out_proj.weight}
    reported: list[str] = []
    for mask in (ahead, torch.zeros(5, 5).masked_fill(ahead, -torch.inf)):
        with torch.no_grad():
            expected, _ = attention(tokens, tokens, tokens, attn_mask=mask, need_weights=False)
        with Taps(weights, lambda name, *_: reported.append(name)):
            watched, _ = attention(tokens, tokens, tokens, attn_mask=mask, need_weights=False)
        assert torch.allclose(watched, expected, atol=1e-6)
        watched.sum().backward()
    assert sorted(reported) == ["in", "in", "out", "out"]
    with torch.no_grad():  # control: the mask matters
        opposite, _ = attention(tokens, tokens, tokens, attn_mask=~ahead.T, need_weights=False)
    assert not torch.allclose(opposite, expected, atol=1e-3)
