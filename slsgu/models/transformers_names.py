"""The layers of CLIP under two names: OpenCLIP's, and those of Hugging Face transformers.

The two store the same weights in other pieces. OpenCLIP keeps query, key and value of an attention
in one tensor, transformers in three; OpenCLIP multiplies by its projections from the right,
transformers from the left, so they are transposed.

Where a tower begins depends on the class and on the version: `CLIPModel` has `text_model.`, a bare
`CLIPTextModel` of transformers 5 has no prefix, LLaVA has `model.vision_tower.` in memory and
`vision_tower.` on disk. So prefixes are found by what a tower must hold, not by the class.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.models.layers import Tower

_LINEAR = ("weight", "bias")
# Inside a block: OpenCLIP's module, then that of transformers.
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# Outside the blocks: OpenCLIP's tensor, then that of transformers.
_OUTSIDE: dict[Tower, dict[str, str]] = {
    "language": {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        **{f"ln_final.{kind}": f"final_layer_norm.{kind}" for kind in _LINEAR},
    },
    "vision": {
        "visual.class_embedding": "embeddings.class_embedding",
        "visual.positional_embedding": "embeddings.position_embedding.weight",
        "visual.conv1.weight": "embeddings.patch_embedding.weight",
        **{f"visual.ln_pre.{kind}": f"pre_layrnorm.{kind}" for kind in _LINEAR},  # their spelling
        **{f"visual.ln_post.{kind}": f"post_layernorm.{kind}" for kind in _LINEAR},
    },
}
_BLOCKS: dict[Tower, str] = {
    "language": "transformer.resblocks",
    "vision": "visual.transformer.resblocks",
}
_PROJECTIONS: dict[Tower, tuple[str, str]] = {
    "language": ("text_projection", "text_projection.weight"),
    "vision": ("visual.proj", "visual_projection.weight"),
}
# What tells a tower of CLIP from any other network: both must stand under one prefix.
_MARKS: dict[Tower, tuple[str, str]] = {
    "language": ("embeddings.token_embedding.weight", "final_layer_norm.weight"),
    "vision": ("embeddings.patch_embedding.weight", "pre_layrnorm.weight"),
}


@dataclass(frozen=True)
class Place:
    """Where a tensor of OpenCLIP lies in a model of transformers.

    Attributes:
        names: of its parts, which are one below the other along the first dimension.
        transposed: whether rows and columns are exchanged.
    """

    names: tuple[str, ...]
    transposed: bool = False

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The tensor as OpenCLIP has it, a copy unless it lies there just so."""
        parts = [tensors[name].detach() for name in self.names]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.T.contiguous() if self.transposed else whole

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """A tensor of OpenCLIP in the parts that transformers has."""
        whole = tensor.T.contiguous() if self.transposed else tensor
        if len(self.names) == 1:
            return {self.names[0]: whole}
        return dict(zip(self.names, whole.chunk(len(self.names)), strict=True))


def plain(name: str) -> str:
    """A layer's name in `CLIP`; in `CustomTextCLIP` the text tower stands under `text.`.

    >>> plain("text.transformer.resblocks.0.mlp.c_fc.weight"), plain("text_projection")
    ('transformer.resblocks.0.mlp.c_fc.weight', 'text_projection')
    """
    return name.removeprefix("text.")


def tower_of(name: str) -> Tower:
    """The tower that a layer of OpenCLIP is in."""
    return "vision" if name.startswith("visual.") else "language"


def block_of(name: str) -> int | None:
    """The transformer block that a layer of OpenCLIP is in; None outside the blocks.

    >>> block_of("visual.transformer.resblocks.11.mlp.c_fc.weight"), block_of("visual.proj")
    (11, None)
    """
    found = re.search(r"\bresblocks\.(\d+)\.", name)
    return None if found is None else int(found[1])


def find_places(names: Iterable[str]) -> dict[str, Place]:
    """Where the tensors of OpenCLIP lie in a model of transformers.

    Args:
        names: of its parameters, in memory or on disk.

    Returns:
        By OpenCLIP's names in `CLIP`, as far as the model has them; empty for a model without a
        tower of CLIP.

    Raises:
        ModelError: it has two towers of one kind, so that it is not clear which is meant.

    >>> names = ["text_projection.weight", "text_model.embeddings.token_embedding.weight",
    ...          "text_model.final_layer_norm.weight"]
    >>> find_places(names)["text_projection"]
    Place(names=('text_projection.weight',), transposed=True)
    """
    known = set(names)
    places: dict[str, Place] = {}
    for tower in ("language", "vision"):
        prefix = _prefix(known, tower)
        if prefix is None:
            continue
        for ours, theirs in _OUTSIDE[tower].items():
            places[ours] = Place((prefix + theirs,))
        for block in range(_count_blocks(known, prefix)):
            places |= _block(f"{_BLOCKS[tower]}.{block}.", f"{prefix}encoder.layers.{block}.")
        ours, theirs = _PROJECTIONS[tower]
        outer = re.sub(r"(text|vision)_model\.$", "", prefix)
        places[ours] = Place((outer + theirs,), transposed=True)
    if places:
        places["logit_scale"] = Place(("logit_scale",))
    return {name: place for name, place in places.items() if known.issuperset(place.names)}


def to_openclip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers as one of OpenCLIP's `CLIP`, as far as it holds one.

    Raises:
        ModelError: as for `find_places`.
    """
    return {name: place.read(tensors) for name, place in find_places(tensors).items()}


def to_transformers(tensors: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Tensors of OpenCLIP as a model of transformers has them.

    Args:
        tensors: a state dict of `CLIP` or `CustomTextCLIP`, or a part of one.
        names: of the parameters of the other model, some of which are given their values.

    Returns:
        By names of transformers, what `tensors` says of them.

    Raises:
        ModelError: as for `find_places`.
    """
    places = find_places(names)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if plain(name) in places:
            found |= places[plain(name)].split(tensor)
    return found


def leftovers(names: Iterable[str]) -> list[str]:
    """Names that OpenCLIP has no tensor for, but for tables of positions counted from zero, which
    older versions saved."""
    names = set(names)
    used = {name for place in find_places(names).values() for name in place.names}
    return sorted(n for n in names - used if not n.endswith("embeddings.position_ids"))


def count_blocks(places: Mapping[str, Place], tower: Tower) -> int:
    """How many transformer blocks a model has in one tower."""
    inside = (name for name in places if tower_of(name) == tower)
    return 1 + max((b for name in inside if (b := block_of(name)) is not None), default=-1)


def has_tower(places: Mapping[str, Place], tower: Tower) -> bool:
    """Whether a model has a tower."""
    return next(iter(_OUTSIDE[tower])) in places


def _block(ours: str, theirs: str) -> dict[str, Place]:
    """The places of one block, whose names begin with these."""
    places = {
        f"{ours}{module}.{kind}": Place((f"{theirs}{other}.{kind}",))
        for module, other in _BLOCK.items()
        for kind in _LINEAR
    }
    for kind in _LINEAR:
        parts = tuple(f"{theirs}self_attn.{part}_proj.{kind}" for part in "qkv")
        places[f"{ours}attn.in_proj_{kind}"] = Place(parts)
    return places


def _prefix(names: set[str], tower: Tower) -> str | None:
    """What the names of a tower begin with; None without one."""
    first, second = _MARKS[tower]
    found = {name.removesuffix(first) for name in names if name.endswith(first)}
    found = {p for p in found if p + second in names and (not p or p.endswith("."))}
    if len(found) > 1:
        raise ModelError(
            f"this model has {len(found)} {tower} towers of CLIP ({', '.join(sorted(found))}): "
            "give the one that is meant by itself"
        )
    return found.pop() if found else None


def _count_blocks(names: set[str], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"encoder\.layers\.(\d+)\.")
    return 1 + max((int(m[1]) for name in names if (m := pattern.match(name))), default=-1)
