"""A sample: one picture, with a label or a caption, that has not been decoded yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slsgu.concepts.taxonomy import Concept

if TYPE_CHECKING:
    from PIL import Image


class Sample(Protocol):
    """One picture, the leaf it belongs to, its own caption. Can be pickled."""

    @property
    def leaf(self) -> Concept | None:
        """The finest class of the picture; None for one that is of no class."""

    @property
    def caption(self) -> str | None:
        """The picture's own words; None takes those of its leaf. Never both None."""

    @property
    def name(self) -> str:
        """What people are shown, such as `golden_retriever/0001.jpg`. Always valid Unicode."""

    @property
    def fingerprint(self) -> str:
        """Hex identity of the content that needs no decoding. Equal fingerprints mean equal
        pictures; the reverse need not hold (the same picture saved twice)."""

    def read(self) -> Image.Image:
        """Decode the picture, mode RGB.

        Raises:
            UnreadableImageError: it cannot be decoded; the reason is in the message.
        """
