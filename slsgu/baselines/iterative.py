"""An iterative method: a loss on the one training loop (`slsgu.baselines.train`), with a knob."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from slsgu.baselines.material import Material
from slsgu.baselines.step import Objective
from slsgu.baselines.train import Budget, as_patch, train
from slsgu.data.ledger import Ledger
from slsgu.search.method import Edit
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

# Learning rates that are tried first, in the units of `slsgu.baselines.train`.
RATES = (4e-4, 1.6e-3, 6.4e-3)

Mask = Callable[[Material], tuple[Mapping[str, Tensor], int]]
"""Which entries of the weights may move, and how many image gradients it took to know."""


@runtime_checkable
class Tunable(Protocol):
    """A method with one knob, which is turned on the search split.

    Attributes:
        values: what is tried first, in geometric order.
        variant: which formula it is, and where it deviates from the published one.
        random: whether it depends on the seed.

    With an attribute `rising` that is false, it is a smaller value that forgets more.
    """

    @property
    def values(self) -> tuple[float, ...]: ...

    def at(self, value: float) -> Tunable:
        """The method with its knob at a value."""
        ...

    def within(self, budget: Budget) -> Tunable:
        """The method with another budget."""
        ...

    def seeded(self, seed: int) -> Tunable:
        """The method with another seed."""
        ...

    def __call__(self, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit: ...


@dataclass(frozen=True)
class Iterative:
    """A loss that training lowers, as a method.

    Attributes:
        name: of the method.
        objective: the loss.
        variant: which formula it is, and where it deviates from the published one.
        forget, retain: which images are in a step.
        mask: which entries may move; None lets all.
        scale: the edit is this times what training changed.
        rate: learning rate, as a share of the root mean square of the matrices.
        budget: what may be spent.
        seed: of all that is drawn.
    """

    name: str
    objective: Objective
    variant: str
    forget: bool = True
    retain: bool = False
    mask: Mask | None = None
    scale: float = 1.0
    rate: float = RATES[1]
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    random: bool = True
    values: tuple[float, ...] = RATES

    def at(self, value: float) -> Iterative:
        return replace(self, rate=value)

    def within(self, budget: Budget) -> Iterative:
        return replace(self, budget=budget)

    def seeded(self, seed: int) -> Iterative:
        return replace(self, seed=seed)

    def __call__(self, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
        """Train, and hand over the change of all weights.

        Raises:
            DataError: images cannot be used.
            SlsguError: there are no images of what is to be kept, and the method needs some.
        """
        material = Material.of(task, ledger, progress)
        start = time.perf_counter()
        mask, spent = (None, 0) if self.mask is None else self.mask(material)
        trained = train(
            material,
            self.objective,
            rate=self.rate,
            budget=self.budget,
            seed=self.seed,
            forget=self.forget,
            retain=self.retain,
            mask=mask,
            scale=self.scale,
        )
        settings = {
            "rate": self.rate,
            "scale": self.scale,
            "seed": self.seed,
            **asdict(self.budget),
            "taken_at": trained.taken.gradients,
            "checks": [
                {"gradients": check.gradients, **check.measures.summary()}
                for check in trained.checks
            ],
        }
        record = {"method": self.name, "rate": self.rate, "method_seed": self.seed}
        return Edit(
            patch=as_patch(task.clip, trained.delta, record),
            measures=trained.taken.measures,
            seconds={"read": material.seconds, "train": time.perf_counter() - start},
            settings=settings,
            gradients=trained.gradients + spent,
        )
