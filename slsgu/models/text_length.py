"""Texts are short: run the text blocks on the tokens that count, not on the whole context.

In a causal text tower a token sees only those before it, and the embedding is read at the end of
text, so whatever stands behind the last end-of-text token of a batch changes nothing. A prompt
has about ten tokens and a context 77.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def text_lengths(tokens: Tensor) -> list[int]:
    """How many tokens each text has, up to its end, which has the highest id.

    Args:
        tokens: token ids [n, context length].

    >>> text_lengths(torch.tensor([[7, 2, 9, 0, 0], [7, 9, 0, 0, 0]]))
    [3, 2]
    """
    lengths: list[int] = (tokens.argmax(dim=-1) + 1).tolist()
    return lengths


def needed_length(model: nn.Module, tokens: Tensor) -> int | None:
    """How many leading tokens decide the embeddings of a batch of texts.

    Args:
        model: an OpenCLIP `CLIP` or `CustomTextCLIP`.
        tokens: token ids [n, context length].

    Returns:
        The place behind the last end of text; None where the tower is not causal, or reads its
        embedding elsewhere, so that everything counts.
    """
    tower: Any = getattr(model, "text", model)
    mask = getattr(tower, "attn_mask", None)
    if mask is None or getattr(tower, "cls_emb", None) is not None or not _is_causal(mask):
        return None
    names = ("pool_type", "eos_id") if hasattr(model, "text") else ("text_pool_type", "text_eos_id")
    pool, end_of_text = (getattr(tower, name, None) for name in names)
    if pool == "argmax":  # the end-of-text token has the highest id
        ends = tokens.argmax(dim=-1)
    elif pool == "eos":
        ends = torch.eq(tokens, int(end_of_text or 0)).int().argmax(dim=-1)
    else:
        return None
    return int(ends.max()) + 1


@contextlib.contextmanager
def shortened(model: nn.Module, tokens: Tensor) -> Iterator[None]:
    """Within, the text blocks of `model` see only the tokens of this batch that count."""
    length = needed_length(model, tokens)
    if length is None:
        yield
        return

    def cut(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden, *others = args  # [n, context, width]
        mask = kwargs.get("attn_mask")
        short = kwargs if mask is None else {**kwargs, "attn_mask": mask[..., :length, :length]}
        return (hidden[:, :length], *others), short

    transformer: Any = getattr(model, "text", model).transformer
    handle = transformer.register_forward_pre_hook(cut, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _is_causal(mask: Tensor) -> bool:
    """Whether the mask keeps every token from those behind it."""
    ahead = torch.ones_like(mask, dtype=torch.bool).triu(1)
    return mask.dim() == 2 and bool(mask[ahead].isneginf().all())
