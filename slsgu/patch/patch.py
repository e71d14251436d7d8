"""A patch: the change of one or more layers, with where it came from and what it did.

A patch is a value. `0.5 * p` is half the step, `-p` the opposite step, `a + b` both at once
(patches of one layer must be added before they are applied). `apply` returns a new model;
`applied` edits in place inside a `with` and restores every bit on the way out.

The file is safetensors: `delta/<layer>` in fp32, `original/<layer>` as the layer was stored, and
one JSON string of metadata under the key `slsgu` (format: docs/formats.md).
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slsgu.errors import ArtifactError, LayerMismatchError, SlsguError
from slsgu.patch.header import HEADER, foreign, model_names, scaled, warn_of_difference
from slsgu.patch.live import overlaid
from slsgu.patch.weights import (
    layer_hash,
    refuse_infinite,
    refuse_unfit,
    refuse_unsavable,
    same_values,
    write_weights,
)
from slsgu.utils.artifact import artifact_sha256, read_artifact, write_artifact
from slsgu.utils.names import refuse_blank, refuse_kind

SCHEMA = 1
KIND = "slsgu-patch"


@dataclass(frozen=True, eq=False)
class Patch:
    """The change of some layers of one model.

    Attributes:
        delta: what is added to each layer, fp32, in OpenCLIP's layout.
        original: each layer as it was before, in its stored precision.
        metadata: JSON values: request, model, loss, direction, step size, what it did.

    Raises:
        ArtifactError: a tensor is not what belongs there.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 2, bias=False)
        >>> before = model.weight.detach().clone()
        >>> patch = Patch({"weight": torch.ones(2, 2)}, {"weight": before.clone()})
        >>> with (0.5 * patch).applied(model):
        ...     bool(torch.equal(model.weight, before + 0.5))
        True
        >>> bool(torch.equal(model.weight, before))
        True
    """

    delta: Mapping[str, Tensor]
    original: Mapping[str, Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_unfit(self.delta, self.original)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.delta)

    @property
    def parts(self) -> tuple[Mapping[str, Any], ...]:
        """The metadata of each patch that was added up; of a single patch, its own."""
        return tuple(self.metadata.get("sum_of", [self.metadata]))

    def requested_paths(self) -> tuple[str, ...]:
        """The concepts it was made to forget, as paths in their taxonomy; none of a request by
        captions alone, which has no name."""
        requests = [part.get("request", {}) for part in self.parts]
        paths = (path for x in requests if x.get("named", True) for path in x.get("paths", ()))
        return tuple(dict.fromkeys(paths))

    def patched(self, name: str) -> Tensor:
        """A layer with the change, fp32."""
        return self.original[name].float() + self.delta[name]

    # -- algebra ------------------------------------------------------------------------------

    def __mul__(self, factor: float) -> Patch:
        if not isinstance(factor, int | float):
            return NotImplemented
        if not math.isfinite(factor):
            raise SlsguError(f"a patch cannot be scaled by {factor}: give a finite number")
        delta = {name: tensor * float(factor) for name, tensor in self.delta.items()}
        return Patch(delta, self.original, scaled(self.metadata, float(factor)))

    __rmul__ = __mul__

    def __neg__(self) -> Patch:
        """The opposite step from the same model. (To take a patch back, use `revert`.)"""
        return self * -1.0

    def __add__(self, other: Patch | int) -> Patch:
        """Both changes at once. 0 and `Patch({}, {})` change nothing, so that `sum` works.

        Raises:
            LayerMismatchError: the patches were made for different weights of one layer.
        """
        if other == 0 or (isinstance(other, Patch) and not other.delta):
            return self
        if not isinstance(other, Patch):
            return NotImplemented
        if not self.delta:
            return other
        shared = self.delta.keys() & other.delta.keys()
        for name in sorted(shared):
            if not same_values(self.original[name], other.original[name]):
                raise LayerMismatchError(
                    f"the patches were made for different weights of {name} and cannot be added: "
                    "make both from the same model"
                )
        delta = {**self.delta, **other.delta}
        delta |= {name: self.delta[name] + other.delta[name] for name in shared}
        parts = [dict(part) for patch in (self, other) for part in patch.parts]
        return Patch(delta, {**self.original, **other.original}, {"sum_of": parts})

    __radd__ = __add__

    # -- models -------------------------------------------------------------------------------

    def apply(self, model: nn.Module) -> nn.Module:
        """A copy of `model` with the patch applied; `model` is unchanged.

        Raises:
            LayerMismatchError: a layer is absent, is not the one the patch was made for, is
                patched already, or would hold what its precision has no number for.
        """
        refuse_kind(model, nn.Module, "the model")
        changed = self.changed(dict(model.named_parameters()))
        patched = copy.deepcopy(model)
        write_weights(dict(patched.named_parameters()), changed)
        return patched

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """Apply in place, and restore bit for bit on exit, whatever happens inside.

        Raises:
            LayerMismatchError: as for `apply`; on exit, if another change of a layer was made
                inside and is still on (`with` blocks that are not left in reverse order).
        """
        refuse_kind(model, nn.Module, "the model")
        with overlaid(model, self.changed):
            yield model

    # -- state dicts --------------------------------------------------------------------------

    def apply_to(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict with the patch applied; each layer keeps its dtype.

        Raises:
            LayerMismatchError: as for `apply`.
        """
        return {**tensors, **self.changed(tensors)}

    def revert_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict with the layers as they were before this patch, exact to the bit. Warns if
        the whole is not the model that the patch was made from.

        Raises:
            LayerMismatchError: a layer does not hold this patch.
        """
        for name in self.delta:
            if self._state(name, tensors) == "original":
                raise LayerMismatchError(f"{name} is not patched: there is nothing to revert")
            if self._state(name, tensors) != "patched":
                raise LayerMismatchError(
                    f"{name} holds neither this patch nor the layer it was made for; "
                    "revert the patches applied after it first, give all patches that were "
                    "applied together, or check that this is the model"
                )
        originals = {name: o.to(tensors[name].dtype) for name, o in self.original.items()}
        reverted = {**tensors, **originals}
        warn_of_difference(self.metadata, reverted)
        return reverted

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse weights that the patch was not made for.

        Raises:
            LayerMismatchError: a layer is absent, of another shape, of other weights, or patched.
        """
        missing = [name for name in self.delta if name not in tensors]
        models = " and ".join(model_names(self.parts))
        made_for = f", but for {models}" if models else ""
        if missing:
            raise LayerMismatchError(
                f"the patch was not made for this model{made_for}: it has no layer "
                f"{', '.join(missing)}"
            )
        for name in self.delta:
            match self._state(name, tensors):
                case "patched":
                    raise LayerMismatchError(f"the patch is applied already: {name} holds it")
                case "foreign":
                    layers = (tensors[name], self.original[name])
                    hashes = [layer_hash(name, layer) for layer in layers]
                    raise LayerMismatchError(foreign(name, *layers, hashes, made_for))

    def is_applied(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether every layer that the patch changes holds it already."""
        return all(self._state(name, tensors) == "patched" for name in self.delta)

    def _state(self, name: str, tensors: Mapping[str, Tensor]) -> str:
        """`original`, `patched` or `foreign`. A patched layer may have been rounded on saving."""
        if name not in tensors or tensors[name].shape != self.delta[name].shape:
            return "foreign"
        current = tensors[name]
        original = self.original[name]
        if same_values(current, original):
            return "original"
        patched = self.patched(name)
        dtypes = {torch.float32, original.dtype, current.dtype}
        if any(same_values(current, patched.to(dtype)) for dtype in dtypes):
            return "patched"
        return "foreign"

    def changed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The layers of a state dict that the patch changes, with the change, each in its dtype.

        Raises:
            LayerMismatchError: as for `apply`; before a weight is touched.
        """
        self.check(tensors)
        changed = {}
        for name, delta in self.delta.items():
            tensor = tensors[name].detach()
            changed[name] = (tensor.float() + delta.to(tensor.device)).to(tensor.dtype)
            refuse_infinite(name, changed[name])
        return changed

    # -- files --------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the patch file, whole or not at all."""
        refuse_unsavable(self.delta)
        tensors, header = self._content()
        write_artifact(Path(path), tensors, kind=KIND, schema=SCHEMA, header=header)

    @property
    def file_sha256(self) -> str:
        """SHA-256 of the file that `save` writes, whatever lies on a disk by now."""
        tensors, header = self._content()
        return artifact_sha256(tensors, kind=KIND, schema=SCHEMA, header=header)

    def _content(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and header of the file."""
        tensors = {f"delta/{name}": t.contiguous() for name, t in self.delta.items()}
        tensors |= {f"original/{name}": t.contiguous() for name, t in self.original.items()}
        hashes = {name: layer_hash(name, tensor) for name, tensor in self.original.items()}
        return tensors, {**self.metadata, "layers": hashes}

    @classmethod
    def load(cls, path: str | Path) -> Patch:
        """Read a patch file.

        Raises:
            ArtifactError: the file is missing, damaged, not a patch, or of a newer format.
        """
        refuse_blank(path, "the name of the patch", ArtifactError)
        header, tensors = read_artifact(
            Path(path), kind=KIND, schema=SCHEMA, what="patch", holds=HEADER
        )
        layers = header.pop("layers")
        names = [key.removeprefix("delta/") for key in tensors if key.startswith("delta/")]
        try:
            delta = {name: tensors[f"delta/{name}"] for name in names}
            original = {name: tensors[f"original/{name}"] for name in names}
        except KeyError as error:
            raise ArtifactError(f"patch is damaged: {path} lacks {error}") from None
        for name in names:
            fits = delta[name].shape == original[name].shape and delta[name].dtype == torch.float32
            if not fits or layers.get(name) != layer_hash(name, original[name]):
                raise ArtifactError(f"patch is damaged: {path} disagrees with itself about {name}")
            if not original[name].is_floating_point():
                raise ArtifactError(f"patch is damaged: {path} is for {name} in whole numbers")
        if not names:
            raise ArtifactError(f"patch is damaged: {path} changes no layer")
        return cls(delta, original, header)
