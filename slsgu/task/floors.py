"""Floors: the least share of each accuracy before the edit that must remain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slsgu.concepts.request import KEPT
from slsgu.errors import SlsguError
from slsgu.task.checks import between


@dataclass(frozen=True)
class Floors(Mapping[str, float]):
    """The least share of each accuracy before the edit that must remain.

    >>> Floors(retain_fine=0.95)["retain_fine"], dict(Floors())["forget_coarse"]
    (0.95, 0.85)
    """

    forget_coarse: float = 0.85
    retain_fine: float = 0.85
    retain_coarse: float = 0.85

    @classmethod
    def of(cls, floors: Mapping[str, float]) -> Floors:
        """Floors by name; those that are not given keep their default.

        Raises:
            SlsguError: a name is unknown, or a floor does not lie between 0 and 1.
        """
        unknown = sorted(set(floors) - set(KEPT))
        if unknown:
            raise SlsguError(f"unknown floor {unknown[0]!r}; floors are {', '.join(KEPT)}")
        for name, floor in floors.items():
            between(f"floor {name}", floor, 0, 1)
        return cls(**floors)

    def __getitem__(self, name: str) -> float:
        if name not in KEPT:
            raise KeyError(name)
        return float(getattr(self, name))

    def __iter__(self) -> Iterator[str]:
        return iter(KEPT)

    def __len__(self) -> int:
        return len(KEPT)
