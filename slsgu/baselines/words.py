"""The texts of a task as the model reads them, and what an edit of a last projection makes of
them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slsgu.evaluation.embedded import Embedded
from slsgu.models.clip import Clip
from slsgu.models.layers import Tower
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit
from slsgu.search.pooled import LastProjection
from slsgu.utils.progress import SILENT, Progress

AT_ONCE = 256  # texts in one pass


@dataclass(frozen=True, eq=False)
class Words:
    """Every text of a task, read once.

    Attributes:
        projection: the last projection of the side that is edited.
        places: the row of each text.
        embeddings: normalised, fp64 [P, d].
        features: what goes into the last projection of the texts, in the same measure [P, i]; None
            where the image side is edited.
    """

    projection: LastProjection
    places: Mapping[str, int]
    embeddings: Tensor
    features: Tensor | None

    @classmethod
    def read(
        cls, clip: Clip, texts: Iterable[str], tower: Tower, progress: Progress = SILENT
    ) -> Words:
        """Encode texts.

        Args:
            texts: those of a task, or of several that share them.
            tower: the side whose last projection is to be edited.

        Raises:
            ModelError: this side does not end in a projection.
        """
        projection = LastProjection.of(clip, tower)
        # Texts of like length stand together: a batch is as slow as its longest.
        texts = sorted(set(texts), key=lambda text: (len(text), text))
        rows: list[Tensor] = []
        features: list[Tensor] = []
        with progress.bar("texts", len(texts)) as advance:
            for start in range(0, len(texts), AT_ONCE):
                batch = texts[start : start + AT_ONCE]
                if tower == "language":
                    inputs, found = projection.run(batch)
                    features.append(inputs.to("cpu", torch.float64))
                else:
                    found = clip.text_features(batch)
                rows.append(found.detach().to("cpu", torch.float64))
                advance(len(batch))
        embeddings = torch.cat(rows)
        lengths = embeddings.norm(dim=1, keepdim=True)
        places = {text: at for at, text in enumerate(texts)}
        read = torch.cat(features) / lengths if features else None
        return cls(projection, places, embeddings / lengths, read)

    @property
    def inputs(self) -> Tensor:
        """z of each text: what the change is a linear map of [P, i]."""
        return self.embeddings if self.features is None else self.features

    def rows(self, texts: Sequence[str]) -> list[int]:
        """The rows of some texts."""
        return [self.places[text] for text in texts]

    def mean(self, texts: Sequence[str]) -> Tensor:
        """The normalised mean of some texts [d]."""
        return functional.normalize(self.embeddings[self.rows(texts)].mean(dim=0), dim=0)

    def edited(self, change: Tensor, record: Mapping[str, Any]) -> TextEdit:
        """The edit that moves every text by a linear map of its z.

        Args:
            change: T [d, i].
            record: what the patch says of itself.
        """
        if self.features is None:  # the transposed map, from the other side
            delta = change.T @ self.projection.matrix
            after, images = self.embeddings, change.T
        else:
            delta, images = change, None
            after = functional.normalize(self.embeddings + self.features @ change.T, dim=1)
        patch = Patch(*self.projection.change(delta), record)
        return TextEdit(
            Edit(
                patch=patch,
                settings={k: v for k, v in record.items() if k not in ("method", "without_images")},
            ),
            Embedded(self.places, self.embeddings, after, images),
        )


@dataclass(frozen=True, eq=False)
class TextEdit:
    """An edit, and the texts of its task before and after it."""

    edit: Edit
    texts: Embedded
