"""A layer and the straight line along which it moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slsgu.direction.direction import DIRECTIONS, DirectionContext, first_step
from slsgu.direction.kfac import KroneckerFisher
from slsgu.evaluation.closed_form import Line, straight_line
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.gradients import Gradients
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer
from slsgu.patch.patch import Patch
from slsgu.task.plan import Plan

CHECK_STEP = 0.01  # share of the first step at which the directional check looks


@dataclass(frozen=True, eq=False)
class Ray:
    """A layer and the straight line along which it moves: `weight + start + step * direction`.

    Attributes:
        weight: of the unedited model.
        direction: what a step adds, times its size.
        start: what is added before any step; None for nothing.
        merge: how far `start` merges the concept with its siblings.
    """

    layer: Layer
    weight: Tensor
    direction: Tensor
    start: Tensor | None = None
    merge: float = 0.0

    @classmethod
    def of(
        cls, plan: Plan, layer: Layer, gradients: Gradients, fisher: KroneckerFisher | None = None
    ) -> Ray:
        weight = dict(plan.task.clip.model.named_parameters())[layer.name].detach().clone()
        context = DirectionContext(
            layer=layer,
            weight=weight,
            forget=gradients.forget[layer.name].to(weight),
            retain=gradients.retain[layer.name].to(weight),
            fisher=fisher,
        )
        return cls(layer, weight, DIRECTIONS[plan.settings.direction_used](context))

    def from_merge(self, dial: float, whole: Tensor) -> Ray:
        """The same direction from where the concept is merged with its siblings.

        Args:
            dial: how far.
            whole: what merges all the way, in the shape of the weight.
        """
        return replace(self, start=(dial * whole).to(self.weight), merge=dial)

    @property
    def first(self) -> float:
        """The first step size tried."""
        return first_step(float(self.weight.norm()), self.direction)

    def at(self, step: float) -> Tensor:
        """The layer's weights after a step."""
        return self.weight + self.delta(step)

    def delta(self, step: float) -> Tensor:
        """What a step and the start add, fp32."""
        moved = step * self.direction
        return moved if self.start is None else self.start + moved

    def patch(self, step: float, clip: Clip) -> Patch:
        """A step as a patch, with the layer as it was in its stored precision."""
        name = self.layer.name
        stored = clip.stored_dtypes.get(name, torch.float32)
        return Patch(
            {name: self.delta(step).to("cpu", torch.float32)},
            {name: self.weight.to("cpu", stored)},
        )

    def relative(self, step: float) -> float:
        """The length of the whole change as a share of the norm of the weights."""
        length = step * float(self.direction.norm())
        if self.start is not None:
            length = float(self.delta(step).norm())
        return length / max(float(self.weight.norm()), 1e-12)

    def rises(self, search_set: SearchSet) -> bool:
        """The directional check: a small step along the direction must raise the forget loss."""
        replay = search_set.replay
        before = replay.base
        if self.start is not None:
            before = replay.with_weight(self.layer, self.at(0.0))
        after = replay.with_weight(self.layer, self.at(CHECK_STEP * self.first))
        return search_set.loss(*after) > search_set.loss(*before)

    def line(self, search_set: SearchSet) -> Line | None:
        """The line on which features move, for a last projection of the image side."""
        if self.layer.tower != "vision" or not self.layer.last:
            return None
        return straight_line(
            lambda step: search_set.replay.features(self.layer, self.at(step)), self.first
        )
