"""Which weights matter to a loss: gradients of all of them at the unedited model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from slsgu.baselines.material import Material, Pictures
from slsgu.baselines.step import Objective, Step, take_step
from slsgu.baselines.train import trainable

BATCH = 16
SEED = 0  # of the prompts that are drawn


def salient(
    material: Material, objective: Objective, *, share: float
) -> tuple[Mapping[str, Tensor], int]:
    """The entries with the largest gradient over all images to be forgotten (Fan et al. 2024).

    Args:
        share: how many count, of all entries that have a gradient; rows of the token embedding
            that no prompt uses have none.

    Returns:
        Which entries they are, by weight, and how many image gradients it took.
    """
    sums: dict[str, Tensor] = {}
    count = 0
    for size, gradients in gradients_of(material, objective, "forget"):
        count += size
        for name, gradient in gradients.items():
            sums[name] = sums.get(name, 0) + size * gradient
    sizes = torch.cat([gradient[gradient != 0].abs() for gradient in sums.values()])
    least = sizes.kthvalue(max(1, round((1 - share) * len(sizes)))).values
    return {name: gradient.abs() > least for name, gradient in sums.items()}, count


def gradients_of(
    material: Material, objective: Objective, which: str
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The gradient of a loss, batch by batch, and how many images each batch has.

    Args:
        which: `forget` or `retain`, the images.
    """
    clip, weights = trainable(material.task.clip)
    generator = torch.Generator().manual_seed(SEED)
    pictures: Pictures | None = getattr(material, which)
    count = 0 if pictures is None else len(pictures.samples)
    for start in range(0, count, BATCH):
        rows = list(range(start, min(start + BATCH, count)))
        forget, retain = (rows, []) if which == "forget" else ([], rows)
        step: Step = take_step(material, clip, forget, retain, generator)
        for weight in weights.values():
            weight.grad = None
        objective(step).backward()  # type: ignore[no-untyped-call]
        yield len(rows), {n: w.grad for n, w in weights.items() if w.grad is not None}
