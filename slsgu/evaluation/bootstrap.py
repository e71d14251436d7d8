"""How much chance is in the measures of an edit: paired bootstrap intervals."""

from __future__ import annotations

import numpy as np

from slsgu.evaluation.metrics import KEYS, Bools, Group, measure, summarise
from slsgu.utils.statistics import stratified_resamples


def bootstrap(
    groups: list[Group], before: Bools, after: Bools, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % paired bootstrap intervals: images are resampled, and an image brings its answers
    before and after with it. Images that belong to the same groups are resampled among
    themselves, so every group keeps its count.

    Returns:
        Intervals of `quality`, `utility`, `q_u`, and of `after - before` as `change_<key>` for
        each of the four accuracies.
    """
    point = measure(groups, before, after)
    masks = np.stack([group.mask for group in groups], axis=1)  # [N, G]
    _, strata = np.unique(masks, axis=0, return_inverse=True)
    weights = stratified_resamples(strata, resamples, seed)  # [R, N]
    columns = [group.column for group in groups]
    counts = masks.sum(axis=0)
    drawn = [weights @ (answers[:, columns] & masks) / counts for answers in (before, after)]
    summary = summarise(point.levels, *drawn)
    values = {"quality": summary.quality, "utility": summary.utility, "q_u": summary.q_u}
    values |= {f"change_{key}": summary.after[key] - summary.before[key] for key in KEYS}
    return {
        name: (float(np.nanquantile(draws, 0.025)), float(np.nanquantile(draws, 0.975)))
        for name, draws in values.items()
        if not np.isnan(draws).all()
    }
