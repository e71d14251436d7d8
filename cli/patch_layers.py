"""What patches do to each layer that they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slsgu.utils.wording import share

from .console import Console

if TYPE_CHECKING:
    from slsgu.patch.patch import Patch

LARGE = 10.0  # times its norm that a layer is changed by, from which on it is seldom meant


def layer_values(loaded: Patch, name: str) -> dict[str, Any]:
    """A layer that a patch changes, as JSON values."""
    from slsgu.patch.weights import layer_hash

    delta, original = loaded.delta[name], loaded.original[name]
    norm = float(original.double().norm())
    return {
        "layer": name,
        "shape": list(delta.shape),
        "stored": str(original.dtype).removeprefix("torch."),
        "relative_change": float(delta.double().norm()) / norm if norm else None,
        "sha256": layer_hash(name, original),
    }


def told_size(relative_change: float | None, *, digits: int = 1) -> str:
    """By how much a layer is changed, in words; None is a layer of zeros."""
    if relative_change is None:
        return "from zeros"
    return f"by {share(relative_change, digits=digits)} its norm"


def warn_of_size(loaded: Patch) -> None:
    """Say where little of a layer is left."""
    for name in loaded.layers:
        size = layer_values(loaded, name)["relative_change"]
        if size is None or size > LARGE:
            Console().say(
                f"Warning: {name} is changed {told_size(size)}, so that little of it is left: is "
                "the scale what you mean?"
            )
