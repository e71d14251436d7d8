"""Merge: make what is to be forgotten look like its siblings, in closed form.

The last projection of the image side maps pooled features h to embeddings W h. For each leaf to be
forgotten let d be the mean of its features less the mean of its siblings', D the columns d, and C
the second moment of the features that must be kept. Then

    W <- W - a (W D) (D' C^-1 D)^-1 D' C^-1

is, at a = 1, the smallest change of what is kept (in the metric of C) after which the mean
embedding of each leaf to be forgotten is that of its siblings: W D becomes (1 - a) W D.

C is damped: `DAMPING` of its mean diagonal is added to its diagonal, since there may be fewer kept
images than features.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from slsgu.concepts.request import Request
from slsgu.data.ledger import Ledger
from slsgu.direction.kfac import damped
from slsgu.errors import DataError, SlsguError
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit
from slsgu.search.pooled import LastProjection, PooledFeatures
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

METHOD = "merge"
DAMPING = 0.1


def merge(
    task: Task,
    ledger: Ledger,
    progress: Progress = SILENT,
    *,
    dial: float = 1.0,
    damping: float = DAMPING,
) -> Edit:
    """Merge the leaves to be forgotten with their siblings.

    Args:
        task: what to forget, on which images; those of the gradient split are used.
        ledger: learns which pictures were used.
        dial: a, how far; 1 puts the means on one place.
        damping: share of the mean diagonal of C that is added to its diagonal.

    Raises:
        DataError: a leaf to be forgotten or its siblings have no usable image.
        ModelError: the image side does not end in a projection.
        SlsguError: the dial is not finite, or the damping is not positive.
    """
    if not (abs(dial) < float("inf") and 0 < damping < float("inf")):
        raise SlsguError(
            f"merge needs a finite dial and a positive damping, not {dial} and {damping}"
        )
    start = time.perf_counter()
    projection = LastProjection.of(task.clip)
    features = PooledFeatures.read(projection, task, ledger, progress)
    differences = mean_differences(features, task.request)
    delta = merged(projection.matrix, differences, features.kept_moment, dial, damping)
    record = {"method": METHOD, "dial": dial, "damping": damping}
    settings = {"dial": dial, "damping": damping}
    return Edit(
        patch=Patch(*projection.change(delta), record),
        settings=settings,
        seconds={"closed form": time.perf_counter() - start},
    )


def merged(
    weight: Tensor, differences: Tensor, moment: Tensor, dial: float, damping: float
) -> Tensor:
    """The change of the weight [o, i], fp64.

    Args:
        weight: W [o, i].
        differences: D, one column for each leaf to be forgotten [i, k].
        moment: the undamped second moment of what is kept [i, i].
    """
    solved = torch.linalg.solve(damped(moment, damping), differences)  # C^-1 D
    gram = differences.T @ solved  # [k, k]
    # Leaves whose differences are not independent, as more leaves than features, share directions.
    change: Tensor = weight @ differences @ torch.linalg.pinv(gram, hermitian=True) @ solved.T
    return -dial * change


def mean_differences(features: PooledFeatures, request: Request) -> Tensor:
    """D: for each leaf to be forgotten, its mean less the mean of its siblings' means [i, k].

    Raises:
        DataError: there are no images of a leaf, or none of any sibling.
    """
    columns = []
    for leaf in request.forget_leaves:
        siblings = [other for other in request.siblings(leaf) if other in features.means]
        if leaf not in features.means:
            raise DataError(
                f"merge needs images of {leaf.key} in the gradient split: there is none"
            )
        if not siblings:
            raise DataError(
                f"merge moves {leaf.key} onto its siblings, and there is no image of any in the "
                "gradient split: give images of other classes beside it, or use another method"
            )
        others = torch.stack([features.means[other] for other in siblings]).mean(dim=0)
        columns.append(features.means[leaf] - others)
    return torch.stack(columns, dim=1)
