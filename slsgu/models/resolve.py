"""From what a user types to an architecture and a weights file, with every refusal on the way.

Specs: an OpenCLIP name with a tag or a checkpoint file, `local-dir:FOLDER`, `hf-hub:ORG/REPO`,
`transformers:FOLDER`, or the path of a JSON model configuration with a checkpoint file.
`imagenet-lite0`, which slsgu builds, is the folder that it was built in. What can be refused is
refused before anything is downloaded.
"""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from slsgu.errors import ModelError, SlsguWarning
from slsgu.models.checkpoint import CONFIG_NAME, SUFFIXES, weights_file
from slsgu.models.config import PREPROCESS_KEYS, read_config
from slsgu.models.transformers_folder import PREFIX, read_folder, read_tensors
from slsgu.photographs import NAME
from slsgu.utils.names import at_home, refuse_kind

LOCAL, HUB = "local-dir:", "hf-hub:"


@dataclass(frozen=True)
class ModelSpec:
    """Where a model comes from.

    Attributes:
        model_cfg: OpenCLIP's architecture configuration.
        preprocess_cfg: OpenCLIP's keys but the size, as far as the source says.
        weights: fetches (if need be) and returns the weights file.
        tokenizer: the name under which `open_clip.get_tokenizer` finds the tokenizer.
        tensors: reads the weights, by OpenCLIP's names, where they are not one file of its own;
            `weights` is then the folder that holds them.
    """

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    weights: Callable[[], Path]
    tokenizer: str
    tensors: Callable[[], dict[str, Tensor]] | None = None


def resolve(
    model: str, pretrained: str | None, *, cache_dir: str | None, quick_gelu: bool | None
) -> ModelSpec:
    """Find a model; refuse what cannot be loaded or would be loaded wrongly.

    Raises:
        ModelError: see the module's docstring; the message says what to do.
    """
    refuse_kind(model, str, "the model")
    refuse_kind(pretrained, (str, Path, type(None)), "the weights")
    pretrained = None if pretrained is None else str(pretrained)
    if model.startswith((LOCAL, HUB, PREFIX)):
        prefix = next(each for each in (LOCAL, HUB, PREFIX) if model.startswith(each))
        if pretrained is not None:
            raise ModelError(
                f"{model} brings its own weights: leave out --pretrained {pretrained}, or name an "
                "architecture instead"
            )
        if not model.removeprefix(prefix):
            raise ModelError(f"nothing after {prefix!r}: give a folder or a repository")
        if prefix == PREFIX:
            source = _transformers(model)
        else:
            source = _local(model) if prefix == LOCAL else _hub(model, cache_dir)
    elif model.endswith(".json"):
        source = _json(model, pretrained)
    else:
        source = _named(model, pretrained, cache_dir=cache_dir, quick_gelu=quick_gelu)
    _refuse_unsupported(model, source.model_cfg)
    if quick_gelu is not None:
        cfg = {key: value for key, value in source.model_cfg.items() if key != "quick_gelu"}
        source = replace(source, model_cfg={**cfg, "quick_gelu": True} if quick_gelu else cfg)
    return source


def local_folder(model: str) -> Path | None:
    """The folder of a `local-dir:` spec, None for any other."""
    if not model.startswith(LOCAL):
        return None
    return at_home(model.removeprefix(LOCAL)).resolve()


def own_folder(model: str) -> Path | None:
    """The folder of the model that slsgu builds itself, `imagenet-lite0`; None for any other.

    Raises:
        ModelError: it cannot be built, because the package with its image weights is not there.
    """
    if model != NAME:
        return None
    from slsgu.photographs.build import built

    return built()


# -- the forms of a spec ----------------------------------------------------------------------


def _local(model: str) -> ModelSpec:
    folder = at_home(model.removeprefix(LOCAL))
    if not os.path.isdir(folder):  # noqa: PTH112 - no error where the name is too long
        raise ModelError(f"no such folder: {folder} (from {model})")
    config = folder / CONFIG_NAME
    if not config.is_file():
        raise ModelError(
            f"{folder} is not an OpenCLIP local-dir: it has no {CONFIG_NAME} (model_cfg and "
            "preprocess_cfg). For bare weights give the architecture and the file: "
            "--model NAME --pretrained FILE"
        )
    model_cfg, preprocess_cfg = read_config(config)
    path = weights_file(folder)  # now, so that a folder without weights fails early
    return ModelSpec(model_cfg, preprocess_cfg, lambda: path, f"{LOCAL}{folder}")


def _transformers(model: str) -> ModelSpec:
    folder = Path(model.removeprefix(PREFIX)).expanduser()
    return ModelSpec(*read_folder(folder), lambda: folder, "", lambda: read_tensors(folder))


def _hub(model: str, cache_dir: str | None) -> ModelSpec:
    repo = model.removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ModelError(f"{model} does not name a repository: write {HUB}ORG/REPO")
    config = _download({"hf_hub": f"{repo}/{CONFIG_NAME}"}, model, cache_dir)
    model_cfg, preprocess_cfg = read_config(config)
    # The trailing slash asks for the default weights of the repository, safetensors first.
    fetch = {"hf_hub": f"{repo}/"}
    return ModelSpec(model_cfg, preprocess_cfg, lambda: _download(fetch, model, cache_dir), model)


def _json(model: str, pretrained: str | None) -> ModelSpec:
    config = at_home(model)
    if not config.is_file():
        raise ModelError(f"no such model configuration: {config}")
    model_cfg, preprocess_cfg = read_config(config)
    if pretrained is None:
        raise ModelError(_no_weights(model, []))
    if "hf_tokenizer_name" in model_cfg["text_cfg"]:
        raise ModelError(
            f"{config} wants a Hugging Face tokenizer, which only a local-dir can bring: put the "
            f"configuration, weights and tokenizer in one folder and use {LOCAL}FOLDER"
        )
    path = weights_file(at_home(pretrained))
    return ModelSpec(model_cfg, preprocess_cfg, lambda: path, "")


def _named(
    model: str, pretrained: str | None, *, cache_dir: str | None, quick_gelu: bool | None
) -> ModelSpec:
    name = model.replace("/", "-")  # as OpenCLIP does: ViT-B/32
    names = open_clip.list_models()
    if name not in names:
        raise ModelError(_unknown_name(model, names))
    model_cfg: dict[str, Any] = open_clip.get_model_config(name)
    _refuse_unsupported(name, model_cfg)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        raise ModelError(_no_weights(name, tags))
    tag_cfg: dict[str, Any] = open_clip.get_pretrained_cfg(name, pretrained)
    if tag_cfg:
        if quick_gelu is None:
            _check_activation(name, pretrained, model_cfg, tag_cfg)
        preprocess = {key: tag_cfg[key] for key in PREPROCESS_KEYS if key in tag_cfg}
        title = f"{name} {pretrained}"
        return ModelSpec(model_cfg, preprocess, lambda: _download(tag_cfg, title, cache_dir), name)
    path = at_home(pretrained)
    if not os.path.isfile(path):  # noqa: PTH113 - likewise
        raise ModelError(_unknown_tag(name, pretrained, tags))
    path = weights_file(path)
    if quick_gelu is None:
        _warn_activation(name, path, model_cfg, names)
    return ModelSpec(model_cfg, {}, lambda: path, name)


# -- refusals ---------------------------------------------------------------------------------


def _refuse_unsupported(name: str, cfg: dict[str, Any]) -> None:
    if "multimodal_cfg" in cfg:
        raise ModelError(
            f"{name} is a CoCa model, which slsgu does not support: it generates captions with a "
            "third tower. Use a CLIP architecture, for instance ViT-B-32"
        )
    if "hf_model_name" in cfg["text_cfg"]:
        raise ModelError(
            f"{name} has a Hugging Face text tower ({cfg['text_cfg']['hf_model_name']}), which "
            "slsgu does not support. Use an architecture with OpenCLIP's own text tower, for "
            "instance ViT-B-32"
        )


def _check_activation(
    name: str, tag: str, model_cfg: dict[str, Any], tag_cfg: dict[str, Any]
) -> None:
    trained = bool(tag_cfg.get("quick_gelu", False))
    if trained == bool(model_cfg.get("quick_gelu", False)):
        return
    twin = _twin(name)
    advice = f"use {twin} with {tag}" if twin in open_clip.list_models() else "no config has it"
    raise ModelError(
        f"{name} {tag} was trained with {'QuickGELU' if trained else 'GELU'}, but {name} computes "
        f"{'GELU' if trained else 'QuickGELU'}, which costs accuracy: {advice} "
        f"(or force it: quick_gelu={trained}, {'--quick-gelu' if trained else '--gelu'})"
    )


def _warn_activation(name: str, path: Path, cfg: dict[str, Any], names: list[str]) -> None:
    """A file does not carry its activation, so where two variants exist one may be wrong."""
    if _twin(name) not in names:
        return
    quick = bool(cfg.get("quick_gelu", False))
    warnings.warn(
        f"{path} does not say which activation it was trained with; {name} uses "
        f"{'QuickGELU' if quick else 'GELU'}. If that is wrong use {_twin(name)}; to silence this "
        f"pass {'--quick-gelu' if quick else '--gelu'}",
        SlsguWarning,
        stacklevel=5,
    )


def _twin(name: str) -> str:
    """The same architecture with the other activation."""
    plain = name.removesuffix("-quickgelu")
    return plain if plain != name else f"{name}-quickgelu"


# -- messages ---------------------------------------------------------------------------------


def _unknown_name(model: str, names: list[str]) -> str:
    path = at_home(model)
    if os.path.isdir(path):  # noqa: PTH112 - no error where the name is too long
        return f"{model} is a folder: write {LOCAL}{model}"
    if path.suffix in SUFFIXES:
        return (
            f"{model} is not an architecture. For a checkpoint file give both: "
            f"--model NAME --pretrained {model}"
        )
    return (
        f"unknown architecture {model!r}{_close(model, [*names, NAME])} "
        "(open_clip.list_models() has all names)"
    )


def _no_weights(name: str, tags: list[str]) -> str:
    listed = f"a tag ({', '.join(tags)}) or a checkpoint file" if tags else "a checkpoint file"
    return (
        f"{name} without weights would be random, and there is nothing to forget: give "
        f"--pretrained with {listed}"
    )


def _unknown_tag(name: str, pretrained: str, tags: list[str]) -> str:
    if Path(pretrained).suffix in SUFFIXES or "/" in pretrained:
        return f"no such checkpoint file: {pretrained}"
    listed = ", ".join(tags) or "none, it needs a checkpoint file"
    return (
        f"{name} has no tag {pretrained!r}, and there is no file of that name"
        f"{_close(pretrained, tags)} All its tags: {listed}"
    )


def _close(text: str, names: list[str]) -> str:
    by_folded = {name.casefold(): name for name in names}
    matches = difflib.get_close_matches(text.casefold(), by_folded, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(by_folded[name] for name in matches)}?" if matches else "."


# -- downloads ---------------------------------------------------------------------------------


def _download(cfg: dict[str, Any], title: str, cache_dir: str | None) -> Path:
    try:
        return Path(open_clip.download_pretrained(cfg, cache_dir=cache_dir))
    except Exception as error:
        # Whatever the client raises (no route, no such repository, a full disk), the way out is
        # the same, and its own first line says which it was.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            f"{title} could not be downloaded ({reason}). The first use needs the network. Without "
            "it, download the weights elsewhere and give the file (--model NAME --pretrained "
            f"FILE) or a folder ({LOCAL}FOLDER)"
        ) from error
