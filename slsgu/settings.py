"""Every choice of a run that is not the model, the data or the request, in one frozen value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from slsgu.data.splits import Limits
from slsgu.errors import SlsguError
from slsgu.measures import KEPT

if TYPE_CHECKING:
    import torch

SearchMode = Literal["default", "paper"]
TowerChoice = Literal["vision", "language"]
GradientPrecision = Literal["fp32", "bf16"]
MOST_TRIALS = 60  # doubled as often, a step leaves every weight behind


@dataclass(frozen=True)
class Method:
    """What a way of searching takes unless told otherwise."""

    forget_loss: str
    retain_loss: str
    direction: str
    norms: bool


METHODS: dict[str, Method] = {
    "default": Method("relative", "multi-positive", "keep-aware", norms=False),
    # The published method: eq. 5, eq. 2 taken literally, the raw gradient, gains included.
    "paper": Method("cosine", "contrastive", "gradient", norms=True),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to unlearn. The defaults and what they were chosen on: docs/method.md.

    Attributes:
        search: `default` chooses by Q-U under the floors; `paper` runs Algorithms 1 to 3 as
            printed (with the corrections in docs/method.md).
        forget_loss, retain_loss: names in `slsgu.losses`; None takes those of `METHODS[search]`.
        direction: a name in `slsgu.direction`; None likewise.
        target: highest accuracy left at any level that is to be forgotten, on the search split.
        floors: least share of the accuracy before the edit that must remain, by name.
        trials: K, steps tried for each layer.
        tower, layer, step: fixed by an expert; None lets the search decide.
        thorough: search every candidate layer, even once one leaves next to nothing to be gained.
        norms: also consider LayerNorm and BatchNorm gains, as the published code does.
        templates: a set's name or a file; None takes the taxonomy's or OpenCLIP's simple set.
        limits: images a class for gradients, search and test.
        gradient_precision: of the gradient pass: fp32, or bf16 by autocast with fp32 sums.
        checkpoint_activations: compute activations again on the way back instead of keeping them:
            less memory, more time, the same gradient.
        batch_size: images a forward pass. Changes speed and memory, never a result.
        contrastive_batch: images contrasted with each other in the retain loss.
        activation_memory: GiB of search images and activations that the search may keep; None
            takes half of what is free. Changes speed, never a result.
        workers: processes that read images; None decides.
        strict: refuse unreadable images instead of skipping them.
        force: carry on where a request makes no sense or the goal was not met.
    """

    search: SearchMode = "default"
    forget_loss: str | None = None
    retain_loss: str | None = None
    direction: str | None = None
    target: float = 0.05
    floors: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KEPT, 0.85))
    trials: int = 10
    tower: TowerChoice | None = None
    layer: str | None = None
    step: float | None = None
    thorough: bool = False
    norms: bool = False
    templates: str | None = None
    limits: Limits = field(default_factory=Limits)
    gradient_precision: GradientPrecision = "fp32"
    checkpoint_activations: bool = False
    batch_size: int = 64
    contrastive_batch: int = 64
    seed: int = 0
    activation_memory: float | None = None
    workers: int | None = None
    strict: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        from slsgu.direction import DIRECTIONS
        from slsgu.losses import FORGET_LOSSES, RETAIN_LOSSES

        _one_of("search", self.search, get_args(SearchMode))
        _one_of("forget loss", self.forget_loss_used, FORGET_LOSSES)
        _one_of("retain loss", self.retain_loss_used, RETAIN_LOSSES)
        _one_of("direction", self.direction_used, DIRECTIONS)
        if self.tower is not None:
            _one_of("tower", self.tower, get_args(TowerChoice))
        _one_of("gradient precision", self.gradient_precision, get_args(GradientPrecision))
        _between("target", self.target, 0, 1)
        unknown = sorted(set(self.floors) - set(KEPT))
        if unknown:
            raise SlsguError(f"unknown floor {unknown[0]!r}; floors are {', '.join(KEPT)}")
        for name, floor in self.floors.items():
            _between(f"floor {name}", floor, 0, 1)
        for name in ("trials", "batch_size", "contrastive_batch"):
            if getattr(self, name) < 1:
                raise SlsguError(f"{name} is {getattr(self, name)}; it must be at least 1")
        _between("trials", self.trials, 1, MOST_TRIALS)
        if self.activation_memory is not None:
            _between("activation_memory", self.activation_memory, 0, 2**20)
        if self.step is not None:
            if self.layer is None:
                raise SlsguError("a step size was given without a layer; name the layer too")
            if not math.isfinite(self.step) or self.step <= 0:
                raise SlsguError(
                    f"step is {self.step}; it must be positive and finite "
                    "(a positive step ascends the forget loss)"
                )

    def activation_bytes(self, device: torch.device) -> int:
        """Bytes that the search may keep for each of three: its images, and the activations of
        either tower."""
        from slsgu.memory import cache_bytes

        if self.activation_memory is None:
            return cache_bytes(device) // 3
        return int(self.activation_memory * 2**30) // 3

    @property
    def forget_loss_used(self) -> str:
        """The forget loss, by name."""
        return self.forget_loss or METHODS[self.search].forget_loss

    @property
    def retain_loss_used(self) -> str:
        """The retain loss, by name."""
        return self.retain_loss or METHODS[self.search].retain_loss

    @property
    def direction_used(self) -> str:
        """The direction, by name."""
        return self.direction or METHODS[self.search].direction

    @property
    def considers_norms(self) -> bool:
        """Whether gains of LayerNorm and BatchNorm compete."""
        return self.norms or METHODS[self.search].norms

    @property
    def micro_batch(self) -> int:
        """The largest divisor of the contrastive batch that is at most `batch_size`, so that
        micro-batches never straddle two logical batches."""
        sizes = range(1, min(self.batch_size, self.contrastive_batch) + 1)
        return max(size for size in sizes if self.contrastive_batch % size == 0)

    def to_json(self) -> dict[str, Any]:
        used = {
            "forget_loss": self.forget_loss_used,
            "retain_loss": self.retain_loss_used,
            "direction": self.direction_used,
        }
        return {**asdict(self), **used}


def _one_of(what: str, value: object, known: Any) -> None:
    if value not in known:
        raise SlsguError(f"unknown {what} {value!r}; known: {', '.join(known)}")


def _between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SlsguError(f"{what} is {value}; it must lie between {low} and {high}")
