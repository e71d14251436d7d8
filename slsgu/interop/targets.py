"""Which layers of a CLIP model a larger system reads.

Stable Diffusion and LLaVA take one tower of CLIP, and leave it before its end. A patch on a layer
that they do not read changes nothing there, silently; `require_read` refuses it and says why.

A new target is one more `Target` in `TARGETS`, under the name that people type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from slsgu.errors import LayerMismatchError, SlsguError
from slsgu.models.layers import Layer, Tower, inventory
from slsgu.patch.patch import Patch

VIT_BLOCKS = "visual.transformer.resblocks"
_PROJECTIONS = frozenset({"proj", "text_projection"})  # what comes behind the norm


@dataclass(frozen=True)
class Target:
    """One place in a system where a tower of CLIP sits.

    Attributes:
        title: the system, for people.
        base: the model that is known to sit there.
        reads_of: what it reads, for people; follows "it reads".
        tower: the tower of which it reads hidden states; None where it is CLIP itself, both whole.
        unread_blocks: how many blocks at the end of the tower the hidden states do not run through.
        norm: whether the norm that the tower ends in (`ln_final`) runs on them.
        skipped: tokens at the beginning that it drops.
        embeds: whether it also reads the embeddings, which run through the whole tower.
        vit: whether the tower must be a vision transformer of OpenCLIP's own.
    """

    title: str
    base: str
    reads_of: str
    tower: Tower | None = None
    unread_blocks: int = 0
    norm: bool = False
    skipped: int = 0
    embeds: bool = False
    vit: bool = False

    def reads(self, layer_name: str, model: nn.Module) -> bool:
        """Whether an edit of a layer reaches this target.

        Args:
            layer_name: as OpenCLIP names it, in `CLIP` or in `CustomTextCLIP`.
            model: the model that the layer is of.

        Raises:
            LayerMismatchError: the model has no such layer.
        """
        layers = inventory(model, norms=True)
        return find_layer(layer_name, layers) in self.among(layers)

    def among(self, layers: Sequence[Layer]) -> list[Layer]:
        """The layers that it reads.

        Args:
            layers: all of a model.
        """
        blocks: dict[Tower, int] = {"vision": 0, "language": 0}
        for layer in layers:
            if layer.block is not None:
                blocks[layer.tower] = max(blocks[layer.tower], layer.block + (not layer.last))
        if self.vit and not any(layer.name.startswith(VIT_BLOCKS) for layer in layers):
            return []
        return [
            x for x in layers
            if self.reads_place(x.name, x.tower, x.block, blocks[x.tower], last=x.last)
        ]  # fmt: skip

    def reads_place(
        self, name: str, tower: Tower, block: int | None, blocks: int, *, last: bool
    ) -> bool:
        """The same of a layer that sits somewhere.

        Args:
            name: of the layer.
            tower: that it is in.
            block: the block that it is in; None outside the blocks.
            blocks: how many there are in the tower.
            last: whether it comes after them.
        """
        if self.tower not in (None, tower):
            return False
        if self.tower is None or self.embeds:
            return True
        if last:
            return self.norm and not _PROJECTIONS.intersection(name.split(".")[-2:])
        return block is None or block < blocks - self.unread_blocks

    def refusal(self, unread: Sequence[str], readable: Sequence[str]) -> str:
        """Why a patch is refused.

        Args:
            unread: its layers that are not read.
            readable: layers of the model that are.
        """
        way_out = (
            f"Make a patch of a layer that it reads, such as {readable[-1]}"
            if readable
            else "It reads no layer of this model"
        )
        return (
            f"{self.title} does not read {', '.join(unread)}: it reads {self.reads_of}, so the "
            f"patch would change nothing there. {way_out}"
        )


TARGETS: dict[str, Target] = {
    "clip": Target("CLIP", "any model of OpenCLIP", "the embeddings of images and texts"),
    "sd1": Target(
        "Stable Diffusion 1.x",
        "ViT-L-14, openai",
        "the text tower after its last block and ln_final, before text_projection",
        tower="language",
        norm=True,
    ),
    "sd2": Target(
        "Stable Diffusion 2.x",
        "ViT-H-14, laion2b_s32b_b79k",
        "the text tower after its second-last block, followed by ln_final",
        tower="language",
        unread_blocks=1,
        norm=True,
    ),
    "sdxl": Target(
        "Stable Diffusion XL, in whichever of its two text encoders",
        "ViT-L-14, openai; ViT-bigG-14, laion2b_s39b_b160k",
        "the text tower after its second-last block",
        tower="language",
        unread_blocks=1,
    ),
    "sdxl-1": Target(
        "Stable Diffusion XL, first text encoder",
        "ViT-L-14, openai",
        "the text tower after its second-last block",
        tower="language",
        unread_blocks=1,
    ),
    "sdxl-2": Target(
        "Stable Diffusion XL, second text encoder",
        "ViT-bigG-14, laion2b_s39b_b160k",
        "the text tower after its second-last block, and its projected output",
        tower="language",
        unread_blocks=1,
        embeds=True,
    ),
    "llava": Target(
        "LLaVA 1.5",
        "ViT-L-14-336, openai",
        "the patch tokens of a vision transformer after its second-last block",
        tower="vision",
        unread_blocks=1,
        skipped=1,
        vit=True,
    ),
}


def find_target(name: str) -> Target:
    """A target by the name that people type.

    Raises:
        SlsguError: there is no such target.

    >>> find_target("sd1").title
    'Stable Diffusion 1.x'
    """
    if name not in TARGETS:
        raise SlsguError(f"unknown target {name!r}: choose {', '.join(TARGETS)}")
    return TARGETS[name]


def find_layer(name: str, layers: Sequence[Layer]) -> Layer:
    """A layer of a model by its name.

    Args:
        layers: all of the model, gains included.

    Raises:
        LayerMismatchError: the model has no such layer.
    """
    layer = next((x for x in layers if x.name == name), None)
    if layer is None:
        raise LayerMismatchError(
            f"this model has no layer {name}: a patch must be checked with the model that it was "
            "made for, and biases and embeddings are not layers"
        )
    return layer


def require_read(patch: Patch, target: str, model: nn.Module) -> None:
    """Refuse a patch that a target would not see, or would see a part of.

    Args:
        patch: what is to be applied.
        target: its name in `TARGETS`.
        model: the model that the patch was made for, patched or not.

    Raises:
        SlsguError: there is no such target.
        LayerMismatchError: a layer of the patch is not read there, or is none of the model's.
    """
    system = find_target(target)
    layers = inventory(model, norms=True)
    read = system.among(layers)
    names = {layer.name for layer in read}
    unread = [name for name in patch.layers if find_layer(name, layers).name not in names]
    if not unread:
        return
    readable = [layer.name for layer in read if layer.kind == "matrix"]
    raise LayerMismatchError(system.refusal(unread, readable))
