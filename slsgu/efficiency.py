"""Layers by forgetting per unit of harm, beside the paper's importance and alignment.

The metric of what must be kept (`slsgu.metric`) needs the model and the search images, so it is
taken only of the layers that a search would try.
"""

from __future__ import annotations

from collections.abc import Sequence

from slsgu.cache import Gradients
from slsgu.candidates import pick_candidates, with_efficiency
from slsgu.keep import keep_metrics
from slsgu.metric import Metric
from slsgu.pareto import LayerScore
from slsgu.plan import Plan
from slsgu.progress import SILENT, Progress
from slsgu.scene import Scene


def measure_efficiency(
    plan: Plan,
    gradients: Gradients,
    scores: Sequence[LayerScore],
    progress: Progress = SILENT,
) -> list[LayerScore]:
    """The scores, with the efficiency of the fronts and the last projections of both towers.

    Raises:
        DataError: the search images can not be used.
    """
    ledger = plan.task.ledger()
    ledger.restore("gradient", gradients.info["pixel_hashes"])
    scene = Scene.read(plan, ledger, progress)
    picked = [layer for layer, _ in pick_candidates(plan, scores)]
    found: dict[str, Metric] = {}
    for tower in ("vision", "language"):
        layers = sorted((x for x in picked if x.tower == tower), key=lambda x: x.block or 0)
        if layers:
            scene.replay.prepare(layers[0])
            found |= keep_metrics(scene, layers, seed=plan.task.seed)
    return [with_efficiency(score, gradients, found.get(score.layer)) for score in scores]
