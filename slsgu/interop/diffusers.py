"""Patches in pipelines of diffusers: the text encoders of Stable Diffusion.

    from slsgu.interop.diffusers import apply, applied

    patched = apply(pipeline, patch)                 # shares all but the text encoder
    with applied(pipeline, patch_l, patch_g): ...    # XL has two text encoders, and needs two

What a pipeline reads depends on its kind. Stable Diffusion 1 and 2 take what the last block of the
encoder puts out (that of 2 is saved without its last block), XL what the second-last does, and of
its second encoder the projected embedding too. Pipelines on disk: `slsgu.interop.folder`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from slsgu.errors import LayerMismatchError, ModelError, SlsguError
from slsgu.interop.targets import TARGETS, Target
from slsgu.interop.transformers import view_of
from slsgu.interop.view import View
from slsgu.patch.live import known, overlaid
from slsgu.patch.patch import Patch
from slsgu.patch.weights import write_weights
from slsgu.utils.names import refuse_kind
from slsgu.utils.wording import printable

INDEX = "model_index.json"
_PLAIN, _PROJECTED = "CLIPTextModel", "CLIPTextModelWithProjection"
P = TypeVar("P")
Edit = Callable[[View, Patch, Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Encoder:
    """A text encoder of a pipeline.

    Attributes:
        view: it, with OpenCLIP's names and what the pipeline reads of it.
        read: its tensors, at least those that a patch changes.
    """

    view: View
    read: Callable[[Patch], Mapping[str, Tensor]]


def apply(pipeline: P, *patches: Patch) -> P:
    """A pipeline with patches applied; `pipeline` is unchanged, and shares what is not patched.

    Args:
        pipeline: of diffusers, with text encoders of CLIP.
        patches: each goes to the encoder that it was made for.

    Raises:
        LayerMismatchError: a patch fits no text encoder, or the pipeline does not read its layer.
        ModelError: it is not known what such a pipeline reads.
        SlsguError: there is no patch, or something else in its place.
    """
    changed = _changed(pipeline, patches)
    patched: Any = copy.copy(pipeline)
    for name, tensors in changed.items():
        encoder = copy.deepcopy(getattr(pipeline, name))
        write_weights(dict(encoder.named_parameters()), tensors)
        patched.register_modules(**{name: encoder})
    result: P = patched
    return result


@contextlib.contextmanager
def applied(pipeline: P, *patches: Patch) -> Iterator[P]:
    """Apply in place, and restore bit for bit on exit, whatever happens inside.

    Args:
        pipeline, patches: as for `apply`.

    Raises:
        LayerMismatchError: as for `apply`; on exit, if another change of a layer was made inside
            and is still on.
        ModelError: as for `apply`.
    """
    changed = _changed(pipeline, patches)
    with contextlib.ExitStack() as stack:
        for name, tensors in changed.items():
            stack.enter_context(overlaid(getattr(pipeline, name), known(tensors)))
        yield pipeline


def encoders_of_index(index: Mapping[str, Any], title: str) -> dict[str, Target]:
    """The text encoders of CLIP that a saved pipeline has, with what it reads of each.

    Args:
        index: the content of `model_index.json`.
        title: which pipeline it is, for messages.

    Raises:
        ModelError: it has none, or it is not known what it reads.
    """
    kinds = {
        name: str(kind[1])
        for name, kind in index.items()
        if isinstance(kind, list) and len(kind) == 2 and name.startswith("text_encoder")
    }
    return encoder_targets(str(index.get("_class_name")), kinds, title)


def encoder_targets(pipeline: str, kinds: Mapping[str, str], title: str) -> dict[str, Target]:
    """What a pipeline reads of its text encoders, by the names of their places in it.

    Args:
        pipeline: the name of its class.
        kinds: the names of the classes of its text encoders.
        title: which pipeline it is, for messages.

    Raises:
        ModelError: it has no text encoder of CLIP, or it is not known what it reads.

    >>> found = encoder_targets("StableDiffusionPipeline", {"text_encoder": "CLIPTextModel"}, "sd")
    >>> found["text_encoder"].unread_blocks
    0
    """
    if not pipeline.startswith(("StableDiffusion", "LatentConsistency")):
        raise ModelError(
            f"{title}: it is not known what a {printable(pipeline)} reads of its text encoder, so "
            "a patch could change nothing. If you know, patch the encoder as a model by itself "
            "(transformers:FOLDER, or slsgu.interop.transformers.apply)"
        )
    found: dict[str, Target] = {}
    for name, kind in kinds.items():
        if kind == _PROJECTED:
            found[name] = TARGETS["sdxl-2"]
        elif kind == _PLAIN:
            # That of Stable Diffusion 2 is saved as 23 of 24 blocks: all that it has is read.
            found[name] = TARGETS["sdxl-1" if "XL" in pipeline else "sd1"]
    if not found:
        listed = ", ".join(f"{name} ({printable(kind)})" for name, kind in kinds.items()) or "none"
        raise ModelError(f"{title} has no text encoder of CLIP: {listed}")
    return found


def assign(
    patches: Sequence[Patch], encoders: Mapping[str, Encoder], edit: Edit = View.changed
) -> dict[str, dict[str, Tensor]]:
    """What becomes of the tensors of each text encoder; those that no patch is for are left out.

    Args:
        patches: those that were made for one model go together.
        encoders: by the names of their places in the pipeline.
        edit: applies patches, or takes them out.

    Raises:
        LayerMismatchError: a patch fits none of them, with the reason for each.
    """
    changed: dict[str, dict[str, Tensor]] = {}
    for patch in _by_model(patches):
        reasons: dict[str, str] = {}
        for name, encoder in encoders.items():
            try:
                encoder.view.require(patch)
                tensors = edit(encoder.view, patch, encoder.read(patch))
            except LayerMismatchError as error:
                reasons[name] = str(error)
                continue
            own = changed.setdefault(name, {})
            if both := own.keys() & tensors.keys():
                raise LayerMismatchError(
                    f"two patches change {sorted(both)[0]} of {name}: add them first"
                )
            own.update(tensors)
            break
        else:
            if len(reasons) == 1:
                raise LayerMismatchError(next(iter(reasons.values())))
            paths = ", ".join(patch.requested_paths()) or "something"
            told = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
            raise LayerMismatchError(
                f"the patch to forget {paths} fits no text encoder of this pipeline:{told}"
            )
    return changed


def _by_model(patches: Sequence[Patch]) -> list[Patch]:
    """The sums of patches that were made for the same model."""
    sums: dict[Any, Patch] = {}
    for number, patch in enumerate(patches):
        models = {part.get("model", {}).get("sha256") for part in patch.parts}
        key = next(iter(models)) if len(models) == 1 else None
        key = number if key is None else key  # who does not say it stands alone
        sums[key] = sums[key] + patch if key in sums else patch
    return list(sums.values())


def _changed(pipeline: Any, patches: Sequence[Patch]) -> dict[str, dict[str, Tensor]]:
    if not patches:
        raise SlsguError("give at least one patch behind the pipeline")
    for patch in patches:
        refuse_kind(patch, Patch, "what stands behind the pipeline, a patch,")
    if not isinstance(getattr(pipeline, "components", None), Mapping):
        raise SlsguError(
            f"the first argument is of type {type(pipeline).__name__}; give a pipeline of diffusers"
        )
    title = f"this {type(pipeline).__name__}"
    components: dict[str, Any] = pipeline.components
    kinds = {
        name: type(part).__name__
        for name, part in components.items()
        if name.startswith("text_encoder") and isinstance(part, nn.Module)
    }
    targets = encoder_targets(type(pipeline).__name__, kinds, title)
    encoders = {name: _encoder(components[name], target) for name, target in targets.items()}
    return assign(patches, encoders)


def _encoder(model: nn.Module, target: Target) -> Encoder:
    tensors = dict(model.named_parameters())
    return Encoder(view_of(model, target), lambda patch: tensors)
