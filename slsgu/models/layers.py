"""Which layers of a CLIP model may be edited, and where they sit in the forward pass.

A layer is one named weight tensor, as in the paper. Layers are discovered from the parameters
and the module tree, because names differ between OpenCLIP's towers (ViT, ResNet, timm).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

Tower = Literal["vision", "language"]
Kind = Literal["matrix", "norm"]

# Parameters that name a token or a place rather than map features: an embedding table is not a
# layer. Learnt queries of attention pools ("latent", "query") are embeddings of no input at all.
_EMBEDDINGS = frozenset({
    "positional_embedding", "class_embedding", "token_embedding", "pos_embed", "pos_embed_win",
    "cls_token", "reg_token", "dist_token", "cls_emb", "latent", "query", "queries", "absolute_pos",
})  # fmt: skip
# Modules whose every parameter encodes position.
_POSITION_MODULES = frozenset({"pos_embed", "rel_pos", "shared_rel_pos", "rope", "cpb_mlp"})
# Raw parameters that OpenCLIP multiplies by after the last stage. Other raw parameters outside
# the stages count as "before the first", which is always safe: it re-runs the whole tower.
_OUTPUT_PARAMETERS = frozenset({"proj", "text_projection"})
_LINEAR = (nn.Linear, nn.modules.conv._ConvNd)


@dataclass(frozen=True)
class Layer:
    """One weight tensor that may be edited.

    Attributes:
        name: its name in the model's state dict.
        tower: `vision` for `visual.*`, otherwise `language`.
        kind: `matrix` (linear maps, convolutions, projections) or `norm` (gains of normalisation
            layers and layer scales).
        shape: the tensor's shape.
        block: index into `stages(model, tower)` of the stage that holds it; None if it comes
            before the first stage (or the tower has no stages); `len(stages)` if it comes after
            the last. An edit of this layer leaves the input of stage `block` as it was.
        last: whether it comes after the last stage.
    """

    name: str
    tower: Tower
    kind: Kind
    shape: tuple[int, ...]
    block: int | None
    last: bool = False


def inventory(model: nn.Module, *, norms: bool = False) -> list[Layer]:
    """The layers of both towers, in the order of `named_parameters()`.

    Left out: biases, embeddings of tokens, classes and positions, logit scale and bias, and,
    unless asked for, gains.

    Args:
        model: an OpenCLIP `CLIP` or `CustomTextCLIP`.
        norms: include gains (kind `norm`), as the paper's published layer set does.

    >>> from open_clip import CLIP
    >>> tiny = CLIP(8, dict(layers=1, width=8, head_width=8, patch_size=16, image_size=16),
    ...             dict(layers=1, width=8, heads=1, vocab_size=9, context_length=4))
    >>> [layer.name for layer in inventory(tiny) if layer.tower == "vision"][:2]
    ['visual.proj', 'visual.conv1.weight']
    """
    owners = {
        f"{path}.{name}" if path else name: (path, module, name)
        for path, module in model.named_modules()
        for name in module._parameters
    }
    orders = {tower: _Order(model, tower) for tower in ("vision", "language")}
    layers = []
    for full_name, parameter in model.named_parameters():
        path, module, name = owners[full_name]
        shape = tuple(parameter.shape)
        kind = _kind(path, module, name, shape)
        if kind is None or (kind == "norm" and not norms):
            continue
        tower: Tower = "vision" if full_name.startswith("visual.") else "language"
        block = orders[tower].block(full_name)
        last = block is not None and block == len(orders[tower].paths)
        layers.append(Layer(full_name, tower, kind, shape, block, last))
    return layers


def stages(model: nn.Module, tower: Tower) -> list[nn.Module]:
    """The sequential stages of a tower, in execution order.

    The output of each stage is the first positional argument of the next and nothing else passes
    between them, so the suffix of a tower can be run again from the input of any stage. (Further
    arguments, such as an attention mask or rotary positions, do not depend on earlier stages.)

    Returns:
        Transformer blocks (ViT, text), `layer1` to `layer4` (ModifiedResNet), `blocks`, `stages`
        or `layers` of a timm trunk. Empty where the tower has no such structure.
    """
    return [module for _, module in _named_stages(model, tower)]


def linear_maps(model: nn.Module) -> list[nn.Module]:
    """Convolutions and linear maps of both towers, wherever they are."""
    return [module for module in model.modules() if isinstance(module, _LINEAR)]


def _named_stages(model: nn.Module, tower: Tower) -> list[tuple[str, nn.Module]]:
    if tower == "language":
        prefix = "text." if hasattr(model, "text") else ""
        return _children(model, f"{prefix}transformer.resblocks")
    visual = model.get_submodule("visual")
    resnet = [f"visual.layer{i}" for i in range(1, 5)]
    if all(hasattr(visual, name.removeprefix("visual.")) for name in resnet):
        return [(name, model.get_submodule(name)) for name in resnet]
    containers = ("transformer.resblocks", "trunk.blocks", "trunk.stages", "trunk.layers")
    for container in containers:
        if blocks := _children(model, f"visual.{container}"):
            return blocks
    return []


def _children(model: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    try:
        container = model.get_submodule(path)
    except AttributeError:
        return []
    if not isinstance(container, nn.Sequential | nn.ModuleList):
        return []
    return [(f"{path}.{name}", child) for name, child in container.named_children()]


def _kind(path: str, module: nn.Module, name: str, shape: tuple[int, ...]) -> Kind | None:
    if "bias" in name or "logit_scale" in name or name in _EMBEDDINGS:
        return None
    if isinstance(module, nn.Embedding) or _POSITION_MODULES.intersection(path.split(".")):
        return None
    if isinstance(module, (*_LINEAR, nn.MultiheadAttention)):
        return "matrix"
    # A gain has one direction of extent, whatever its broadcasting shape: [C], [C, 1, 1], ...
    return "norm" if math.prod(shape) == max(shape, default=1) else "matrix"


class _Order:
    """Where the parameters of one tower lie relative to its stages."""

    def __init__(self, model: nn.Module, tower: Tower) -> None:
        self.model = model
        self.paths = [path for path, _ in _named_stages(model, tower)]

    def block(self, name: str) -> int | None:
        for index, path in enumerate(self.paths):
            if name.startswith(f"{path}."):
                return index
        if self.paths and self._after_stages(name):
            return len(self.paths)
        return None

    def _after_stages(self, name: str) -> bool:
        """Whether a parameter outside the stages is used after the last one.

        OpenCLIP and timm register modules in the order in which they run (the tests check this
        with hooks), so siblings are compared where the two paths part.
        """
        *_, parameter = name.split(".")
        for parent, child, last in _parting(name, self.paths[-1]):
            siblings = list(self.model.get_submodule(parent)._modules)
            if child not in siblings:
                return parameter in _OUTPUT_PARAMETERS
            return siblings.index(child) > siblings.index(last)
        raise AssertionError(name)


def _parting(name: str, path: str) -> Iterator[tuple[str, str, str]]:
    """Where two dotted names part: the common parent, and the next component of each."""
    common: list[str] = []
    for part, other in zip(name.split("."), path.split("."), strict=False):
        if part != other:
            yield ".".join(common), part, other
            return
        common.append(part)
