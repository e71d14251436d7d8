"""What goes into a layer and what comes back to it: the two sides of its gradient.

A layer's gradient is a sum over tokens of (output gradient) x (input). `Taps` watches the places
where named weights are used, whatever module uses them: linear maps, convolutions, attention,
and the raw matrices that OpenCLIP multiplies by. Torch hands every call of a function to an
active `TorchFunctionMode`, so no hook has to know an architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from slsgu.models.folding import Watcher

Receiver: TypeAlias = Callable[[str, Tensor, Tensor], None]

_PRODUCTS = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm})


class Taps(Watcher):
    """Within, reports the input and the output gradient of named weights.

    The gradient flows from the outputs of the shallowest weights on; nothing before them is
    differentiated, and no weight needs a gradient.

    Args:
        weights: the weights to watch, by name.
        receive: called in the backward pass with a name, the inputs [n, i] and the output gradients
            [n, o] of one call, one row per token. For a convolution a row is a patch.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], receive: Receiver) -> None:
        super().__init__()
        self._names = {id(weight): name for name, weight in weights.items()}
        self._receive = receive

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            if _is_self_attention(args, kwargs) and any(id(x) in self._names for x in args[5:13]):
                return self._attention(args, kwargs)
        elif func is functional.linear:
            return self._linear(*args, **kwargs)
        elif func in _PRODUCTS and id(args[1]) in self._names:
            x, weight = args
            return self._watch(weight, x.flatten(0, -2), func(x, weight))
        elif func is functional.conv2d and id(args[1]) in self._names:
            return self._convolution(*args, **kwargs)
        return func(*args, **kwargs)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        output = functional.linear(x, weight, bias)
        if id(weight) not in self._names:
            return output
        return self._watch(weight, x.flatten(0, -2), output)

    def _convolution(self, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        output = functional.conv2d(x, weight, *args, **kwargs)  # [B, o, h, w]
        names = ("bias", "stride", "padding", "dilation", "groups")
        options = dict(zip(names, args, strict=False)) | kwargs
        if options.get("groups", 1) != 1 or isinstance(options.get("padding", 0), str):
            return output  # not one linear map of patches
        options = {k: options[k] for k in ("stride", "padding", "dilation") if k in options}
        patches = functional.unfold(x.detach(), weight.shape[-2:], **options)  # [B, i k k, h w]
        rows = patches.transpose(1, 2).flatten(0, 1)
        return self._watch(weight, rows, output, channels=1)

    def _watch(self, weight: Tensor, rows: Tensor, output: Tensor, channels: int = -1) -> Tensor:
        """Report this call when the gradient of its output is known."""
        name, rows = self._names[id(weight)], rows.detach()
        if not output.requires_grad:  # a gradient starts to flow here
            output = output.detach().requires_grad_(True).clone()

        def report(gradient: Tensor) -> None:
            self._receive(name, rows, gradient.movedim(channels, -1).flatten(0, -2))

        output.register_hook(report)  # type: ignore[no-untyped-call]
        return output

    def _attention(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, None]:
        """`multi_head_attention_forward`, spelled out in the products that it is made of."""
        query, _, _, width, heads, in_weight, in_bias = args[:7]
        out_weight, out_bias = args[11], args[12]
        tokens, batch, _ = query.shape  # torch puts tokens first here
        packed = self._linear(query, in_weight, in_bias)  # [L, B, 3 w]
        q, k, v = (
            part.reshape(tokens, batch * heads, width // heads).transpose(0, 1)  # [B h, L, w / h]
            for part in packed.chunk(3, dim=-1)
        )
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.dtype == torch.bool:
            mask = ~mask  # there True keeps a token out; in the function below it lets it in
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = mixed.transpose(0, 1).reshape(tokens, batch, width)
        return self._linear(mixed, out_weight, out_bias), None


def _is_self_attention(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call of `multi_head_attention_forward` is plain self-attention with packed
    weights, as transformer blocks use it; attention pools are not."""
    if len(args) < 13:
        return False
    query, key, value, *_ = args
    in_weight, extra = args[5], args[7:10]  # bias_k, bias_v, add_zero_attn
    return (
        query is key
        and key is value
        and query.dim() == 3
        and in_weight is not None
        and not any(x is not None and x is not False for x in extra)
        and kwargs.get("key_padding_mask") is None
        and not kwargs.get("use_separate_proj_weight")
    )
