"""By how much images that are to be forgotten keep or lose their name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.data.samples import Sample
from slsgu.evaluation.exam import Exam
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.unseen import Unseen, unseen


@dataclass(frozen=True, eq=False)
class Margins:
    """Which names are asked of which images.

    Attributes:
        asked: for each level that is to be forgotten, its column, and of the forget images that
            have a label there the place among the forget images and the label, both [n].
        leaves: the class of each forget image, as a number [F].
    """

    asked: tuple[tuple[int, Tensor, Tensor], ...]
    leaves: npt.NDArray[np.int64]

    @classmethod
    def of(cls, exam: Exam, unchanged: Measures, samples: Sequence[Sample]) -> Margins:
        """Of the images of an exam.

        Args:
            unchanged: measures of the unedited model. Levels that are not measurable are asked
                only where none is.
            samples: the forget images, in order.
        """
        levels = zip(exam.groups, unchanged.levels, strict=True)
        forgotten = [(group, row.measurable) for group, row in levels if group.forgotten]
        known = [group for group, measurable in forgotten if measurable]
        asked = tuple(
            (
                group.column,
                torch.from_numpy(np.flatnonzero(group.mask[exam.forget])),
                torch.from_numpy(exam.labels[group.mask, group.column]),
            )
            for group in known or [group for group, _ in forgotten]
        )
        own = [sample.leaf for sample in samples]
        numbers = {leaf: number for number, leaf in enumerate(dict.fromkeys(own))}
        return cls(asked, np.array([numbers[leaf] for leaf in own], dtype=np.int64))

    def unseen(self, images: Tensor, classes: Sequence[Tensor]) -> Unseen | None:
        """What margins say of unseen images, at the level at which most of them keep their name.

        Args:
            images: embeddings of the forget images, in order [F, d]; their length does not matter.
            classes: class embeddings of every level, each [C, d].
        """
        images = normalize(images, dim=-1)
        found = []
        for column, rows, labels in self.asked:
            scores = images[rows.to(images.device)] @ classes[column].to(images).T  # [n, C]
            own = labels.to(images.device)[:, None]
            other = scores.scatter(1, own, -torch.inf).amax(dim=1)
            margins = (scores.gather(1, own)[:, 0] - other).double().cpu().numpy()
            estimate = unseen(margins, self.leaves[rows.numpy()])
            if estimate is not None:
                found.append(estimate)
        return max(found, key=lambda estimate: estimate.share, default=None)
