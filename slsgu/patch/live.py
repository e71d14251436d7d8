"""Weights of a model in use that are others for a while, and come back bit for bit.

Several changes may lie on one model. Those of one layer lie on each other, and must be taken off in
reverse order: each puts back what it found.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from slsgu.errors import LayerMismatchError
from slsgu.patch.weights import write_weights

LOCK = threading.RLock()
"""Held while weights of a model in use are looked at and written."""

Change = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Overlay:
    """Other weights for some layers of a model, which can be put on and taken off.

    Attributes:
        changed: the weights by layer, once they are on.
        originals: what the layers held before.
    """

    def __init__(self) -> None:
        self.changed: dict[str, Tensor] = {}
        self.originals: dict[str, Tensor] = {}

    def put_on(self, model: nn.Module, change: Change) -> None:
        """Write the weights that `change` makes of the model's.

        Args:
            change: gets the model's parameters and returns some layers, changed. What it raises
                is raised before a weight is written.
        """
        with LOCK:
            tensors = dict(model.named_parameters())
            changed = change(tensors)
            self.originals = {name: tensors[name].detach().clone() for name in changed}
            self.changed = changed
            _on(model).append(self)
            write_weights(tensors, changed)

    def take_off(self, model: nn.Module) -> None:
        """Write what the layers held before. Does nothing if it is not on.

        Raises:
            LayerMismatchError: another overlay of one of the layers lies on this one. That one
                stays, and puts back what this one has found.
        """
        with LOCK:
            overlays = _on(model)
            if self not in overlays:
                return
            buried = {name: above for name in self.changed if (above := self._above(model, name))}
            free = {name: t for name, t in self.originals.items() if name not in buried}
            write_surely(model, free)
            for name, above in buried.items():
                above.originals[name] = self.originals[name]
            overlays.remove(self)
        if buried:
            raise LayerMismatchError(
                f"another change of {', '.join(sorted(buried))} was made on top of this patch and "
                "is still in the model, so the patch cannot be taken out alone: leave the inner "
                "`with` first. Once that ends too, the model is as it was"
            )

    def _above(self, model: nn.Module, name: str) -> Overlay | None:
        """The next overlay of a layer that was put on after this one."""
        overlays = _on(model)
        later = overlays[overlays.index(self) + 1 :]
        return next((overlay for overlay in later if name in overlay.changed), None)


def known(weights: Mapping[str, Tensor]) -> Change:
    """The change to weights that are known already."""
    return lambda _: dict(weights)


@contextlib.contextmanager
def overlaid(model: nn.Module, change: Change) -> Iterator[None]:
    """Within, some weights of a model are others; restored bit for bit, whatever happens inside.

    Raises:
        LayerMismatchError: on exit, if another change of a layer was made inside and is still on.
    """
    overlay = Overlay()
    try:
        overlay.put_on(model, change)
        yield
    finally:
        overlay.take_off(model)


def overlay_of(model: nn.Module, name: str) -> Overlay | None:
    """The topmost overlay of a layer; None where the layer is as the model was loaded."""
    return next((overlay for overlay in reversed(_on(model)) if name in overlay.changed), None)


def write_surely(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set weights in place, to the end, also if the user interrupts meanwhile."""
    tensors = dict(model.named_parameters())
    try:
        write_weights(tensors, values)
    except KeyboardInterrupt:
        write_weights(tensors, values)
        raise


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal to the bit, on one device: zero is not minus zero."""
    if (one.dtype, one.shape, one.device) != (other.dtype, other.shape, other.device):
        return False
    return torch.equal(*(x.detach().contiguous().view(-1).view(torch.uint8) for x in (one, other)))


_OVERLAYS: weakref.WeakKeyDictionary[nn.Module, list[Overlay]] = weakref.WeakKeyDictionary()


def _on(model: nn.Module) -> list[Overlay]:
    """The overlays on a model, in the order in which they were put on."""
    return _OVERLAYS.setdefault(model, [])
