"""LLaVA and other vision-language models of transformers: what they read of their vision tower.

Their configuration says which hidden states go on to the language model: `vision_feature_layer`
is -2 in LLaVA 1.5, the states before the last block. Whatever comes later is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slsgu.errors import LayerMismatchError
from slsgu.interop.targets import TARGETS, Target

FEATURE_LAYER = "vision_feature_layer"


def is_vision_language(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is of a model that shows images to a language model as LLaVA does."""
    return FEATURE_LAYER in config and isinstance(config.get("vision_config"), dict)


def vision_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the vision tower.

    Raises:
        LayerMismatchError: it is no tower of CLIP.
    """
    found: dict[str, Any] = config["vision_config"]
    kind = found.get("model_type", "clip_vision_model")
    if kind != "clip_vision_model":
        raise LayerMismatchError(
            f"this model has a {kind} for a vision tower, and patches are for CLIP"
        )
    return found


def vision_target(config: Mapping[str, Any]) -> Target:
    """What a vision-language model reads of its vision tower.

    >>> tower = {"num_hidden_layers": 24}
    >>> config = {"vision_feature_layer": -2, "vision_config": tower}
    >>> vision_target(config).unread_blocks
    1
    """
    tower = vision_config(config)
    blocks = int(tower.get("num_hidden_layers", 12))
    layers = config[FEATURE_LAYER]
    # State k is what k blocks have made of the patches; there is one more than there are blocks.
    states = [
        int(layer) % (blocks + 1) for layer in (layers if isinstance(layers, list) else [layers])
    ]
    title = str(config.get("model_type", "llava"))
    llava = TARGETS["llava"]
    if title != "llava":
        llava = replace(llava, title=f"this {title} model")
    unread = blocks - max(states)
    if unread != llava.unread_blocks:
        llava = replace(llava, reads_of=f"the patch tokens after block {max(states) - 1}")
    return replace(llava, unread_blocks=unread, vit=False)
