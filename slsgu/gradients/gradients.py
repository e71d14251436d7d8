"""The gradient cache: what one pass found, with everything needed to know if it may be reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from slsgu.errors import ArtifactError
from slsgu.models.layers import Layer
from slsgu.utils.artifact import read_artifact, write_artifact

SCHEMA = 1
KIND = "slsgu-gradients"
SIGN = "gradient of the loss itself; forgetting is weights + step * gradient"


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
        header, tensors = read_artifact(path, kind=KIND, schema=SCHEMA, what="gradient cache")
        parts: dict[str, dict[str, Tensor]] = {"forget": {}, "retain": {}}
        for name, tensor in tensors.items():
            part, _, layer = name.partition("/")
            parts.setdefault(part, {})[layer] = tensor
        try:
            found = cls(
                parts["forget"],
                parts["retain"],
                header["weight_norms"],
                header["losses"],
                header["counts"],
                header["key"],
                header["info"],
            )
            if header["sign"] != SIGN or not found._agrees():
                raise ArtifactError(f"gradient cache is damaged: {path} disagrees with itself")
        except KeyError as error:
            raise ArtifactError(f"gradient cache is damaged: {path} lacks {error}") from None
        except (TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(f"gradient cache is damaged: {path} ({error})") from None
        return found

    def _agrees(self) -> bool:
        """Whether the parts speak of the same layers, and everything that is read is there."""
        shapes = {layer.name: layer.shape for layer in self.layers}
        found = [{k: tuple(t.shape) for k, t in d.items()} for d in (self.forget, self.retain)]
        concepts = self.key["request"]["concepts"]
        lists = (concepts, self.info["pixel_hashes"], self.info["skipped"], self.info["overlaps"])
        return (
            bool(shapes)
            and all(shapes == part for part in found)
            and self.weight_norms.keys() == shapes.keys()
            and all(isinstance(value, list) for value in lists)
            and all(isinstance(concept, str) for concept in (*concepts, self.info["title"]))
            and {"forget", "retain"} <= self.losses.keys() & self.counts.keys()
        )
