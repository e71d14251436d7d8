"""Pictures of the menagerie, drawn when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.samples import Sample
from slsgu.errors import DataError
from slsgu.utils.files import json_sha256
from slsgu.utils.wording import some

if TYPE_CHECKING:
    from PIL import Image

SIZE = 64  # pixels, the side of a drawing

# The model was trained on seed 1_000_003, which is 4 modulo 7: whatever the user's seed, the
# seeds below are 1, 2 and 3 modulo 7, so none of the three splits was ever trained on.
_SPLIT_SEED = {"gradient": 1, "search": 2, "test": 3}
_STRIDE = 7


def split_seed(split: str, seed: int) -> int:
    """The drawing seed of one split under the user's seed.

    >>> [split_seed(split, 0) for split in ("gradient", "search", "test")]
    [1, 2, 3]
    """
    return _SPLIT_SEED[split] + _STRIDE * seed


@dataclass(frozen=True)
class DrawnSample:
    """Drawing number `index` of a leaf."""

    leaf: Concept
    index: int
    seed: int
    fingerprint: str
    caption: None = None

    @property
    def name(self) -> str:
        return f"{self.leaf.name} #{self.index}"

    def read(self) -> Image.Image:
        from PIL import Image

        from slsgu.menagerie.draw import draw

        return Image.fromarray(draw(self.leaf.name, self.index, seed=self.seed, size=SIZE))


class DrawingSource:
    """As many drawings as wanted, of every leaf of the menagerie's taxonomy (or a part of it).

    Args:
        taxonomy: its leaves must be leaves of the menagerie, by name.

    Raises:
        DataError: a leaf cannot be drawn.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        from slsgu.menagerie import TAXONOMY_FILE

        known = {leaf.name for leaf in Taxonomy.load(TAXONOMY_FILE).leaves}
        unknown = [leaf.name for leaf in taxonomy.leaves if leaf.name not in known]
        if unknown:
            raise DataError(
                f"the menagerie has no drawings of {some(unknown)} "
                f"(taxonomy {taxonomy.name!r}): give a folder of images for this taxonomy"
            )
        self.taxonomy = taxonomy
        self.notes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Kind and name, as JSON values."""
        return {"kind": "drawings", "root": "menagerie"}

    def samples(self, leaf: Concept, split: str, count: int, seed: int) -> list[Sample]:
        """The first `count` drawings of a leaf for one split."""
        from slsgu.menagerie.draw import DRAW_VERSION

        number = split_seed(split, seed)
        return [
            DrawnSample(leaf, i, number, json_sha256([leaf.name, i, number, SIZE, DRAW_VERSION]))
            for i in range(count)
        ]
