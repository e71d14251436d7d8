"""Selective synaptic dampening (SSD, Foster et al. 2024): scale down weights that matter much more
to what is to be forgotten than to what is kept. No training.

    importance  I(theta) = mean over batches of the squared gradient of the cross-entropy
    dampened    theta * min(lambda I_keep / I_forget, 1)   where I_forget > alpha I_keep

The paper has alpha = 10 and lambda = 1. Where a model is sure of the concept, its gradients on it
are far smaller than on what is kept, and nothing is dampened; so the knob moves both: lambda =
alpha / 10.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace

from torch import Tensor

from slsgu.baselines.losses import descent
from slsgu.baselines.material import Material
from slsgu.baselines.objectives import mean_over
from slsgu.baselines.salience import gradients_of
from slsgu.baselines.step import Objective, Step
from slsgu.baselines.train import Budget, as_patch, standing, trainable
from slsgu.data.ledger import Ledger
from slsgu.errors import SlsguError
from slsgu.search.method import Edit
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # 10 is the paper's
RATIO = 10.0  # of alpha and lambda


@dataclass(frozen=True)
class Dampening:
    """SSD as a method.

    Attributes:
        alpha: how much more a weight must matter to what is to be forgotten.
    """

    alpha: float = 10.0
    variant: str = "lambda = alpha / 10; as its code, squares the gradient of a batch"
    random: bool = False
    rising: bool = False  # a small alpha dampens more
    values: tuple[float, ...] = ALPHAS

    def at(self, value: float) -> Dampening:
        return replace(self, alpha=value)

    def within(self, budget: Budget) -> Dampening:
        """All images once, whatever the budget."""
        return self

    def seeded(self, seed: int) -> Dampening:
        return self

    def __call__(self, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
        """Dampen.

        Raises:
            DataError: images cannot be used.
            SlsguError: there are no images of what is to be kept.
        """
        material = Material.of(task, ledger, progress)
        if material.retain is None:
            raise SlsguError("SSD needs images of what is to be kept: give some")
        gone, kept, spent, spent_on = importances(material)
        start = time.perf_counter()
        clip, weights = trainable(task.clip)
        delta = {}
        for name, weight in weights.items():
            if name in gone and name in kept:
                factor = dampened(gone[name], kept[name], self.alpha)
                delta[name] = weight.detach() * (factor - 1)
        values = {name: weights[name].detach() + change for name, change in delta.items()}
        with standing(weights, values):
            measures = material.check(clip)
        settings = {
            "alpha": self.alpha,
            "lambda": self.alpha / RATIO,
            "shared_gradients": spent,
        }
        return Edit(
            patch=as_patch(task.clip, delta, {"method": "ssd", "alpha": self.alpha}),
            measures=measures,
            seconds={
                "read": material.seconds + spent_on,
                "dampening": time.perf_counter() - start,
            },
            settings=settings,
            gradients=spent,
        )


@functools.lru_cache(maxsize=1)  # the knob leaves them as they are
def importances(material: Material) -> tuple[dict[str, Tensor], dict[str, Tensor], int, float]:
    """What matters to what is to be forgotten, and to what is kept; how many images and seconds it
    took."""
    start = time.perf_counter()
    gone, some = importance(material, _class, "forget")
    kept, others = importance(material, _kept, "retain")
    return gone, kept, some + others, time.perf_counter() - start


def importance(
    material: Material, objective: Objective, which: str
) -> tuple[dict[str, Tensor], int]:
    """The mean squared gradient of each weight over batches, and how many images it took."""
    sums: dict[str, Tensor] = {}
    batches = images = 0
    for size, gradients in gradients_of(material, objective, which):
        batches, images = batches + 1, images + size
        for name, gradient in gradients.items():
            sums[name] = sums.get(name, 0) + gradient.square()
    return {name: total / batches for name, total in sums.items()}, images


def dampened(forget: Tensor, keep: Tensor, alpha: float) -> Tensor:
    """The factor of each weight.

    >>> import torch
    >>> dampened(torch.tensor([1.0, 20.0]), torch.tensor([1.0, 1.0]), 10.0)
    tensor([1.0000, 0.0500])
    """
    factor = (alpha / RATIO * keep / forget.clamp_min(1e-30)).clamp_max(1)
    return factor.where(forget > alpha * keep, 1.0)


def _class(step: Step) -> Tensor:
    return mean_over(step.forgotten, lambda s: descent(s.now, s.labels))


def _kept(step: Step) -> Tensor:
    assert step.retain is not None
    return descent(step.retain.now, step.retain.labels)


SSD = Dampening()
