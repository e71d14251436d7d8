"""The settings: of the method, of the data and of the machine, and all of them in one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from slsgu.data.splits.splits import Limits
from slsgu.errors import SlsguError
from slsgu.task.checks import at_least_one, between, one_of
from slsgu.task.floors import Floors

if TYPE_CHECKING:
    import torch

    from slsgu.models.clip import Clip

SearchMode = Literal["default", "paper"]
TowerChoice = Literal["vision", "language"]
GradientPrecision = Literal["fp32", "bf16"]
P = TypeVar("P", "MethodSettings", "DataSettings", "MachineSettings")
MOST_SEED = 2**63 - 1
MOST_TRIALS = 60  # doubled as often, a step leaves every weight behind
MOST_AT_ONCE = 64  # images per forward pass, where nothing speaks against it


@dataclass(frozen=True)
class Method:
    """The defaults of a way of searching."""

    forget_loss: str
    retain_loss: str
    direction: str
    norms: bool
    merge: float


METHODS: dict[str, Method] = {
    "default": Method("relative", "multi-positive", "keep-aware", norms=False, merge=0.5),
    # The published method: eq. 5, eq. 2 taken literally, the raw gradient, gains included.
    "paper": Method("cosine", "contrastive", "gradient", norms=True, merge=0.0),
}


class _Checked:
    """Ends the chain of checks of the settings that are combined."""

    def __post_init__(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class MethodSettings(_Checked):
    """How to unlearn: losses, direction, search (docs/method.md says what the defaults rest on).

    Attributes:
        search: `default`, the smallest step that holds, or `paper`, its Algorithms 1 to 3.
        forget_loss, retain_loss: names of losses; None takes those of `METHODS[search]`.
        direction: a name in `slsgu.direction.direction`; None likewise.
        merge: how far a last projection of the image side first moves what is to be forgotten onto
            its siblings: 0 not at all, 1 until their means are one; None likewise.
        target: highest accuracy left at any level that is to be forgotten, on the search split.
        confidence: the probability with which the target is to hold on unseen images, by the
            margins of the search images (`slsgu.evaluation.unseen`); 0 goes by their count alone.
        floors: least share of the accuracy before the edit that must remain, by name. Those that
            are not named keep their default.
        trials: K, steps tried for each layer.
        tower, layer, step: fixed by an expert; None lets the search decide.
        system: search only layers that this system reads, by a name in `slsgu.interop.targets`.
        thorough: search every candidate layer, even after one reaches a near-perfect Q-U.
        norms: also consider LayerNorm and BatchNorm gains, as the published code does.
        gradient_precision: of the gradient pass: fp32, or bf16 by autocast with fp32 sums.
        contrastive_batch: images contrasted with each other in the retain loss.
        force: carry on where a request makes no sense or the goal was not met.

    Raises:
        SlsguError: a value is unknown or out of its range.
    """

    search: SearchMode = "default"
    forget_loss: str | None = None
    retain_loss: str | None = None
    direction: str | None = None
    merge: float | None = None
    target: float = 0.05
    confidence: float = 0.975
    floors: Mapping[str, float] = field(default_factory=Floors)
    trials: int = 10
    tower: TowerChoice | None = None
    layer: str | None = None
    step: float | None = None
    system: str | None = None
    thorough: bool = False
    norms: bool = False
    gradient_precision: GradientPrecision = "fp32"
    contrastive_batch: int = 64
    force: bool = False

    def __post_init__(self) -> None:
        from slsgu.direction.direction import DIRECTIONS
        from slsgu.losses.forget import FORGET_LOSSES
        from slsgu.losses.retain import RETAIN_LOSSES

        super().__post_init__()
        object.__setattr__(self, "floors", Floors.of(self.floors))
        one_of("search", self.search, get_args(SearchMode))
        one_of("forget loss", self.forget_loss_used, FORGET_LOSSES)
        one_of("retain loss", self.retain_loss_used, RETAIN_LOSSES)
        one_of("direction", self.direction_used, DIRECTIONS)
        if self.tower is not None:
            one_of("tower", self.tower, get_args(TowerChoice))
        one_of("gradient precision", self.gradient_precision, get_args(GradientPrecision))
        between("merge", self.merge_used, 0, 2)
        between("target", self.target, 0, 1)
        between("confidence", self.confidence, 0, 0.9999)
        at_least_one("contrastive_batch", self.contrastive_batch)
        between("trials", self.trials, 1, MOST_TRIALS)
        if self.step is not None:
            if self.layer is None:
                raise SlsguError("a step size was given without a layer; name the layer too")
            if not math.isfinite(self.step) or self.step <= 0:
                raise SlsguError(
                    f"step is {self.step}; it must be positive and finite "
                    "(a positive step ascends the forget loss)"
                )

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
    def merge_used(self) -> float:
        """How far to merge; by default not at all where a step is fixed, which is then all."""
        usual = 0.0 if self.step is not None else METHODS[self.search].merge
        return usual if self.merge is None else self.merge

    @property
    def considers_norms(self) -> bool:
        """Whether gains of LayerNorm and BatchNorm compete."""
        return self.norms or METHODS[self.search].norms

    def to_json(self) -> dict[str, Any]:
        """Every setting, with those that are actually used where none was given."""
        resolved = {
            "forget_loss": self.forget_loss_used,
            "retain_loss": self.retain_loss_used,
            "direction": self.direction_used,
            "merge": self.merge_used,
        }
        return {**asdict(self), **resolved}


@dataclass(frozen=True, kw_only=True)
class DataSettings(_Checked):
    """Which images and prompts are used.

    Attributes:
        limits: images per class for gradients, search and test.
        templates: a set's name or a file; None takes the taxonomy's or OpenCLIP's simple set.
        seed: chooses which images, and whatever else is drawn at random.
        strict: refuse unreadable images instead of leaving them out.
    """

    limits: Limits = field(default_factory=Limits)
    templates: str | None = None
    seed: int = 0
    strict: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        between("seed", self.seed, 0, MOST_SEED)


@dataclass(frozen=True, kw_only=True)
class MachineSettings(_Checked):
    """Speed and memory: never a result beyond rounding.

    Attributes:
        batch_size: images per forward pass; None takes what suits the model.
        workers: processes that read images; None decides.
        activation_memory: GiB of search images and activations that the search may keep; None
            takes half of what is free.
        checkpoint_activations: compute activations again on the way back instead of keeping them:
            less memory, more time, the same gradient.
    """

    batch_size: int | None = None
    workers: int | None = None
    activation_memory: float | None = None
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one("batch_size", 1 if self.batch_size is None else self.batch_size)
        if self.activation_memory is not None:
            between("activation_memory", self.activation_memory, 0, 2**20)

    def sized_for(self, clip: Clip) -> MachineSettings:
        """The same, with the batch size that suits a model where none was given."""
        from slsgu.models.footprint import images_at_once

        size = self.batch_size or images_at_once(clip, most=MOST_AT_ONCE)
        return replace(self, batch_size=size)

    @property
    def images_at_once(self) -> int:
        """Images per forward pass."""
        return self.batch_size or MOST_AT_ONCE

    def activation_bytes(self, device: torch.device) -> int:
        """Bytes that the search may keep for each of three: its images, and the activations of
        either tower."""
        from slsgu.utils.memory import cache_bytes

        if self.activation_memory is None:
            return cache_bytes(device) // 3
        return int(self.activation_memory * 2**30) // 3

    def micro_batch(self, contrastive_batch: int) -> int:
        """The largest divisor of the contrastive batch up to `images_at_once`, so that none
        straddles two logical batches."""
        sizes = range(1, min(self.images_at_once, contrastive_batch) + 1)
        return max(size for size in sizes if contrastive_batch % size == 0)


@dataclass(frozen=True, kw_only=True)
class Settings(MethodSettings, DataSettings, MachineSettings):
    """Every choice of a run that is not the model, the data or the request, as they are typed.

    >>> both = Settings(tower="vision", seed=3, batch_size=16)
    >>> both.method.tower, both.data.seed, both.machine.batch_size
    ('vision', 3, 16)
    """

    @property
    def method(self) -> MethodSettings:
        """How to unlearn."""
        return _part(self, MethodSettings)

    @property
    def data(self) -> DataSettings:
        """Which images and prompts."""
        return _part(self, DataSettings)

    @property
    def machine(self) -> MachineSettings:
        """How the machine is used."""
        return _part(self, MachineSettings)


def _part(settings: Settings, kind: type[P]) -> P:
    return kind(**{f.name: getattr(settings, f.name) for f in fields(kind)})
