"""A patched model as an OpenCLIP `local-dir`, whatever form the model had."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_clip

from slsgu.errors import ModelError
from slsgu.models.build import refuse_misfit
from slsgu.models.checkpoint import CONFIG_NAME, SUFFIXES, WEIGHTS_NAME
from slsgu.models.local_dir import copy_others, refuse_inside
from slsgu.models.resolve import LOCAL, ModelSpec, local_folder, own_folder, resolve
from slsgu.patch.rewrite import Change, changed_tensors, changed_weights
from slsgu.utils.files import replacing_folder

CARD, BASE_CARD = "README.md", "BASE_README.md"


def find_model(
    model: str,
    pretrained: str | None,
    *,
    quick_gelu: bool | None = None,
    made_for: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Where a model is, with its architecture, activation and preprocessing.

    Args:
        model: a folder, with or without `local-dir:`; a checkpoint file; or whatever `slsgu.load`
            takes.
        pretrained: as for `slsgu.load`.
        quick_gelu: the activation, where the user knows better than the configuration.
        made_for: `model` of a patch's metadata, which says what a bare file holds.

    Raises:
        ModelError: it cannot be found, or it is a file that nobody says the architecture of.
    """
    place = own_folder(model) or Path(model).expanduser()
    if pretrained is None and place.is_dir():
        return resolve(f"{LOCAL}{place}", None, cache_dir=None, quick_gelu=quick_gelu)
    if pretrained is not None or place.suffix not in SUFFIXES:
        return resolve(model, pretrained, cache_dir=None, quick_gelu=quick_gelu)
    name = str((made_for or {}).get("name"))
    if name.replace("/", "-") not in open_clip.list_models():
        raise ModelError(
            f"{model} is a file of weights, which does not say its architecture, and neither does "
            f"the patch. Name it: slsgu patch apply PATCH ARCHITECTURE --pretrained {model}"
        )
    found = resolve(name, str(place), cache_dir=None, quick_gelu=quick_gelu)
    tag = open_clip.get_pretrained_cfg(name.replace("/", "-"), str((made_for or {})["pretrained"]))
    preprocess = {key: tag[key] for key in _PREPROCESS if key in tag}  # of the tag it came from
    return ModelSpec(found.model_cfg, preprocess, found.weights, found.tokenizer)


_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def changed_model(spec: ModelSpec, change: Change) -> Callable[[Path], None]:
    """A model with its tensors changed, as what writes them to a path, whose suffix chooses the
    format.

    Raises:
        ModelError: the weights cannot be read, or those of a checkpoint file are of another
            architecture.
        SlsguError: no bit would change.
    """
    if spec.tensors is None:
        weights = spec.weights()
        refuse_misfit(spec, weights)
        return changed_weights(weights, change)
    return changed_tensors(spec.tensors(), change, spec.weights())


def export_local_dir(
    spec: ModelSpec, out: Path, change: Change, texts: Mapping[str, str]
) -> list[str]:
    """Write a model, changed, as an OpenCLIP `local-dir`.

    Args:
        spec: the model. The other files of a `local-dir` are copied, but for weights.
        out: must not exist yet.
        change: for example `Patch.apply_to`.
        texts: further files by name. A `README.md` of the model becomes `BASE_README.md` beside
            one of these.

    Returns:
        Names of what was not copied, since it may hold weights.

    Raises:
        ModelError: the weights cannot be read, or are of another architecture.
        SlsguError: `out` exists, or cannot be written; or no bit would change.
    """
    weights, write = spec.weights(), changed_model(spec, change)
    folder = local_folder(spec.tokenizer)
    refuse_inside(out, folder, "an --out")
    left_out: list[str] = []
    with replacing_folder(out) as part:
        if folder is not None:
            left_out = copy_others(folder, part, weights.name)
            if CARD in texts and (part / CARD).exists():
                (part / CARD).replace(part / BASE_CARD)
        elif spec.model_cfg["text_cfg"].get("hf_tokenizer_name"):
            # A local-dir must bring its own.
            open_clip.get_tokenizer(spec.tokenizer, trust_remote_code=False).save_pretrained(part)
        config = {"model_cfg": spec.model_cfg, "preprocess_cfg": spec.preprocess_cfg}
        if folder is None or not _says(folder, spec):
            text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
            (part / CONFIG_NAME).write_text(text, encoding="utf-8")
        write(part / WEIGHTS_NAME)
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
    return left_out


def _says(folder: Path, spec: ModelSpec) -> bool:
    """Whether the folder's own configuration is that of the model: an option may differ."""
    return resolve(f"{LOCAL}{folder}", None, cache_dir=None, quick_gelu=None).model_cfg == (
        spec.model_cfg
    )
