"""A layer and the straight line along which it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.direction.direction import DIRECTIONS, DirectionContext, first_step
from slsgu.direction.kfac import KroneckerFisher
from slsgu.evaluation.closed_form import LINEAR, Line, straight_line
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.gradients import Gradients
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer
from slsgu.patch.patch import Patch
from slsgu.search.start import Start
from slsgu.task.plan import Plan
from slsgu.task.settings import MergeOnto

CHECK_STEP = 0.01  # share of the first step at which the directional check looks


@dataclass(frozen=True, eq=False)
class Ray:
    """A layer and the straight line along which it moves: `weight + start + step * direction`.

    Attributes:
        weight: of the unedited model.
        direction: what a step adds, times its size.
        start: what is added before any step (`slsgu.search.start`); None for nothing.
        merge: how far `start` merges the concept with its siblings.
        onto: with the mean of its siblings, or with the nearest of them.
        unnamed: how much of its name `start` takes.
    """

    layer: Layer
    weight: Tensor
    direction: Tensor
    start: Tensor | None = None
    merge: float = 0.0
    onto: MergeOnto = "siblings"
    unnamed: float = 0.0

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

    def from_start(self, start: Start, dial: float, onto: MergeOnto = "siblings") -> Ray:
        """The same direction from a start.

        Args:
            dial: how far it merges.
            onto: with what.
        """
        added = start.at(dial, onto).to(self.weight)
        unnamed = 0.0 if start.names is None else start.taken
        return replace(self, start=added, merge=dial, onto=onto, unnamed=unnamed)

    @property
    def moves(self) -> bool:
        """Whether there is a direction at all."""
        return float(self.direction.norm()) > 0

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
        delta = self.delta(step).to("cpu", torch.float32)
        return Patch({name: delta}, {name: clip.as_stored(name)})

    def relative(self, step: float) -> float:
        """The length of the whole change as a share of the norm of the weights."""
        length = step * float(self.direction.norm())
        if self.start is not None:
            length = float(self.delta(step).norm())
        return length / max(float(self.weight.norm()), 1e-12)

    def rises(self, search_set: SearchSet, line: Line | None) -> bool:
        """The directional check: a small step along the direction must raise the forget loss.

        Args:
            line: of the layer, if features move on one.
        """
        at = CHECK_STEP * self.first
        if line is not None:
            prompts = search_set.replay.base[1]
            before, after = (normalize(line.at(step), dim=-1) for step in (0.0, at))
            return search_set.loss(after, prompts) > search_set.loss(before, prompts)
        replay = search_set.replay
        moved = replay.with_weight(self.layer, self.at(at))
        return search_set.loss(*moved) > search_set.loss(*replay.base)

    def line(self, search_set: SearchSet) -> Line | None:
        """The line on which features move, for a last projection of the image side."""
        if self.layer.tower != "vision" or not self.layer.last or not self.moves:
            return None
        return straight_line(
            lambda step: search_set.replay.features(self.layer, self.at(step)), self.first
        )


def parallel_lines(search_set: SearchSet, rays: Sequence[Ray]) -> list[Line | None]:
    """The lines of rays that differ in how far they merge. What a start adds is linear in that, so
    the first and the last one say where the others begin; one between them checks it."""
    first = rays[0].line(search_set)
    if first is None or len(rays) < 3:
        return [first, *(ray.line(search_set) for ray in rays[1:])]

    def features(ray: Ray, step: float) -> Tensor:
        return search_set.replay.features(ray.layer, ray.at(step)).double()

    span = features(rays[-1], 0.0) - first.base
    shares = [(ray.merge - rays[0].merge) / (rays[-1].merge - rays[0].merge) for ray in rays]
    lines = [Line(first.base + share * span, first.slope) for share in shares]
    middle, step = len(rays) // 2, rays[0].first
    there = features(rays[middle], step)
    expected = lines[middle].base + step * lines[middle].slope
    if float((there - expected).norm()) > LINEAR * float(there.norm()):
        return [first, *(ray.line(search_set) for ray in rays[1:])]
    return list(lines)
