"""`transformers:FOLDER`: a `CLIPModel` that transformers saved, as a model of OpenCLIP.

The configuration is translated, the weights are renamed, and what OpenCLIP would compute in
another way is refused. Nothing in the folder is run; transformers need not be installed.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from slsgu.errors import ModelError, SlsguWarning
from slsgu.models.config import check_config
from slsgu.models.transformers_names import leftovers, to_openclip
from slsgu.models.transformers_weights import CONFIG, find_weights, read_json
from slsgu.utils.reading import read_text
from slsgu.utils.schema import is_number
from slsgu.utils.wording import printable

PREFIX = "transformers:"
PREPROCESSOR = "preprocessor_config.json"
ACTIVATIONS = ("quick_gelu", "gelu")
# Pillow's numbers for ways to resize, as a preprocessor's configuration has them.
_RESAMPLE = {2: "bilinear", 3: "bicubic"}
_EPS = 1e-5
_LEGACY_EOS = 2  # of configurations before a correction; transformers takes the highest id then
_VOCABULARY_LIMIT = 16 << 20  # bytes
_SPECIAL = 2  # the ends of a text, which the two libraries spell differently


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder, by OpenCLIP's names, as they are stored.

    Raises:
        ModelError: they cannot be read, or are no CLIP model's.
    """
    weights = find_weights(folder)
    unknown = leftovers(weights.files)
    if unknown:
        listed = ", ".join(printable(name) for name in unknown[:4])
        raise ModelError(
            f"{folder} holds {len(unknown)} tensors that no CLIP model of OpenCLIP has: {listed}"
        )
    return to_openclip(weights.read(weights.files))


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenCLIP's configurations of the model and of how images are prepared.

    Raises:
        ModelError: OpenCLIP would compute something else than transformers does.
    """
    model_cfg = model_config(folder)
    preprocess_cfg = preprocess_config(folder, model_cfg["vision_cfg"]["image_size"])
    check_config(model_cfg, preprocess_cfg, folder / CONFIG)
    find_weights(folder)  # now, so that a folder without weights fails early
    check_tokenizer(folder)
    return model_cfg, preprocess_cfg


def model_config(folder: Path) -> dict[str, Any]:
    """OpenCLIP's configuration of a saved `CLIPModel`.

    Raises:
        ModelError: it is another model, or computes something that OpenCLIP does not.
    """
    if not folder.is_dir():
        raise ModelError(f"no such folder: {folder}")
    path = folder / CONFIG
    if not path.is_file():
        what = "a whole pipeline; its parts lie in folders of their own"
        hint = f" ({what})" if (folder / "model_index.json").is_file() else ""
        raise ModelError(f"{folder} is not a folder that transformers saved{hint}: no {CONFIG}")
    config = read_json(path, "model configuration")
    kind = config.get("model_type")
    if kind != "clip":
        towers = {"clip_text_model": "text", "clip_vision_model": "vision"}
        why = (
            f"it is the {towers[str(kind)]} tower alone, and to find out what CLIP knows takes "
            "both. Make the patch with the whole model, then apply it here: slsgu patch apply"
            if str(kind) in towers
            else f"it is a {printable(str(kind))} model, and only CLIP (`CLIPModel`) can be loaded"
        )
        raise ModelError(f"{folder}: {why}")
    config |= {key: _part(config, key, path) for key in ("text_config", "vision_config")}
    text, vision = config["text_config"], config["vision_config"]
    if vision.get("num_channels", 3) != 3:
        raise ModelError(f"{path}: num_channels is {_shown(vision['num_channels'])}; it must be 3")
    activation = activation_of(config, path)
    width, heads = _whole(vision, "hidden_size", 768, path), _heads(vision, 12, path)
    size = _whole(vision, "image_size", 224, path)
    return {
        "embed_dim": _whole(config, "projection_dim", 512, path),
        **({"quick_gelu": True} if activation == "quick_gelu" else {}),
        "vision_cfg": {
            "image_size": size,
            "patch_size": _whole(vision, "patch_size", 32, path),
            "layers": _whole(vision, "num_hidden_layers", 12, path),
            "width": width,
            "head_width": width // heads,
            "mlp_ratio": _whole(vision, "intermediate_size", 3072, path) / width,
            **_norms(vision, path),
        },
        "text_cfg": _text_config(text, path),
    }


def activation_of(config: dict[str, Any], path: Path | str) -> str:
    """The activation of a model of CLIP: `quick_gelu` or `gelu`.

    Args:
        config: of both towers, or of one.
        path: where it stands, for messages.

    Raises:
        ModelError: it is another one, or that of one tower is not that of the other.
    """
    towers = [config[key] for key in ("text_config", "vision_config") if key in config]
    found = {str(tower.get("hidden_act", "quick_gelu")) for tower in towers or [config]}
    if len(found) > 1 or not found <= set(ACTIVATIONS):
        listed = " and ".join(printable(each) for each in sorted(found))
        raise ModelError(
            f"{path}: hidden_act is {listed}; OpenCLIP computes quick_gelu or gelu, the same in "
            "both towers"
        )
    return found.pop()


def preprocess_config(folder: Path, size: int) -> dict[str, Any]:
    """How OpenCLIP prepares images as the folder's preprocessor would.

    Args:
        size: pixels on a side of an image that the model takes.

    Raises:
        ModelError: it does something that OpenCLIP does not.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        warnings.warn(
            f"{folder} has no {PREPROCESSOR}: images are prepared as OpenAI's CLIP does",
            SlsguWarning,
            stacklevel=2,
        )
        return {}
    config = read_json(path, "preprocessor configuration")
    off = [key for key in ("do_resize", "do_normalize", "do_rescale") if config.get(key) is False]
    if off:
        raise ModelError(f"{path}: {off[0]} is false; OpenCLIP resizes and normalises every image")
    factor = config.get("rescale_factor") or 1 / 255
    if not (is_number(factor) and math.isclose(factor, 1 / 255, rel_tol=1e-3)):
        raise ModelError(f"{path}: rescale_factor is {_shown(factor)}; it must be 1/255")
    resample = config.get("resample", 3)
    if not is_number(resample) or resample not in _RESAMPLE:
        raise ModelError(
            f"{path}: resample is {_shown(resample)}; it must be 2 (bilinear) or 3 (bicubic)"
        )
    resized, cropped = config.get("size", size), config.get("crop_size", size)
    shortest = not isinstance(resized, dict) or "shortest_edge" in resized
    sides = [*_sides(resized), *(_sides(cropped) if shortest else ())]
    wrong = not sides or any(side != size for side in sides)
    if wrong or (shortest and config.get("do_center_crop") is False):
        raise ModelError(
            f"{path} does not make images of {size} x {size} pixels, which the model takes: size "
            f"is {_shown(resized)}, crop_size {_shown(cropped)}"
        )
    found = {"interpolation": _RESAMPLE[resample], "resize_mode": _MODES[shortest]}
    names = {"image_mean": "mean", "image_std": "std"}
    return found | {ours: config[key] for key, ours in names.items() if key in config}


_MODES = {True: "shortest", False: "squash"}


def check_tokenizer(folder: Path) -> None:
    """Refuse a folder whose tokenizer is not that of CLIP, with which OpenCLIP reads texts.

    The whole vocabulary and every merge are compared, as files; a folder without any is believed.

    Raises:
        ModelError: a token has another number, or tokens are merged in another order.
    """
    vocabulary, merges = _tokenizer_files(folder)
    own = open_clip.SimpleTokenizer()
    if vocabulary is not None:
        plain = dict(list(own.encoder.items())[:-_SPECIAL])
        differ = next((t for t, number in plain.items() if vocabulary.get(t) != number), None)
        if differ is not None:
            raise ModelError(
                f"the tokenizer of {folder} is not that of CLIP: {printable(repr(differ))} has "
                f"the number {vocabulary.get(differ)}, and {plain[differ]} in CLIP"
            )
        ends = [own.sot_token_id, own.eot_token_id]
        theirs = [vocabulary.get(t, n) for t, n in zip(_ENDS, ends, strict=True)]
        if theirs != ends:
            raise ModelError(
                f"the tokenizer of {folder} is not that of CLIP: its texts begin and end with "
                f"{theirs}, and with {ends} in CLIP"
            )
    if merges is not None and merges != list(own.bpe_ranks):
        raise ModelError(
            f"the tokenizer of {folder} is not that of CLIP: it merges letters in another order"
        )


_ENDS = ("<|startoftext|>", "<|endoftext|>")


def _tokenizer_files(folder: Path) -> tuple[dict[str, int] | None, list[tuple[str, ...]] | None]:
    """Vocabulary and merges, as far as a folder has them."""
    one = folder / "tokenizer.json"
    if one.is_file():
        model = read_json(one, "tokenizer", limit=_VOCABULARY_LIMIT).get("model")
        if isinstance(model, dict) and isinstance(model.get("vocab"), dict):
            lines = model.get("merges", [])
            if not isinstance(lines, list) or not all(isinstance(x, str | list) for x in lines):
                raise ModelError(f"{one} is not a tokenizer: its merges are no list of pairs")
            pairs = [tuple(x.split()) if isinstance(x, str) else tuple(x) for x in lines]
            return model["vocab"], pairs
    vocabulary: dict[str, int] | None = None
    merges: list[tuple[str, ...]] | None = None
    if (folder / "vocab.json").is_file():
        vocabulary = read_json(folder / "vocab.json", "vocabulary", limit=_VOCABULARY_LIMIT)
    if (path := folder / "merges.txt").is_file():
        text = read_text(path, "list of merges", limit=_VOCABULARY_LIMIT, error=ModelError)
        lines = [line for line in text.split("\n") if line.strip()]
        merges = [tuple(x.split()) for x in lines if not x.startswith("#version")]
    return vocabulary, merges


def _text_config(text: dict[str, Any], path: Path) -> dict[str, Any]:
    width = _whole(text, "hidden_size", 512, path)
    vocabulary = _whole(text, "vocab_size", 49408, path)
    ends = open_clip.SimpleTokenizer().eot_token_id
    if vocabulary <= ends:
        raise ModelError(
            f"{path}: vocab_size is {vocabulary}, and the tokenizer of CLIP has {ends + 1} tokens"
        )
    end = text.get("eos_token_id", ends)
    if end not in (_LEGACY_EOS, ends):
        raise ModelError(
            f"{path}: eos_token_id is {_shown(end)}; texts of CLIP end with {ends}, and OpenCLIP "
            "reads their embeddings there"
        )
    return {
        "context_length": _whole(text, "max_position_embeddings", 77, path),
        "vocab_size": vocabulary,
        "width": width,
        "heads": _heads(text, 8, path),
        "layers": _whole(text, "num_hidden_layers", 12, path),
        "mlp_ratio": _whole(text, "intermediate_size", 2048, path) / width,
        **_norms(text, path),
    }


def _part(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """The configuration of a tower. Old ones say it twice, and `_dict` counts."""
    parts = [config.get(name) or {} for name in (key, f"{key}_dict")]
    if not all(isinstance(part, dict) for part in parts):
        raise ModelError(f"{path}: {key} must be an object")
    return {**parts[0], **parts[1]}


def _whole(part: dict[str, Any], key: str, default: int, path: Path) -> int:
    """A size; what a configuration leaves out has the value that transformers gives it."""
    value = part.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{path}: {key} is {_shown(value)}; it must be a whole number")
    return value


def _heads(part: dict[str, Any], default: int, path: Path) -> int:
    heads, width = _whole(part, "num_attention_heads", default, path), part.get("hidden_size", 0)
    if width and width % heads:
        raise ModelError(f"{path}: {heads} attention heads do not divide {width}")
    return heads


def _norms(part: dict[str, Any], path: Path) -> dict[str, Any]:
    eps = part.get("layer_norm_eps", _EPS)
    if not is_number(eps) or eps < 0:
        raise ModelError(f"{path}: layer_norm_eps is {_shown(eps)}; it must be a number from 0 on")
    return {} if eps == _EPS else {"norm_kwargs": {"eps": eps}}


def _sides(size: Any) -> list[Any]:
    return list(size.values()) if isinstance(size, dict) else [size]


def _shown(value: Any) -> str:
    return printable(repr(value))
