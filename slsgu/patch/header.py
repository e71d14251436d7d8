"""The metadata of a patch: what readers rely on, and what scaling does to it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from slsgu.errors import LayerMismatchError, SlsguWarning
from slsgu.models.tensors import state_sha256
from slsgu.utils.schema import (
    Check,
    MisfitError,
    flag,
    list_of,
    map_of,
    nothing,
    number,
    or_none,
    record,
    text,
    whole,
)

_FIGURES = map_of(or_none(number))


def _test(value: Any, key: str) -> None:
    """What a patch did on the test split: each figure before has one after."""
    record(
        {},
        {
            "before": _FIGURES,
            "after": _FIGURES,
            "quality": or_none(number),
            "utility": or_none(number),
            "q_u": or_none(number),
        },
    )(value, key)
    before, after = value.get("before", {}), value.get("after", {})
    if before.keys() != after.keys():
        raise MisfitError(f"{key} has other figures before than after")


_TEXTS = (
    "version", "method", "forget_loss", "direction", "search", "goal", "gradients", "data", "tower",
    "merge_onto",
)  # fmt: skip
_NUMBERS = (
    "step_size", "relative_step", "merge", "scale", "dial", "damping", "rank", "towards_all"
)  # fmt: skip
_PART: dict[str, Check] = {
    **dict.fromkeys(_TEXTS, text),
    **dict.fromkeys(_NUMBERS, number),
    "model": record(
        {}, {"name": text, "pretrained": or_none(text), "sha256": text, "activation": text}
    ),
    "request": record(
        {},
        {
            "concepts": list_of(text),
            "paths": list_of(text),
            "forget_leaves": list_of(text),
            "taxonomy": text,
            "taxonomy_sha256": text,
            "named": flag,
        },
    ),
    "templates": list_of(text),
    "seed": whole,
    "test": _test,
    "command": or_none(text),
    "asked_by": text,
    "reason": text,
    "success": flag,
    "unnamed": number,
    "without_images": flag,
}
HEADER = record(
    {"layers": map_of(text)},
    {**_PART, "sum_of": list_of(record({}, {**_PART, "sum_of": nothing}))},
)
"""What a patch says of itself, as far as it says it."""


def scaled(metadata: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Metadata of a scaled patch: each part of a sum is scaled."""
    if "sum_of" in metadata:
        return {**metadata, "sum_of": [scaled(part, factor) for part in metadata["sum_of"]]}
    return {**metadata, "scale": float(metadata.get("scale", 1.0)) * factor}


def with_images(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The parts of a patch that images were used for, be it only to accept an edit that was made
    from texts.

    >>> with_images([{"without_images": True}, {"without_images": True, "data": "5c"}, {}])
    [{'without_images': True, 'data': '5c'}, {}]
    """
    return [part for part in parts if not part.get("without_images") or "data" in part]


def made_from_texts(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no image went into an edit, in any of its parts.

    >>> made_from_texts([{"without_images": True, "data": "5c"}]), made_from_texts([{}])
    (True, False)
    """
    return all(part.get("without_images") for part in parts)


def model_names(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that the parts of a patch were made for, as people know them, each once.

    >>> model_names([{"model": {"name": "ViT-B-32", "pretrained": "openai"}}, {}])
    ['ViT-B-32 openai']
    """
    models = [part.get("model", {}) for part in parts]
    names = (" ".join(str(m[key]) for key in ("name", "pretrained") if m.get(key)) for m in models)
    return list(dict.fromkeys(filter(None, names)))


def foreign(name: str, found: Tensor, wanted: Tensor, hashes: Sequence[str], made_for: str) -> str:
    """Why a layer of a model is refused: first what its reader can do about it.

    Args:
        wanted: the layer that the patch was made for.
        hashes: of the two.
        made_for: the model that the patch was made for, in words; empty if it is not known.
    """
    layer = f"{name} {tuple(found.shape)}"
    if found.shape != wanted.shape:
        shape = tuple(wanted.shape)
        return f"the patch was not made for this model{made_for}: {layer} has not the shape {shape}"
    for dtype in (torch.float16, torch.bfloat16):
        if torch.equal(found.detach().cpu().float(), wanted.cpu().to(dtype).float()):
            return (
                f"{layer} is the layer that the patch was made for, rounded to "
                f"{str(dtype).removeprefix('torch.')}: apply the patch to a copy of the model in "
                "the precision that it was made from. (A folder of transformers is patched in its "
                "own precision without --to)"
            )
    return (
        f"{layer} has other weights than those that the patch expects. If another patch changed "
        "this layer, add the two and apply the sum to the original model: `slsgu patch merge A B "
        f"--out C`. If none did, the patch was not made for this model{made_for} (found "
        f"{hashes[0][:12]}, made for {hashes[1][:12]})"
    )


def refuse_activation(
    parts: Sequence[Mapping[str, Any]], activation: str, title: str, way_out: str
) -> None:
    """Refuse a model that computes in another way than the one that a patch was made for.

    Args:
        parts: of the patch. One that does not say what its model computes is believed.
        activation: of the model, `quick_gelu` or `gelu`.
        title: which model it is, for the message.
        way_out: what to do if its configuration is wrong.

    Raises:
        LayerMismatchError: they differ.
    """
    for part in parts:
        made = part.get("model", {}).get("activation")
        if made not in (None, activation):
            model = " ".join(model_names([part])) or "the model it was made for"
            raise LayerMismatchError(
                f"{title} computes {activation}, and {model} computes {made}, so the patch was not "
                f"made for this model. {way_out}"
            )


def warn_of_difference(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Warn where a model is not the one that a patch was made from.

    Args:
        metadata: of the patch. One that does not say which model it was is believed.
        tensors: the state dict of the model.
    """
    parts = metadata.get("sum_of", [metadata])
    models = {sha for part in parts if (sha := part.get("model", {}).get("sha256"))}
    if len(models) != 1 or (digest := state_sha256(tensors)) in models:
        return
    warnings.warn(
        "the layers of the patch are as they were, but the whole file does not equal the original "
        f"model (its weights are {digest[:12]}, the patch was made from {models.pop()[:12]}): "
        "another tensor differs, or the file names its tensors in another way than OpenCLIP. "
        "Compare it with a copy of the original",
        SlsguWarning,
        stacklevel=4,
    )
