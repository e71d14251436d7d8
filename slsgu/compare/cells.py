"""Cells: one method with one seed each, as files that are written once they are done."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from slsgu.compare.cell_schema import cell_of
from slsgu.errors import ArtifactError
from slsgu.utils.files import json_sha256, slug, write_json
from slsgu.utils.reading import read_text
from slsgu.utils.schema import MisfitError, parse_json
from slsgu.utils.wording import in_a_line, printed

MOST_BYTES = 16 << 20  # of the file of a cell; with every setting it has some thousands


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
        note: what must be known of the edit; usually empty.
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
    note: str = ""

    @property
    def tuning_seconds(self) -> float:
        return float(sum(each["seconds"] for each in self.tuning))

    @property
    def tuning_gradients(self) -> int:
        return int(sum(each["gradients"] for each in self.tuning))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "tuning": [dict(each) for each in self.tuning]}


class Store:
    """The cells of one comparison in a folder. Those of others, with other options, may be there.

    Args:
        key: of all that decides what a cell says; a cell of another comparison is not used.
        of_method: hash of the file of a method that is the user's own, by its name; a cell of
            another content is not used.
        figures: which every edit of this comparison has.
        say: told of a file that cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        of_method: Mapping[str, str] = MappingProxyType({}),
        *,
        figures: Collection[str] = (),
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._folder, self._key, self._of_method = folder / "cells", key, of_method
        self._figures, self._say = figures, say

    def load(self, method: str, seed: int) -> Cell | None:
        """A cell that was finished before; None if there is none that can be used.

        Raises:
            ArtifactError: a folder is in its way.
        """
        path = self.path(method, seed)
        if not os.path.lexists(path):
            return None
        if path.is_dir():
            raise ArtifactError(f"{path} is a folder where a file belongs: move it away")
        try:
            value = parse_json(read_text(path, "cell", limit=MOST_BYTES))
            if not isinstance(value, dict):
                raise MisfitError("it is no object")
            if value.pop("key", None) != self._key_of(method):
                return None  # of another comparison, which is no mistake
            cell_of(method, seed, self._figures)(value, "")
        except (ArtifactError, ValueError) as error:
            told = str(error) if str(path) in str(error) else f"{path}: {error}"
            self._say(f"note: {method} runs again: {in_a_line(told)}")
            return None
        return Cell(**{**value, "tuning": tuple(value["tuning"])})

    def save(self, cell: Cell) -> None:
        """Write a cell."""
        self._folder.mkdir(parents=True, exist_ok=True)
        key = self._key_of(cell.method)
        value = printed({"key": key, **cell.to_json()})
        write_json(self.path(cell.method, cell.seed), value)

    def _key_of(self, method: str) -> str:
        own = self._of_method.get(method)
        return self._key if own is None else json_sha256([self._key, own])

    def path(self, method: str, seed: int) -> Path:
        """The file of a cell."""
        name = slug(method)
        if name != method:  # another method may have the same name in small letters
            name += f"-{json_sha256(method)[:8]}"
        return self._folder / f"{name}-{seed}-{self._key_of(method)[:8]}.json"
