"""Images: where they come from, how they are split, and how they are read.

    folders, drawings   which pictures there are, and the leaf each belongs to (nothing is decoded)
    splits              three disjoint sets: gradient, search, test
    batches             decoded batches, and the ledger that proves the sets disjoint by pixels

Names are imported when first used, so that `import slsgu` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slsgu.data.batches import Batch, collect, stream
    from slsgu.data.drawings import DrawingSource
    from slsgu.data.folders import FolderSource, taxonomy_of_folders
    from slsgu.data.images import UnreadableImageError, pixel_hash, read_image
    from slsgu.data.ledger import Ledger, Overlap, Skipped
    from slsgu.data.samples import Sample
    from slsgu.data.splits import Limits, Splits, make_splits

_HOME = {
    "Batch": "batches",
    "DrawingSource": "drawings",
    "FolderSource": "folders",
    "Ledger": "ledger",
    "Limits": "splits",
    "Overlap": "ledger",
    "Sample": "samples",
    "Skipped": "ledger",
    "Splits": "splits",
    "UnreadableImageError": "images",
    "collect": "batches",
    "make_splits": "splits",
    "pixel_hash": "images",
    "read_image": "images",
    "stream": "batches",
    "taxonomy_of_folders": "folders",
}

__all__ = [
    "Batch",
    "DrawingSource",
    "FolderSource",
    "Ledger",
    "Limits",
    "Overlap",
    "Sample",
    "Skipped",
    "Splits",
    "UnreadableImageError",
    "collect",
    "make_splits",
    "pixel_hash",
    "read_image",
    "stream",
    "taxonomy_of_folders",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
