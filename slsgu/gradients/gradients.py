"""The gradient cache: what one pass found, with everything needed to know if it may be reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slsgu.errors import ArtifactError
from slsgu.models.layers import Layer
from slsgu.utils.artifact import read_artifact, write_artifact
from slsgu.utils.schema import (
    count,
    flag,
    list_of,
    map_of,
    number,
    one_of,
    or_none,
    record,
    text,
)

SCHEMA = 1
KIND = "slsgu-gradients"
SIGN = "gradient of the loss itself; forgetting is weights + step * gradient"

SKIPPED = list_of(list_of(text, length=2))  # name, reason
OVERLAPS = list_of(list_of(text, length=3))  # name, split, the other split
_LAYER = record(
    {
        "name": text,
        "tower": one_of("vision", "language"),
        "kind": one_of("matrix", "norm"),
        "shape": list_of(count),
        "block": or_none(count),
    },
    {"last": flag},
    closed=True,
)
HEADER = record(
    {
        "sign": one_of(SIGN),
        "weight_norms": map_of(number),
        "losses": record({"forget": number, "retain": number}),
        "counts": record({"forget": count, "retain": count}),
        "key": record({"request": record({"concepts": list_of(text)})}, {"image_count": count}),
        "info": record(
            {
                "title": text,
                "layers": list_of(_LAYER),
                "pixel_hashes": list_of(text),
                "skipped": SKIPPED,
                "overlaps": OVERLAPS,
            }
        ),
    }
)


@dataclass(frozen=True, eq=False)
class Gradients:
    """Mean gradients in fp32 on the CPU, and what made them.

    Attributes:
        forget: gradient of the forget loss by layer name.
        retain: gradient of the retain loss by layer name.
        weight_norms: l2 norm of each layer's weights.
        losses: mean `forget` and `retain` loss.
        counts: number of `forget` and `retain` images.
        key: everything that decides whether this cache may be reused (JSON values).
        info: what else made it, for people: seconds, pixel hashes, skipped files, overlaps, layers.
    """

    forget: Mapping[str, Tensor]
    retain: Mapping[str, Tensor]
    weight_norms: Mapping[str, float]
    losses: Mapping[str, float]
    counts: Mapping[str, int]
    key: Mapping[str, Any]
    info: Mapping[str, Any]

    @property
    def layers(self) -> list[Layer]:
        """The layers the gradients are of, as they were found in the model."""
        return [Layer(**{**entry, "shape": tuple(entry["shape"])}) for entry in self.info["layers"]]

    def save(self, path: Path) -> None:
        """Write the cache, whole or not at all."""
        tensors = {f"forget/{name}": tensor for name, tensor in self.forget.items()}
        tensors |= {f"retain/{name}": tensor for name, tensor in self.retain.items()}
        header = {
            "sign": SIGN,
            "weight_norms": dict(self.weight_norms),
            "losses": dict(self.losses),
            "counts": dict(self.counts),
            "key": dict(self.key),
            "info": dict(self.info),
        }
        write_artifact(path, tensors, kind=KIND, schema=SCHEMA, header=header)

    @classmethod
    def load(cls, path: Path) -> Gradients:
        """Read a cache.

        Raises:
            ArtifactError: missing, damaged, foreign, or of a newer format.
        """
        header, tensors = read_artifact(
            path, kind=KIND, schema=SCHEMA, what="gradient cache", holds=HEADER
        )
        parts: dict[str, dict[str, Tensor]] = {"forget": {}, "retain": {}}
        for name, tensor in tensors.items():
            part, _, layer = name.partition("/")
            parts.setdefault(part, {})[layer] = tensor
        gradients = cls(
            parts.pop("forget"),
            parts.pop("retain"),
            header["weight_norms"],
            header["losses"],
            header["counts"],
            header["key"],
            header["info"],
        )
        if parts or not gradients._agrees():
            raise ArtifactError(
                f"gradient cache is damaged: {path} disagrees with itself about which layers it "
                "is of"
            )
        return gradients

    def _agrees(self) -> bool:
        """Whether the parts speak of the same layers, in fp32."""
        shapes = {layer.name: layer.shape for layer in self.layers}
        parts = [{k: tuple(t.shape) for k, t in d.items()} for d in (self.forget, self.retain)]
        tensors = (*self.forget.values(), *self.retain.values())
        return (
            bool(shapes)
            and len(shapes) == len(self.info["layers"])
            and all(shapes == part for part in parts)
            and all(tensor.dtype == torch.float32 for tensor in tensors)
            and self.weight_norms.keys() == shapes.keys()
        )
