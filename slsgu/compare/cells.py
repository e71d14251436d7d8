"""Cells: one method with one seed each, as files that are written once they are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from slsgu.errors import ArtifactError
from slsgu.utils.files import json_sha256, read_json, slug, write_json


@dataclass(frozen=True)
class Cell:
    """What one method with one seed came to.

    Attributes:
        method: its name.
        seed: of whatever it draws.
        value: of its knob; None without one.
        tuning: every value of the knob that was tried, with seconds and image gradients; only with
            the first seed, on which it is tuned.
        score: what is measured of its edit; empty if it failed.
        gradients: image gradients of the run that is scored.
        seconds: wall time of the run that is scored, reading of images included.
        variant: which formula it is.
        settings: of the edit.
        failed: why there is no edit; empty if there is one.
    """

    method: str
    seed: int
    value: float | None
    tuning: tuple[Mapping[str, Any], ...]
    score: Mapping[str, Any]
    gradients: int
    seconds: float
    variant: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def tuning_seconds(self) -> float:
        return float(sum(each["seconds"] for each in self.tuning))

    @property
    def tuning_gradients(self) -> int:
        return int(sum(each["gradients"] for each in self.tuning))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "tuning": [dict(each) for each in self.tuning]}


class Store:
    """The cells of one comparison in a folder.

    Args:
        key: of all that decides what a cell says; a cell of another comparison is not used.
        of_method: hash of the file of a method that is the user's own, by its name; a cell of
            another content is not used.
    """

    def __init__(
        self, folder: Path, key: str, of_method: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._folder, self._key, self._of_method = folder / "cells", key, of_method

    def load(self, method: str, seed: int) -> Cell | None:
        """A cell that was finished before; None if there is none that can be used."""
        path = self._path(method, seed)
        if not path.exists():
            return None
        try:
            value = read_json(path, "cell")
            if value.pop("key") != self._key_of(method):
                return None
            return Cell(**{**value, "tuning": tuple(value["tuning"])})
        except (ArtifactError, KeyError, TypeError, AttributeError):
            return None  # it is made again

    def save(self, cell: Cell) -> None:
        """Write a cell."""
        self._folder.mkdir(parents=True, exist_ok=True)
        key = self._key_of(cell.method)
        write_json(self._path(cell.method, cell.seed), {"key": key, **cell.to_json()})

    def _key_of(self, method: str) -> str:
        own = self._of_method.get(method)
        return self._key if own is None else json_sha256([self._key, own])

    def _path(self, method: str, seed: int) -> Path:
        return self._folder / f"{slug(method)}-{seed}.json"
