"""Layers by forgetting per unit of harm, beside the paper's importance and alignment.

The Fisher matrix of what must be kept (`slsgu.direction.kfac`) needs the model and the search
images, so it is taken only of the layers that a search would try.
"""

from __future__ import annotations

from collections.abc import Sequence

from slsgu.direction.kfac import KroneckerFisher
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.gradients import Gradients
from slsgu.search.candidates import pick_candidates, with_efficiency
from slsgu.search.curvature import kept_fisher
from slsgu.search.pareto import LayerScore
from slsgu.task.plan import Plan
from slsgu.utils.progress import SILENT, Progress


def measure_efficiency(
    plan: Plan,
    gradients: Gradients,
    scores: Sequence[LayerScore],
    progress: Progress = SILENT,
) -> list[LayerScore]:
    """The scores, with the efficiency of the fronts and the last projections of both towers.

    Raises:
        DataError: the search images cannot be used.
    """
    ledger = plan.task.ledger()
    ledger.restore("gradient", gradients.info["pixel_hashes"])
    search_set = SearchSet.read(plan, ledger, progress)
    # What was scored without competing (gains, where they do not) is on no front.
    picked = [layer for layer, _ in pick_candidates(plan, scores)]
    fishers: dict[str, KroneckerFisher] = {}
    for tower in ("vision", "language"):
        layers = sorted((x for x in picked if x.tower == tower), key=lambda x: x.block or 0)
        if layers:
            search_set.replay.prepare(layers[0])
            fishers |= kept_fisher(search_set, layers, seed=plan.task.seed)
    return [with_efficiency(score, gradients, fishers.get(score.layer)) for score in scores]
