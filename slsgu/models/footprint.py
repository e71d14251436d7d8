"""How much of a forward pass autograd keeps, and how many images may therefore go together."""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.models.clip import Clip

ACTIVATIONS = 1536 << 20  # bytes that a pass on the CPU may keep: beyond, memory costs time


def images_at_once(clip: Clip, *, most: int) -> int:
    """Images per forward pass that suit a model: `most`; on the CPU that, halved until the
    activations stay within `ACTIVATIONS`.

    The activations of one blank image are looked at, so it is the same on every run.
    """
    if clip.device.type != "cpu":
        return most
    one = activation_bytes(clip, torch.zeros(1, 3, *clip.image_size))
    count = most
    while count > 1 and count * one > ACTIVATIONS:
        count //= 2
    return count


def activation_bytes(clip: Clip, pixels: Tensor) -> int:
    """What autograd keeps for the backward pass of a few images.

    Args:
        pixels: preprocessed images [B, 3, H, W].
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in clip.model.parameters()}
    inputs = pixels.to(clip.device).requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        embedded = clip.encode_image(inputs)
    del embedded
    return sum(size for pointer, size in kept.items() if pointer not in weights)
