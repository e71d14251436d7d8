"""Texts before and after an edit, embedded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Embedded:
    """Texts before and after an edit.

    Attributes:
        places: the row of each text.
        before, after: normalised embeddings [P, d].
        images: how image embeddings move, as a linear map [d, d]; None if they do not.
    """

    places: Mapping[str, int]
    before: Tensor
    after: Tensor
    images: Tensor | None = None

    def mean(self, texts: Sequence[str], *, after: bool = False) -> Tensor:
        """The normalised mean of some texts [d]."""
        return functional.normalize(self.prompts(texts, after=after).mean(dim=0), dim=0)

    def prompts(self, texts: Sequence[str], *, after: bool = False) -> Tensor:
        """Some texts [n, d]."""
        rows = [self.places[text] for text in texts]
        return (self.after if after else self.before)[rows]

    def moved(self, images: Tensor) -> Tensor:
        """Stand-ins for images [n, d], as the edited image side would give them."""
        if self.images is None:
            return images
        return functional.normalize(images + images @ self.images.T, dim=1)
