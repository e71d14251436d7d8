"""OpenCLIP's configuration of a model, `open_clip_config.json`, read and checked.

OpenCLIP passes what stands under `tokenizer_kwargs` and `timm_model_name` on to libraries that
take far more than a model needs: code of the tokenizer's own, other files, repositories to
download from. So what may stand there is a short list.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slsgu.errors import ModelError
from slsgu.utils.reading import read_text

# All of OpenCLIP's but the size, which the model decides.
PREPROCESS_KEYS = ("mode", "mean", "std", "interpolation", "resize_mode", "fill_color")


def activation_name(model_cfg: Mapping[str, Any]) -> str:
    """What stands between the layers of an MLP by a `model_cfg`: `quick_gelu` or `gelu`."""
    return "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """`model_cfg` and `preprocess_cfg` of a configuration; a bare `model_cfg` is accepted.

    Raises:
        ModelError: the file is no configuration, or holds values that make no sense.
    """
    text = read_text(path, "model configuration", limit=_MOST_TEXT, error=ModelError)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
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
    check_config(model_cfg, preprocess, path)
    return model_cfg, {key: preprocess[key] for key in PREPROCESS_KEYS if key in preprocess}


def check_config(model_cfg: dict[str, Any], preprocess: dict[str, Any], path: Path) -> None:
    """Refuse values that make no sense, or would make another library run code.

    Args:
        model_cfg, preprocess: in OpenCLIP's terms.
        path: where they come from, for messages.

    Raises:
        ModelError: naming the key.
    """
    _refuse_foreign(model_cfg, path)
    _refuse_endless(model_cfg, path)
    for key, (values, holds) in _CHECKS.items():
        if preprocess.get(key) is not None and not holds(preprocess[key]):
            raise ModelError(
                f"{path}: preprocess_cfg has {key} {preprocess[key]!r}; it must be {values}"
            )


def _refuse_foreign(model_cfg: dict[str, Any], path: Path) -> None:
    """Refuse what would make another library run code, or read or download something else.

    Raises:
        ModelError: naming the key, its value, and what may stand there.
    """
    text, vision = model_cfg["text_cfg"], model_cfg["vision_cfg"]
    wanted = text.get("tokenizer_kwargs")
    if wanted is not None and not isinstance(wanted, dict):
        raise ModelError(f"{path}: text_cfg has tokenizer_kwargs {wanted!r}; it must be an object")
    for key, value in (wanted or {}).items():
        if key not in _TOKENIZER:
            raise ModelError(
                f"{path}: tokenizer_kwargs has {key} {value!r}, which is refused: it could make "
                "the tokenizer run code or read other files. Of these options a model may set "
                f"{', '.join(_TOKENIZER)} only"
            )
        values, holds = _TOKENIZER[key]
        if not holds(value):
            raise ModelError(f"{path}: tokenizer_kwargs has {key} {value!r}; it must be {values}")
    for key, value, pattern in (
        ("timm_model_name", vision.get("timm_model_name"), _PLAIN),
        ("hf_tokenizer_name", text.get("hf_tokenizer_name"), _REPOSITORY),
        ("tokenizer_mode", text.get("tokenizer_mode"), _PLAIN),
    ):
        if value and not (isinstance(value, str) and pattern.fullmatch(value)):
            raise ModelError(
                f"{path}: {key} is {value!r}, which is refused: it must be the name of a model, "
                "not a path or an address"
            )


def _refuse_endless(model_cfg: dict[str, Any], path: Path) -> None:
    """Refuse sizes out of all proportion, before OpenCLIP builds a network of them.

    Raises:
        ModelError: naming the key.
    """
    for part in (model_cfg, model_cfg["vision_cfg"], model_cfg["text_cfg"]):
        for key, most in _MOST.items():
            value = part.get(key)
            numbers = value if isinstance(value, list) else [value]
            if len(numbers) > 4 or any(
                isinstance(n, int | float) and not 0 <= n <= most for n in numbers
            ):
                raise ModelError(
                    f"{path}: {key} is {str(value)[:40]}; it must lie between 0 and {most:,}"
                )


def _numbers(value: Any, *, above: float = -math.inf) -> bool:
    """Whether a value of a configuration is a number, or a list of one or three (a channel)."""
    numbers = value if isinstance(value, list) else [value]
    return len(numbers) in (1, 3) and all(
        isinstance(n, int | float) and math.isfinite(n) and n > above for n in numbers
    )


_MOST = {
    "layers": 1024,
    "width": 65_536,
    "embed_dim": 65_536,
    "image_size": 16_384,
    "context_length": 16_384,
    "vocab_size": 10_000_000,
    "attn_pooler_queries": 65_536,
}
_MOST_TEXT = 4 << 20  # bytes of a configuration
_PLAIN = re.compile(r"[\w-]+(\.[\w-]+)*")
_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# What OpenCLIP's own configurations set, and what its tokenizers do with text alone.
_TOKENIZER: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "clean": (
        "lower, whitespace or canonicalize",
        lambda value: value in ("lower", "whitespace", "canonicalize"),
    ),
    "strip_sep_token": ("true or false", lambda value: isinstance(value, bool)),
    "language": (
        "the name of a language",
        lambda value: isinstance(value, str) and bool(_PLAIN.fullmatch(value)),
    ),
}
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
