"""A patch that is switched on and off in a model in use, without loading anything again."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from slsgu.errors import LayerMismatchError
from slsgu.interop.transformers import view_of
from slsgu.models.transformers_names import find_places
from slsgu.patch.live import LOCK, Change, Overlay, known, overlay_of, same_bits
from slsgu.patch.patch import Patch
from slsgu.utils.names import refuse_kind


class Switch:
    """Switches a patch on and off in one model. Made by `toggle`.

    Each switch writes the layers of the patch, and nothing else: in a millisecond or so, from
    copies that the switch keeps of both states.
    """

    def __init__(self, model: nn.Module, change: Change) -> None:
        self._model = model
        with LOCK:
            tensors = dict(model.named_parameters())
            self._on = change(tensors)
            self._off = {name: tensors[name].detach().clone() for name in self._on}
        self._overlay: Overlay | None = None

    @property
    def is_on(self) -> bool:
        """Whether the patch is in the model."""
        return self._overlay is not None

    def on(self) -> None:
        """Put the patch into the model; nothing if it is in there.

        Raises:
            LayerMismatchError: another patch of the same layer is on, or the model's weights are
                no longer those that the switch was made for. Nothing is changed.
        """
        with LOCK:
            if self.is_on:
                return
            self._require(self._off, None)
            overlay = Overlay()
            overlay.put_on(self._model, known(self._on))
            self._overlay = overlay

    def off(self) -> None:
        """Take the patch out of the model, to the bit; nothing if it is not in there.

        Raises:
            LayerMismatchError: another change lies on top of the patch, or the layers hold
                something else by now. Nothing is changed.
        """
        with LOCK:
            if self._overlay is None:
                return
            self._require(self._on, self._overlay)
            self._overlay.take_off(self._model)
            self._overlay = None

    def _require(self, wanted: Mapping[str, Tensor], top: Overlay | None) -> None:
        """Refuse a model that is not as the last switch left it.

        Args:
            wanted: what the layers should hold.
            top: what should lie on top of them.
        """
        tensors = dict(self._model.named_parameters())
        for name, tensor in wanted.items():
            if name in tensors and overlay_of(self._model, name) is not top:
                raise LayerMismatchError(
                    f"another patch that changes {name} is on in this model: take that one out "
                    "first. To have both on at once, make one switch of their sum: "
                    "toggle(model, a + b)"
                )
            if name not in tensors or not same_bits(tensors[name], tensor):
                raise LayerMismatchError(
                    f"{name} is no longer as the switch left it: the model was trained, loaded "
                    "again, converted or moved to another device. Nothing was changed. Load the "
                    "original weights and make a new switch with toggle(model, patch)"
                )


def toggle(model: nn.Module, patch: Patch, *, target: str | None = None) -> Switch:
    """A switch for a patch in a model in use; off at first.

    Forward passes that run in other threads meanwhile may see one layer switched and another not
    yet: let them end first, or keep two models (`examples/serving/`).

    Args:
        model: of OpenCLIP or transformers, original in the layers of the patch, such as the
            `text_encoder` of a pipeline. It is changed in place.
        patch: what is to be switched.
        target: of a model of transformers, what is read where it is used, as for
            `slsgu.interop.transformers.apply`.

    Raises:
        LayerMismatchError: the patch does not fit the model, is not read by the target, or is
            applied already.

    >>> import torch
    >>> model = nn.Linear(2, 2, bias=False)
    >>> before = model.weight.detach().clone()
    >>> switch = toggle(model, Patch({"weight": torch.ones(2, 2)}, {"weight": before.clone()}))
    >>> switch.on()
    >>> switch.is_on, torch.equal(model.weight, before + 1)
    (True, True)
    >>> switch.off()
    >>> torch.equal(model.weight, before)
    True
    """
    refuse_kind(model, nn.Module, "the model")
    refuse_kind(patch, Patch, "the patch")
    if not find_places(name for name, _ in model.named_parameters()):  # none of transformers
        return Switch(model, patch.changed)
    view = view_of(model, target)
    return Switch(model, lambda tensors: view.changed(patch, tensors))
