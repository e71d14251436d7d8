"""From a leaf, an index and a seed to a picture, the same on every platform."""

from collections.abc import Callable
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from slsgu.errors import SlsguError
from slsgu.menagerie.canvas import Canvas, Dice

DRAW_VERSION = 1
"""Changes whenever any picture does."""

# Family file and the function in it that paints; each has a table of its leaves.
FAMILIES: dict[str, tuple[str, str]] = {
    "dogs": ("draw_dog", "BREEDS"),
    "cats": ("draw_cat", "CATS"),
    "birds": ("draw_bird", "BIRDS"),
    "fish": ("draw_fish", "FISH"),
    "vehicles": ("draw_vehicle", "VEHICLES"),
    "flowers": ("draw_flower", "FLOWERS"),
    "trees": ("draw_tree", "TREES"),
    "fruits": ("draw_fruit", "FRUITS"),
}
_painters: dict[str, Callable[[Canvas, Dice, str], None]] = {}


def painters() -> dict[str, Callable[[Canvas, Dice, str], None]]:
    """Every leaf that can be drawn, with the function that paints it."""
    if not _painters:
        for module_name, (function, table) in FAMILIES.items():
            module = import_module(f"slsgu.menagerie.kinds.{module_name}")
            for leaf in getattr(module, table):
                _painters[leaf] = getattr(module, function)
    return _painters


def draw(leaf: str, index: int, *, seed: int = 0, size: int = 64) -> NDArray[np.uint8]:
    """Draws picture number ``index`` of a leaf of the menagerie.

    The scene depends on (leaf, index, seed) only: a larger ``size`` shows the same scene, crisper.

    Args:
        leaf: exact name of a leaf, such as ``"golden retriever"``.
        index: which picture, 0 or more.
        seed: another seed is another stream of pictures.
        size: width and height in pixels.

    Returns:
        RGB bytes, ``[size, size, 3]``.

    Raises:
        SlsguError: the menagerie has no such leaf.

    Example:
        >>> from slsgu.menagerie import draw
        >>> draw("golden retriever", 0).shape
        (64, 64, 3)
    """
    paint = painters().get(leaf)
    if paint is None:
        raise SlsguError(f"the menagerie cannot draw {leaf!r}; it has {', '.join(painters())}")
    if index < 0 or size < 1:
        raise SlsguError(f"index must be 0 or more and size positive, not {index} and {size}")
    canvas = Canvas(size)
    paint(canvas, Dice(leaf, index, seed), leaf)
    return canvas.image()
