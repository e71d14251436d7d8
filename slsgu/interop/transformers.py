"""Patches in models of Hugging Face transformers, in memory.

    from slsgu.interop.transformers import apply, applied

    patched = apply(patch, CLIPModel.from_pretrained(...))     # a new model; the input is unchanged
    with applied(patch, model): ...                            # in place, restored bit for bit

Any model with one tower of CLIP of a kind will do: `CLIPModel`, `CLIPTextModel` and
`CLIPVisionModel`, both also `WithProjection`, and LLaVA. Models on disk: `slsgu.interop.folder`.
Nothing of transformers is imported: only the model's own parameters and configuration are used.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from slsgu.interop.llava import is_vision_language, vision_config, vision_target
from slsgu.interop.targets import Target, find_target
from slsgu.interop.view import View
from slsgu.models.transformers_folder import activation_of
from slsgu.patch.live import overlaid
from slsgu.patch.patch import Patch
from slsgu.patch.weights import write_weights
from slsgu.utils.names import refuse_kind

M = TypeVar("M", bound=nn.Module)


def apply(patch: Patch, model: M, *, target: str | Target | None = None) -> M:
    """A copy of a model with a patch applied; `model` is unchanged.

    Args:
        patch: made with OpenCLIP or with `slsgu.load("transformers:FOLDER")`.
        model: of transformers, with one tower of CLIP of a kind.
        target: what of the model is read where it is used, by a name in
            `slsgu.interop.targets.TARGETS`; None for all that it computes. Vision-language models
            say it themselves.

    Raises:
        LayerMismatchError: the model is of another architecture, another activation or another
            base, has not the layer, or does not read it; or it is patched already.
    """
    refuse_kind(patch, Patch, "the first argument, the patch,")
    changed = view_of(model, target).changed(patch, _parameters(model))
    patched = copy.deepcopy(model)
    write_weights(_parameters(patched), changed)
    return patched


@contextlib.contextmanager
def applied(patch: Patch, model: M, *, target: str | Target | None = None) -> Iterator[M]:
    """Apply in place, and restore bit for bit on exit, whatever happens inside.

    Args:
        patch, model, target: as for `apply`.

    Raises:
        LayerMismatchError: as for `apply`; on exit, if another change of a layer was made inside
            and is still on.
    """
    refuse_kind(patch, Patch, "the first argument, the patch,")
    view = view_of(model, target)
    with overlaid(model, lambda tensors: view.changed(patch, tensors)):
        yield model


def view_of(model: nn.Module, target: str | Target | None = None) -> View:
    """A model of transformers with OpenCLIP's names.

    Args:
        model, target: as for `apply`.

    Raises:
        LayerMismatchError: it has no tower of CLIP.
        ModelError: it computes what OpenCLIP does not, or has two towers of one kind.
        SlsguError: there is no such target; or it is no model, but the pipeline that it is in, say.
    """
    refuse_kind(model, nn.Module, "the model")
    title = f"this {type(model).__name__}"
    return view_from(title, _parameters(model), _config(model), target)


def view_from(
    title: str,
    names: Mapping[str, Any],
    config: Mapping[str, Any],
    target: str | Target | None = None,
) -> View:
    """The same of the names and the configuration of a model, wherever they come from.

    Args:
        title: which model it is, for messages.
        names: of its parameters.
        config: as JSON values.
        target: as for `apply`.
    """
    config = dict(config)
    if isinstance(target, str):
        target = find_target(target)
    if is_vision_language(config):
        target = vision_target(config)
        config = vision_config(config)
    view = View.of(title, names, target=target)
    return replace(view, activation=activation_of(config, title))


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def _config(model: nn.Module) -> dict[str, Any]:
    config: Any = getattr(model, "config", None)
    found: dict[str, Any] = config.to_dict() if hasattr(config, "to_dict") else {}
    return found
