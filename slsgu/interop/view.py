"""A model of another library, seen with OpenCLIP's names: what every target system shares.

A patch is checked here as it is for OpenCLIP, and refused with the reason where the model has no
such layer, computes another activation, was not the base, or does not read the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from slsgu.errors import LayerMismatchError
from slsgu.interop.targets import Target
from slsgu.models.transformers_names import (
    Place,
    block_of,
    count_blocks,
    find_places,
    has_tower,
    plain,
    tower_of,
)
from slsgu.patch.header import refuse_activation
from slsgu.patch.patch import Patch

Change = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class View:
    """The tensors of a model, by OpenCLIP's names.

    Attributes:
        title: which model it is, for messages.
        places: where each tensor of OpenCLIP lies.
        activation: `quick_gelu` or `gelu`; None where nothing says it.
        target: what of the model is read, where it is a part of a larger system.
        where: in words, where the activation stands.
    """

    title: str
    places: Mapping[str, Place] = field(repr=False)
    activation: str | None = None
    target: Target | None = None
    where: str = "its config"

    @classmethod
    def of(cls, title: str, names: Iterable[str], **about: Any) -> View:
        """The view of a model with parameters of these names.

        Raises:
            LayerMismatchError: it has no tower of CLIP.
            ModelError: it has two of one kind.
        """
        places = find_places(names)
        if not places:
            raise LayerMismatchError(f"{title} has no tower of CLIP, so no patch fits it")
        return cls(title, places, **about)

    def require(self, patch: Patch) -> None:
        """Refuse a patch that would not arrive, would change nothing, or was made for a model that
        computes in another way.

        Raises:
            LayerMismatchError: with the reason.
        """
        if self.activation is not None:
            way_out = f"If {self.where} is wrong, correct hidden_act there"
            refuse_activation(patch.parts, self.activation, self.title, way_out)
        for name in patch.layers:
            if plain(name) not in self.places:
                raise LayerMismatchError(f"{self.title} has no layer {name}: {self._why(name)}")
        if self.target is not None:
            self._refuse_unread(patch, self.target)

    def read(self, patch: Patch, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The layers that a patch changes, as OpenCLIP has them, by the patch's own names.

        Args:
            tensors: at least those that `parts` names.

        Raises:
            LayerMismatchError: they are not plain fractions, but quantised or not in memory.
        """
        for part in self.parts(patch):
            tensor = tensors[part]
            if not tensor.is_floating_point() or tensor.is_meta:
                what = "is not in memory" if tensor.is_meta else f"holds {tensor.dtype} values"
                raise LayerMismatchError(
                    f"{self.title}: {part} {what.replace('torch.', '')}, and a patch needs plain "
                    "floating-point weights: load the model without quantisation or offloading"
                )
        return {name: self.places[plain(name)].read(tensors) for name in patch.layers}

    def parts(self, patch: Patch) -> list[str]:
        """The names, in the model, of what a patch changes."""
        return [part for name in patch.layers for part in self.places[plain(name)].names]

    def split(self, layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Layers of OpenCLIP in the parts that the model has."""
        found: dict[str, Tensor] = {}
        for name, layer in layers.items():
            found |= self.places[plain(name)].split(layer)
        return found

    def changed(self, patch: Patch, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model's tensors become with the patch; each part keeps its dtype.

        Raises:
            LayerMismatchError: as `require` and `read`; or the layers are not those that the patch
                was made for.
        """
        self.require(patch)
        layers = self.read(patch, tensors)
        return self.split(fitted(patch, layers).apply_to(layers))

    def reverted(self, patch: Patch, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model's tensors were before the patch.

        Raises:
            LayerMismatchError: the patch is not in them.
        """
        self.require(patch)
        layers = self.read(patch, tensors)
        # Without metadata: its hash is of all tensors of both towers, which are not here.
        return self.split(replace(fitted(patch, layers), metadata={}).revert_from(layers))

    def _why(self, name: str) -> str:
        """Why a layer is missing."""
        tower, block = tower_of(name), block_of(name)
        if not has_tower(self.places, tower):
            other = "language" if tower == "vision" else "vision"
            return f"that is in the {tower} tower, and it has the {other} tower alone"
        count = count_blocks(self.places, tower)
        if block is not None and block >= count:
            return f"its {tower} tower has only {count} blocks"
        if plain(name) in ("text_projection", "visual.proj"):
            return "it has no projection, and is read before one would come"
        return "the architecture is another one"

    def _refuse_unread(self, patch: Patch, target: Target) -> None:
        unread = [name for name in patch.layers if not self.reads(name, target)]
        if unread:
            weights = [n for n in self.places if n.endswith("c_fc.weight")]
            readable = [name for name in weights if self.reads(name, target)]
            raise LayerMismatchError(target.refusal(unread, readable))

    def reads(self, name: str, target: Target) -> bool:
        """Whether a target reads a layer of this model."""
        tower, block = tower_of(name), block_of(name)
        after = block is None and _comes_last(name)
        return target.reads_place(
            plain(name), tower, block, count_blocks(self.places, tower), last=after
        )


def fitted(patch: Patch, layers: Mapping[str, Tensor]) -> Patch:
    """A patch for a copy of its base in another precision.

    Pipelines are often loaded in half precision. A layer that is, to the bit, what the base becomes
    when it is rounded so, is the base; and what the patch makes of that is patched.
    """
    original = {name: _base_of(layer, patch, name) for name, layer in layers.items()}
    return replace(patch, original=original)


def _base_of(layer: Tensor, patch: Patch, name: str) -> Tensor:
    """The layer that a patch was made for, rounded as a copy of it is, patched or not."""
    original = patch.original[name]
    if layer.dtype == original.dtype or layer.shape != original.shape:
        return original
    base = original.to(layer.dtype)
    patched = (base.float() + patch.delta[name]).to(layer.dtype)
    rounded = any(torch.equal(layer.cpu(), each) for each in (base, patched))
    return base if rounded else original


def _comes_last(name: str) -> bool:
    """Whether a layer outside the blocks comes after them."""
    parts = name.split(".")
    return bool({"ln_final", "ln_post", "text_projection", "proj"}.intersection(parts[-2:]))
