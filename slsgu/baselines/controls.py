"""Controls: what an edit is worth that knows less than ours. A method that does no better has found
nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from slsgu.baselines.single_gradient import REMOVE, SingleGradient
from slsgu.baselines.train import as_patch
from slsgu.data.ledger import Ledger
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit
from slsgu.search.pooled import LastProjection
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress


def nothing(task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
    """No edit at all."""
    name = inventory(task.clip.model)[0].name
    still = torch.zeros_like(task.clip.model.get_parameter(name))
    return Edit(as_patch(task.clip, {name: still}, {"method": "nothing"}))


def last_layer(task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
    """Ours without a choice of layer: always the last projection of the image side.

    Raises:
        ModelError: the image side does not end in a projection.
    """
    return _on_layer(LastProjection.of(task.clip).layer.name, task, ledger, progress)


@dataclass(frozen=True)
class RandomLayer:
    """Ours with a layer that is drawn among all matrices of both towers, and the same search."""

    seed: int = 0
    random: bool = True
    variant: str = "ours on a layer that is drawn"

    def seeded(self, seed: int) -> RandomLayer:
        return replace(self, seed=seed)

    def __call__(self, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
        layers = inventory(task.clip.model)
        generator = torch.Generator().manual_seed(self.seed)
        place = int(torch.randint(len(layers), (), generator=generator))
        return _on_layer(layers[place].name, task, ledger, progress)


@dataclass(frozen=True)
class RandomDirection:
    """The layer and the norm of ours, in a direction that is drawn."""

    seed: int = 0
    random: bool = True
    variant: str = "the layer and the norm of ours, the direction is drawn"

    def seeded(self, seed: int) -> RandomDirection:
        return replace(self, seed=seed)

    def __call__(self, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
        start = time.perf_counter()
        ours = REMOVE(task, ledger, progress)
        generator = torch.Generator().manual_seed(self.seed)
        delta = {}
        for name, change in ours.patch.delta.items():
            noise = torch.randn(change.shape, generator=generator)
            delta[name] = noise * (change.norm() / noise.norm())
        record = {"method": "random-direction", "method_seed": self.seed}
        return Edit(
            Patch(delta, ours.patch.original, record),
            seconds={"total": time.perf_counter() - start},
            gradients=ours.gradients,
        )


def _on_layer(layer: str, task: Task, ledger: Ledger, progress: Progress) -> Edit:
    return SingleGradient(replace(REMOVE.settings, layer=layer))(task, ledger, progress)
