"""Floors: the least share that must remain of each accuracy before the edit, and of what a system
reads of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slsgu.concepts.request import KEPT, STATES
from slsgu.errors import SlsguError
from slsgu.task.checks import between

NAMES = (*KEPT, STATES)


@dataclass(frozen=True)
class Floors(Mapping[str, float]):
    """The least share that must remain of each accuracy before the edit and, where the edit is for
    a larger system, of the hidden states that this reads of everything else (`retain_states`).

    >>> Floors(retain_fine=0.95)["retain_fine"], dict(Floors())["forget_coarse"]
    (0.95, 0.85)
    """

    forget_coarse: float = 0.85
    retain_fine: float = 0.85
    retain_coarse: float = 0.85
    retain_states: float = 0.85

    @classmethod
    def of(cls, floors: Mapping[str, float]) -> Floors:
        """Floors by name; those that are not given keep their default.

        Raises:
            SlsguError: a name is unknown, or a floor does not lie between 0 and 1.
        """
        unknown = sorted(set(floors) - set(NAMES))
        if unknown:
            raise SlsguError(f"unknown floor {unknown[0]!r}; floors are {', '.join(NAMES)}")
        for name, floor in floors.items():
            between(f"floor {name}", floor, 0, 1)
        return cls(**floors)

    def __getitem__(self, name: str) -> float:
        if name not in NAMES:
            raise KeyError(name)
        return float(getattr(self, name))

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)
