"""How much a patch changes of the layers that it is for."""

from __future__ import annotations

from pathlib import Path

from slsgu.errors import ArtifactError, SlsguError
from slsgu.patch.patch import Patch
from slsgu.patch.weights import same_values

TOO_SMALL = (
    "the step is smaller than the distance between two numbers in which the weights are stored"
)


def relative_change(patch: Patch, name: str) -> float | None:
    """The length of the change of a layer as a share of the layer's norm; None of a layer of
    zeros."""
    norm = float(patch.original[name].double().norm())
    return float(patch.delta[name].double().norm()) / norm if norm else None


def refuse_idle(patch: Patch, what: str) -> None:
    """Refuse a change that is lost when it is rounded: what it does to a model is nothing, and
    figures of it would read as if it had been measured.

    Args:
        what: what the patch is, for the message.

    Raises:
        ArtifactError: no bit of any layer would change.
    """
    originals = patch.original.items()
    if all(same_values(patch.patched(name).to(layer.dtype), layer) for name, layer in originals):
        raise ArtifactError(
            f"{what} changes nothing: {TOO_SMALL}, or patches cancel each other. Use a larger scale"
        )


def nothing_changes(source: Path) -> SlsguError:
    """What is raised where a patch changes no bit of a model on disk."""
    return SlsguError(f"nothing in {source} would change: {TOO_SMALL}. Use a larger scale")
