"""Which layers matter: importance (eq. 7), alignment (eq. 8) and the Pareto front (Algorithm 2).

Pure numbers: no model and no images are needed, only gradients and the norms of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from slsgu.gradients.gradients import Gradients
from slsgu.models.layers import Layer


@dataclass(frozen=True)
class LayerScore:
    """One layer's place in the importance / alignment plane.

    Attributes:
        importance: norm of the forget gradient over norm of the weights (eq. 7).
        alignment: absolute cosine between forget and retain gradient (eq. 8). The published code
            takes the absolute value, since orthogonality is what is wanted.
        cosine: the same with its sign.
        on_front: undominated within its tower.
        efficiency: forgetting per unit of harm (`KroneckerFisher.efficiency`); None where it was
            not measured.
    """

    layer: str
    tower: str
    kind: str
    importance: float
    alignment: float
    cosine: float
    on_front: bool = False
    efficiency: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score_layers(
    layers: Iterable[Layer],
    forget: Mapping[str, Tensor],
    retain: Mapping[str, Tensor],
    weight_norms: Mapping[str, float],
    competing: Callable[[Layer], bool] = lambda layer: True,
) -> list[LayerScore]:
    """Score every layer and mark the front of each tower, most important first.

    Args:
        layers: the layers to score.
        forget: gradient of the forget loss by layer name.
        retain: gradient of the retain loss by layer name, of the same shapes.
        weight_norms: l2 norm of each layer's weights.
        competing: which of the layers may stand on a front.
    """
    layers = list(layers)
    entered = {layer.name for layer in layers if competing(layer)}
    scores = []
    for layer in layers:
        cosine = cosine_similarity(forget[layer.name], retain[layer.name])
        norm = weight_norms[layer.name]
        # In double: the squares of large values are infinite in single precision.
        length = float(vector_norm(forget[layer.name], dtype=torch.float64))
        importance = length / norm if norm > 0 else 0.0
        scores.append(
            LayerScore(layer.name, layer.tower, layer.kind, importance, abs(cosine), cosine)
        )
    # A layer without any forget gradient cannot be stepped along: it never stands on a front.
    usable = [score for score in scores if score.importance > 0 and score.layer in entered]
    members = {
        member.layer
        for tower in ("vision", "language")
        for member in pareto_front([score for score in usable if score.tower == tower])
    }
    marked = [replace(score, on_front=score.layer in members) for score in scores]
    return sorted(marked, key=lambda score: (-score.importance, score.layer))


def rank_layers(
    gradients: Gradients,
    *,
    norms: bool,
    also: str | None = None,
    every: bool = False,
    reads: Callable[[Layer], bool] = lambda layer: True,
) -> list[LayerScore]:
    """Importance, alignment and the front of each tower; needs no model.

    Args:
        norms: whether gains of LayerNorm and BatchNorm compete too.
        also: one gain that competes all the same, since an expert chose it.
        every: score gains that do not compete, too.
        reads: which layers may stand on a front at all.
    """

    def competes(layer: Layer) -> bool:
        return reads(layer) and (norms or layer.kind != "norm" or layer.name == also)

    layers = [layer for layer in gradients.layers if every or competes(layer)]
    return score_layers(
        layers, gradients.forget, gradients.retain, gradients.weight_norms, competes
    )


def cosine_similarity(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors of one shape; 0 where either is zero."""
    norms = float(a.double().norm()) * float(b.double().norm())
    return float((a.double() * b.double()).sum()) / norms if norms > 0 else 0.0


def pareto_front(scores: Sequence[LayerScore]) -> list[LayerScore]:
    """Algorithm 2: the scores that no other beats, by ascending alignment.

    A score is beaten by one that is at least as important and at most as aligned, and strictly
    better in one of the two. (The paper prints two strict inequalities, which would keep a layer
    that only ties in one; with real-valued scores the two readings agree.)

    >>> a, b, c = (LayerScore(n, "vision", "matrix", i, al, al)
    ...            for n, i, al in [("a", 1.0, 0.1), ("b", 2.0, 0.5), ("c", 0.5, 0.2)])
    >>> [score.layer for score in pareto_front([a, b, c])]
    ['a', 'b']
    """
    front: list[LayerScore] = []
    for score in sorted(scores, key=lambda s: (s.alignment, -s.importance, s.layer)):
        if not front or score.importance > front[-1].importance:
            front.append(score)
        elif (score.importance, score.alignment) == (front[-1].importance, front[-1].alignment):
            front.append(score)  # an exact tie: neither beats the other
    return front
