"""OpenCLIP's configuration of a model, `open_clip_config.json`, read and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slsgu.errors import ModelError

# All of OpenCLIP's but the size, which the model decides.
PREPROCESS_KEYS = ("mode", "mean", "std", "interpolation", "resize_mode", "fill_color")


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """`model_cfg` and `preprocess_cfg` of a configuration; a bare `model_cfg` is accepted.

    Raises:
        ModelError: the file is no configuration, or holds values that make no sense.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a readable JSON configuration ({error})") from None
    model_cfg = content.get("model_cfg", content) if isinstance(content, dict) else None
    required = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(model_cfg, dict) or any(key not in model_cfg for key in required):
        raise ModelError(f"{path} is no OpenCLIP configuration: it must have {', '.join(required)}")
    if not all(isinstance(model_cfg[key], dict) for key in required[1:]):
        raise ModelError(f"{path}: vision_cfg and text_cfg must be objects")
    preprocess = content.get("preprocess_cfg", {})
    if not isinstance(preprocess, dict):
        raise ModelError(f"{path}: preprocess_cfg must be an object")
    for key, (values, holds) in _CHECKS.items():
        if preprocess.get(key) is not None and not holds(preprocess[key]):
            raise ModelError(
                f"{path}: preprocess_cfg has {key} {preprocess[key]!r}; it must be {values}"
            )
    return model_cfg, {key: preprocess[key] for key in PREPROCESS_KEYS if key in preprocess}


def _numbers(value: Any, *, above: float = -math.inf) -> bool:
    """Whether a value of a configuration is a number, or a list of one or three (a channel)."""
    numbers = value if isinstance(value, list) else [value]
    return len(numbers) in (1, 3) and all(
        isinstance(n, int | float) and math.isfinite(n) and n > above for n in numbers
    )


_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "mode": ("RGB", lambda value: bool(value == "RGB")),
    "mean": ("numbers", _numbers),
    "std": ("positive numbers", lambda value: _numbers(value, above=0)),
    "resize_mode": (
        "shortest, longest or squash",
        lambda value: value in ("shortest", "longest", "squash"),
    ),
    "fill_color": ("a number, or three", _numbers),
}
