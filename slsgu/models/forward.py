"""Whether OpenCLIP can compute with an architecture, before anything asks it to.

A configuration has values that only the forward pass looks at: the epsilon of a norm, a pooling, a
class token that the text tower has no room for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slsgu.errors import ModelError


@torch.no_grad()
def refuse_uncomputable(network: nn.Module, tokenizer: Any, title: str) -> None:
    """Refuse a network that fails on an image and a text. It is tried without numbers, on shapes
    alone, which takes milliseconds; whatever fails there is tried with numbers before it counts.

    Args:
        network: on the CPU, in eval mode.
        title: of the model, for messages.

    Raises:
        ModelError: it fails, whatever its weights are.
    """
    try:
        inputs = _image(network), tokenizer(["a photo of a dog"])
    except Exception as error:
        raise ModelError(f"{title}: the tokenizer fails on a text ({_line(error)})") from error
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in state.items()}
    try:
        torch.func.functional_call(network, shapes, tuple(x.to("meta") for x in inputs))
        return
    except Exception:  # some operations need numbers
        pass
    try:
        network(*inputs)
    except MemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"{title}: OpenCLIP cannot compute with this configuration ({_line(error)}): check "
            "the architecture"
        ) from error


def _image(network: nn.Module) -> Tensor:
    """A black image [1, 3, H, W] of the size that the network takes."""
    size: Any = network.get_submodule("visual").image_size
    height, width = (size, size) if isinstance(size, int) else size
    return torch.zeros(1, 3, int(height), int(width))


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
