"""A model that reads each photograph once: what comes before its last projection is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image
from torch import Tensor, nn

import slsgu
import slsgu.audit.points as audit_points
import slsgu.evaluation.replay as replay
import slsgu.evaluation.streamed_tower as streamed_tower
from slsgu.data.images import pixel_hash, read_image
from slsgu.models.layers import Tower, stages

ENDINGS = (".jpg", ".jpeg", ".png")
AT_ONCE = 16  # pictures in one pass


@dataclass
class Pooled:
    """What comes before the last projection, once for each picture: a preprocessing that gives
    features [i, 1, 1] in place of pixels."""

    clip: slsgu.Clip
    features: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, image: Image.Image) -> Tensor:
        key = pixel_hash(image)
        if key not in self.features:
            self.add([image])
        return self.features[key]

    def add(self, images: Sequence[Image.Image]) -> None:
        """Features of some pictures, in one pass."""
        preprocess: Any = self.clip.preprocess
        trunk: Any = self.clip.model.get_submodule("visual").get_submodule("trunk")
        with torch.no_grad():
            rows = trunk(torch.stack([preprocess(image) for image in images]))
        for image, row in zip(images, rows, strict=True):
            self.features[pixel_hash(image)] = row[:, None, None]

    def read(self, folder: Path) -> None:
        """Features of every picture below a folder."""
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        for start in range(0, len(files), AT_ONCE):
            self.add([read_image(path) for path in files[start : start + AT_ONCE]])
        click.echo(f"{folder}: {len(files)} photographs", err=True)


@dataclass(frozen=True)
class Remembering(slsgu.Clip):
    """A model that encodes each text once. Nothing here moves the text tower."""

    texts: dict[str, Tensor] = field(default_factory=dict)

    def text_features(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        new = [text for text in dict.fromkeys(texts) if text not in self.texts]
        if new:
            with torch.no_grad():
                rows = super().text_features(new, batch_size=batch_size)
            self.texts.update(zip(new, rows, strict=True))
        return torch.stack([self.texts[text] for text in texts])


def _stages(model: nn.Module, tower: Tower) -> list[nn.Module]:
    """No stage of the image tower: `trunk` is not run."""
    return [] if tower == "vision" else stages(model, tower)


def with_pooled_features(clip: slsgu.Clip, folders: Sequence[Path]) -> slsgu.Clip:
    """The same model, on features instead of pixels. Its image tower is never cut between two
    stages, since features come from behind all of them."""
    pooled = Pooled(replace(clip))
    for folder in folders:
        pooled.read(folder)
    trunk: Any = clip.model.get_submodule("visual").get_submodule("trunk")
    whole = trunk.forward
    trunk.forward = lambda pixels: pixels.flatten(1) if pixels.shape[1] != 3 else whole(pixels)
    for module in (replay, streamed_tower, audit_points):
        module.stages = _stages
    values = {each.name: getattr(clip, each.name) for each in fields(clip)}
    return Remembering(**{**values, "preprocess": pooled})
