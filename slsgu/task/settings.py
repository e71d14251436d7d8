"""The settings: of the method, of the data and of the machine, and all of them in one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from slsgu.data.splits.splits import Limits
from slsgu.errors import SlsguError
from slsgu.task.checks import at_least_one, between, one_of, whole
from slsgu.task.floors import Floors
from slsgu.task.machine_settings import Checked, MachineSettings
from slsgu.utils.names import refuse_kind

SearchMode = Literal["default", "paper"]
GoalName = Literal["suppress", "remove"]
MergeOnto = Literal["siblings", "nearest"]
ONTO: tuple[MergeOnto, ...] = get_args(MergeOnto)
TowerChoice = Literal["vision", "language"]
GradientPrecision = Literal["fp32", "bf16"]
P = TypeVar("P", "MethodSettings", "DataSettings", "MachineSettings")
MOST_SEED = 2**63 - 1
# A model that was never taught a breed of dogs finds it from five photographs at this share of the
# accuracy of breeds that it was taught (docs/method.md).
NEVER_KNEW = 0.93
MOST_TRIALS = 60  # doubled as often, a step leaves every weight behind


@dataclass(frozen=True)
class Method:
    """The defaults of a way of searching."""

    forget_loss: str
    retain_loss: str
    direction: str
    norms: bool
    starts: bool


METHODS: dict[str, Method] = {
    "default": Method("relative", "multi-positive", "keep-aware", norms=False, starts=True),
    # The published method: eq. 5, eq. 2 taken literally, the raw gradient, gains included.
    "paper": Method("cosine", "contrastive", "gradient", norms=True, starts=False),
}


@dataclass(frozen=True, kw_only=True)
class MethodSettings(Checked):
    """How to unlearn: losses, direction, search (docs/method.md says what the defaults rest on).

    Attributes:
        search: `default`, the smallest step that holds, or `paper`, its Algorithms 1 to 3.
        forget_loss, retain_loss: names of losses; None takes those of `METHODS[search]`.
        direction: a name in `slsgu.direction.direction`; None likewise.
        goal: `suppress`, the name is not given any more, or `remove`, a few images do not find the
            concept more easily than what the model never knew, either.
        merge: how far a last projection of the image side first moves what is to be forgotten onto
            its siblings: 0 not at all, 1 until their means are one. None lets the goal decide.
        merge_onto: whether that is onto the mean of the `siblings` or onto the `nearest` of them;
            None takes the siblings, and the nearest where no merge with their mean makes the
            concept harder to find by a few images.
        unname: whether such a projection also first takes the name from it, so that it scores what
            the names of its siblings score. None does, but for `paper` and a step that is fixed.
        never_knew: how often a few images find what a model never knew, as a share of how often
            they find what it knows.
        target: highest accuracy left at any level that is to be forgotten, on the search split.
        confidence: the probability with which the target is to hold on unseen images, by the
            margins of the search images (`slsgu.evaluation.unseen`); 0 goes by their count alone.
        floors: least share of the accuracy before the edit that must remain, by name, and with
            `system` of what it reads of everything else (`retain_states`). Those that are not
            named keep their default.
        moves: with `system`, the least share by which what it reads of the concept must move, on
            the search split; it must also move farther than what it reads of everything else.
        trials: K, how often the step is doubled and bisected until the target is reached; for
            `paper` the steps tried for each layer.
        tower, layer, step: fixed by an expert; None lets the search decide.
        system: search only layers that this system reads, by a name in `slsgu.interop.targets`,
            and measure what it reads too.
        thorough: search every candidate layer, even after one reaches a near-perfect Q-U; those
            that lose on a part of the search images are not searched on all.
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
    goal: GoalName = "remove"
    merge: float | None = None
    merge_onto: MergeOnto | None = None
    unname: bool | None = None
    never_knew: float = NEVER_KNEW
    target: float = 0.05
    confidence: float = 0.975
    floors: Mapping[str, float] = field(default_factory=Floors)
    moves: float = 0.15
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
        refuse_kind(self.floors, Mapping, "floors")
        refuse_kind(self.layer, (str, type(None)), "layer")
        object.__setattr__(self, "floors", Floors.of(self.floors))
        one_of("search", self.search, get_args(SearchMode))
        one_of("forget loss", self.forget_loss_used, FORGET_LOSSES)
        one_of("retain loss", self.retain_loss_used, RETAIN_LOSSES)
        one_of("direction", self.direction_used, DIRECTIONS)
        if self.tower is not None:
            one_of("tower", self.tower, get_args(TowerChoice))
        one_of("gradient precision", self.gradient_precision, get_args(GradientPrecision))
        one_of("goal", self.goal, get_args(GoalName))
        if self.merge_onto is not None:
            one_of("merge onto", self.merge_onto, ONTO)
        between("merge", 0.0 if self.merge is None else self.merge, 0, 2)
        between("never_knew", self.never_knew, 0, 1)
        between("target", self.target, 0, 1)
        between("moves", self.moves, 0, 1)
        between("confidence", self.confidence, 0, 0.9999)
        at_least_one("contrastive_batch", self.contrastive_batch)
        whole("trials", self.trials)
        between("trials", self.trials, 1, MOST_TRIALS)
        if self.step is not None:
            if self.layer is None:
                raise SlsguError("a step size was given without a layer; name the layer too")
            if not isinstance(self.step, int | float):
                raise SlsguError(f"step is {self.step!r}; it must be a number")
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
    def goal_used(self) -> GoalName:
        """The goal, by name; the published search knows only one."""
        return self.goal if METHODS[self.search].starts else "suppress"

    @property
    def never_knew_used(self) -> float:
        """How often what was never known is found; only `remove` asks for another than usual."""
        return self.never_knew if self.goal_used == "remove" else NEVER_KNEW

    @property
    def confidence_used(self) -> float:
        """The confidence; the published search goes by the count of search images alone."""
        return self.confidence if METHODS[self.search].starts else 0.0

    @property
    def starts(self) -> bool:
        """Whether last projections of the image side are moved before any step."""
        return self.merges or self.unnames

    @property
    def merges(self) -> bool:
        """Whether they are merged with their siblings first, if not how far."""
        if self.merge is not None:
            return self.merge > 0
        return self.goal == "remove" and self._starts_by_default

    @property
    def unnames(self) -> bool:
        """Whether their names are taken first."""
        return self._starts_by_default if self.unname is None else self.unname

    @property
    def _starts_by_default(self) -> bool:
        """A step that is fixed is all there is by default."""
        return METHODS[self.search].starts and self.step is None

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
            "goal": self.goal_used,
            "never_knew": self.never_knew_used,
            "confidence": self.confidence_used,
            "unname": self.unnames,
        }
        return {**asdict(self), **resolved}


@dataclass(frozen=True, kw_only=True)
class DataSettings(Checked):
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
        refuse_kind(self.limits, Limits, "limits")
        whole("seed", self.seed)
        between("seed", self.seed, 0, MOST_SEED)


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
