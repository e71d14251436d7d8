"""The menagerie: a small world drawn by code, a taxonomy of it, and a CLIP model that knows it.

It lets every command be tried without a network, without data and without a GPU. It is drawings:
what is measured on it says how the tool works, not how a model behaves on photographs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not lazy: the function shares its module's name, and a later import of the module would hide it.
from slsgu.menagerie.draw import DRAW_VERSION, draw
from slsgu.menagerie.paths import MODEL_DIR, TAXONOMY_FILE

if TYPE_CHECKING:
    from slsgu.menagerie.sheet import contact_sheet
    from slsgu.menagerie.train import TRAIN_SEED

_HOME = {"contact_sheet": "sheet", "TRAIN_SEED": "train"}

__all__ = ["DRAW_VERSION", "MODEL_DIR", "TAXONOMY_FILE", "TRAIN_SEED", "contact_sheet", "draw"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
