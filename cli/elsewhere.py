"""Models that other libraries saved, for `slsgu patch`: `transformers:FOLDER`, `diffusers:FOLDER`.

Of these no model is built either, and of the library they come from nothing is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .console import Console
from .values import load_each


def is_elsewhere(model: Path) -> bool:
    """Whether a model is given as such a folder."""
    return str(model).startswith(("transformers:", "diffusers:"))


def is_pipeline(model: str) -> bool:
    """Whether a model is given as a pipeline, which has no form beside its own."""
    return model.startswith("diffusers:")


def rewrite_elsewhere(
    patches: Sequence[Path], model: Path, out: Path, scale: float, *, revert: bool = False
) -> None:
    """Write such a folder with patches applied, or taken out.

    Args:
        patches: files or run folders; each goes to the part that it was made for.
        model: as `is_elsewhere` knows it.
        out: must not exist yet.
        scale: a factor on each patch.
        revert: take them out.
    """
    from slsgu.interop.folder import rewrite_folder

    loaded = load_each(patches)
    if scale != 1.0:
        loaded = [scale * patch for patch in loaded]
    Console().say_not_copied(rewrite_folder(str(model), out, loaded, revert=revert))
