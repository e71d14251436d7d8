"""The one training loop: every iterative method is a loss on it, perhaps with a mask or a scale.

rate        a share of the root mean square of the model's matrices, so that one grid serves
            models of any size (the papers' 1e-7 for ViT-L-14 is about 5e-6 of it)
optimiser   AdamW without weight decay
weights     all of both towers but the temperature; in evaluation mode, so that dropout is off
            and the running statistics of BatchNorm stay
stopping    the search images are looked at `checks` times; of these moments the one with the
            highest Q-U is taken, the last of equals
cap         image gradients in all, forget and retain images alike
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from slsgu.baselines.material import Material
from slsgu.baselines.step import Objective, take_step
from slsgu.errors import SlsguError
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.replay import edited
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch

FIXED = ("logit_scale", "logit_bias")  # parameters that no method trains


@dataclass(frozen=True)
class Budget:
    """How much an iterative method may spend.

    Attributes:
        cap: image gradients.
        batch: images of each kind in a step.
        checks: how often the search images are looked at.
    """

    cap: int = 480
    batch: int = 16
    checks: int = 6

    def __post_init__(self) -> None:
        if not (0 < self.batch <= self.cap and self.checks >= 1):
            raise SlsguError(
                f"a cap of {self.cap} image gradients in batches of {self.batch} with "
                f"{self.checks} checks makes no step: raise the cap"
            )


@dataclass(frozen=True)
class Check:
    """What the search images say at one moment of training."""

    step: int
    gradients: int
    measures: Measures

    @property
    def q_u(self) -> float:
        return self.measures.q_u or 0.0


@dataclass(frozen=True, eq=False)
class Trained:
    """Where training has led.

    Attributes:
        delta: the change of each weight at the moment that was taken, scaled.
        checks: every moment that was looked at, in order.
        taken: the one that was taken.
        gradients: image gradients that were computed in all.
    """

    delta: Mapping[str, Tensor]
    checks: tuple[Check, ...]
    taken: Check
    gradients: int


def train(
    material: Material,
    objective: Objective,
    *,
    rate: float,
    budget: Budget,
    seed: int,
    forget: bool = True,
    retain: bool = False,
    mask: Mapping[str, Tensor] | None = None,
    scale: float = 1.0,
    start: Mapping[str, Tensor] | None = None,
) -> Trained:
    """Lower a loss until the cap, and take the moment that the search images like best.

    Args:
        objective: the loss.
        rate: learning rate, as a share of the root mean square of the matrices.
        seed: of batches, prompts, and whatever the loss draws.
        forget, retain: which images are in a step.
        mask: the entries of each weight that may move; None lets all.
        scale: the edit is this times what training changed; a task vector takes a negative one.
        start: a change of some weights that training begins with.
    """
    clip, weights = trainable(material.task.clip)
    original = {name: weight.detach().clone() for name, weight in weights.items()}
    for name, change in (start or {}).items():
        weights[name].data += change.to(weights[name])
    generator = torch.Generator().manual_seed(seed)
    learner = torch.optim.AdamW(weights.values(), lr=rate * spread(clip.model), weight_decay=0.0)
    per_step = budget.batch * (forget + retain)
    steps = max(1, budget.cap // per_step)
    looks = {round(steps * (i + 1) / budget.checks) for i in range(budget.checks)} - {0}
    orders = _orders(material, generator, budget.batch, forget=forget, retain=retain)
    checks: list[Check] = []
    best: tuple[Check, dict[str, Tensor]] | None = None
    for step in range(1, steps + 1):
        loss = objective(take_step(material, clip, *next(orders), generator))
        learner.zero_grad(set_to_none=True)
        if math.isfinite(float(loss.detach())):
            loss.backward()  # type: ignore[no-untyped-call]
            _mask(weights, mask)
            learner.step()
        if step not in looks:
            continue
        delta = {name: scale * (weights[name].detach() - old) for name, old in original.items()}
        with standing(weights, {name: old + delta[name] for name, old in original.items()}):
            check = Check(step, step * per_step, material.check(clip))
        checks.append(check)
        if best is None or check.q_u >= best[0].q_u:  # what came later forgets more surely
            best = check, delta
    assert best is not None
    return Trained(best[1], tuple(checks), best[0], steps * per_step)


def trainable(clip: Clip) -> tuple[Clip, dict[str, nn.Parameter]]:
    """A copy of a model whose weights take gradients, and these weights by name."""
    model = copy.deepcopy(clip.model)
    weights = {name: p for name, p in model.named_parameters() if name not in FIXED}
    for weight in weights.values():
        weight.requires_grad_(True)
    return replace(clip, model=model), weights


def spread(model: nn.Module) -> float:
    """The root mean square of all entries of a model's matrices."""
    parameters = dict(model.named_parameters())
    matrices = [parameters[layer.name].detach() for layer in inventory(model)]
    total = sum(float(matrix.double().square().sum()) for matrix in matrices)
    return math.sqrt(total / sum(matrix.numel() for matrix in matrices))


def as_patch(clip: Clip, delta: Mapping[str, Tensor], record: Mapping[str, object]) -> Patch:
    """A patch of all weights that have moved; where none has, of one that has not."""
    moved = {n: d for n, d in delta.items() if bool(d.any())} or dict([next(iter(delta.items()))])
    original = {name: clip.as_stored(name) for name in moved}
    return Patch({n: d.to("cpu", torch.float32) for n, d in moved.items()}, original, record)


@contextlib.contextmanager
def standing(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, weights have other values; afterwards their own, to the bit."""
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(edited(weights[name], value))
        yield


def _mask(weights: Mapping[str, nn.Parameter], mask: Mapping[str, Tensor] | None) -> None:
    """Take from the gradients what may not move: without one, AdamW leaves an entry alone."""
    for name, allowed in (mask or {}).items():
        gradient = weights[name].grad
        if gradient is not None:
            gradient.mul_(allowed)


def _orders(
    material: Material, generator: torch.Generator, batch: int, *, forget: bool, retain: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """The images of each step, epoch after epoch, each in a new order."""
    kept = 0 if material.retain is None else len(material.retain.samples)
    if retain and not kept:
        raise SlsguError("this method needs images of what is to be kept: give some")
    counts = (len(material.forget.samples) if forget else 0, kept if retain else 0)
    streams = [_epochs(count, batch, generator) for count in counts]
    while True:
        yield next(streams[0]), next(streams[1])


def _epochs(count: int, batch: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Batches of a fixed size out of `count` images; empty ones if there are none."""
    queue: list[int] = []
    while True:
        while count and len(queue) < batch:
            queue += torch.randperm(count, generator=generator).tolist()
        yield queue[:batch]
        del queue[:batch]
