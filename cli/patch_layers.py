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
    from slsgu.patch.size import relative_change
    from slsgu.patch.weights import layer_hash

    original = loaded.original[name]
    return {
        "layer": name,
        "shape": list(original.shape),
        "stored": str(original.dtype).removeprefix("torch."),
        "relative_change": relative_change(loaded, name),
        "sha256": layer_hash(name, original),
    }


def told_size(relative_change: float | None, *, digits: int = 1) -> str:
    """By how much a layer is changed, in words; None is a layer of zeros."""
    if relative_change is None:
        return "from zeros"
    return f"by {share(relative_change, digits=digits)} its norm"


def warn_of_size(loaded: Patch) -> None:
    """Say where little of a layer is left."""
    from slsgu.patch.size import relative_change

    for name in loaded.layers:
        size = relative_change(loaded, name)
        if size is None or size > LARGE:
            left = "" if size is None else ", so that little of it is left"
            Console().say(
                f"Warning: {name} is changed {told_size(size)}{left}: is the scale of the change "
                "what you mean?"
            )
