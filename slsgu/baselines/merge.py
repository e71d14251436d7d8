"""Merge: make what is to be forgotten look like its siblings, in closed form
(`slsgu.direction.merge`)."""

from __future__ import annotations

import time

from slsgu.data.ledger import Ledger
from slsgu.direction.merge import DAMPING, merged
from slsgu.errors import SlsguError
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit
from slsgu.search.pooled import LastProjection, PooledFeatures, mean_differences
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

METHOD = "merge"


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
    differences = mean_differences(features.means, task.request)
    delta = merged(projection.matrix, differences, features.kept_moment, dial, damping)
    record = {"method": METHOD, "dial": dial, "damping": damping}
    settings = {"dial": dial, "damping": damping}
    return Edit(
        patch=Patch(*projection.change(delta), record),
        settings=settings,
        seconds={"closed form": time.perf_counter() - start},
    )
