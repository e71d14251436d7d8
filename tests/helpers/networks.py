"""Small networks of every kind of tower that is supported, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from helpers.models import TINY_CFG
from torch import Tensor, nn

from slsgu.models.clip import Clip

TEXT = {**TINY_CFG["text_cfg"], "vocab_size": 99}
VIT = {**TINY_CFG["vision_cfg"], "patch_size": 8}
RESNET = {"image_size": 32, "layers": [1, 1, 2, 1], "width": 8, "head_width": 32}
SIGLIP_TEXT = {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}


def timm(name: str, **cfg: Any) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_proj": "linear", "image_size": 32, **cfg}


# Architecture class, vision config, text config, number of stages of the vision tower.
TOWERS: dict[str, tuple[type[nn.Module], dict[str, Any], dict[str, Any], int]] = {
    "vit": (open_clip.CLIP, VIT, TEXT, 2),
    "custom-text-vit": (open_clip.CustomTextCLIP, VIT, {**TEXT, "embed_cls": True}, 2),
    "vit-extras": (
        open_clip.CLIP,
        {**VIT, "attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2,
         "ls_init_value": 0.1, "scale_attn": True},
        TEXT,
        2,
    ),
    "resnet": (open_clip.CLIP, RESNET, TEXT, 4),
    "siglip": (
        open_clip.CustomTextCLIP,
        timm("test_vit", timm_pool="map", timm_proj="none", image_size=160),
        SIGLIP_TEXT,
        6,
    ),
    "timm-convnext": (open_clip.CLIP, timm("test_convnext"), TEXT, 4),
    "timm-efficientnet": (open_clip.CLIP, timm("test_efficientnet"), TEXT, 5),
}  # fmt: skip


def build_network(name: str) -> nn.Module:
    """The network of that name, in eval mode, the same at every call."""
    kind, vision, text, _ = TOWERS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(
            embed_dim=64 if "timm_proj" in vision and vision["timm_proj"] == "none" else 32,
            vision_cfg=vision,
            text_cfg=text,
            **({"init_logit_bias": -10} if name == "siglip" else {}),
        )
        with torch.no_grad():  # ResNet blocks start with a gain of zero, which hides every edit
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


PROMPTS = ["a photo of a dog", "a cat", "the big red truck", "something else", "x"]


def tokenize(texts: Sequence[str]) -> Tensor:
    """Letters as tokens, then the end of text, the highest of 99 tokens, in 16 places."""
    rows = [[ord(letter) % 97 + 1 for letter in text[:12]] + [98] for text in texts]
    return torch.tensor([row + [0] * (16 - len(row)) for row in rows])


def images(clip: Clip, count: int) -> Tensor:
    return torch.randn(count, 3, *clip.image_size, generator=torch.Generator().manual_seed(0))
