"""How far an edit moves what a larger system reads: hidden states of prompts, or patch tokens.

Zero-shot accuracy is CLIP's own task. Stable Diffusion and LLaVA take hidden states instead, so an
edit for them is measured there too: what is read of the concept should move far, and what is read
of everything else little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from slsgu.models.states import StatePlace, States


@dataclass(frozen=True)
class Movement:
    """How far what is read of a group of prompts or images has moved.

    Attributes:
        count: of prompts or images.
        mean: of the distances, each as a share of the length of what was read before
            (`States.distances`).
        most: 95 of 100 are no further.
        error: standard error of the mean; 0 of a single one.
    """

    count: int
    mean: float
    most: float
    error: float = 0.0

    @classmethod
    def of(cls, distances: Sequence[float] | npt.NDArray[np.float64]) -> Movement | None:
        """Of distances; None where there are none."""
        values = np.asarray(distances, dtype=np.float64)
        if not len(values):
            return None
        error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
        return cls(len(values), float(values.mean()), float(np.quantile(values, 0.95)), error)

    def probability(self, least: float) -> float:
        """The probability that the mean over all prompts or images like these is at least so much,
        by its standard error."""
        if self.error == 0:
            return float(self.mean >= least)
        return NormalDist().cdf((self.mean - least) / self.error)


@dataclass(frozen=True)
class Moved:
    """What an edit moves of what a system reads.

    Attributes:
        system: its name in `slsgu.interop.targets.TARGETS`.
        what: what was measured, in words.
        concept: of prompts or images with the concept that was forgotten.
        kept: of the others.
    """

    system: str
    what: str
    concept: Movement | None
    kept: Movement | None

    @property
    def stays(self) -> float | None:
        """The share of what is read of everything else that stays: 1 less how far it moves."""
        return None if self.kept is None else 1 - self.kept.mean

    @property
    def times(self) -> float | None:
        """How many times as far as everything else the concept moves."""
        if self.concept is None or self.kept is None:
            return None
        return self.concept.mean / max(self.kept.mean, 1e-12)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def means(moved: Moved | None) -> dict[str, float | None]:
    """How far both groups move on average, as JSON values; null where it was not measured."""
    parts = (None, None) if moved is None else (moved.concept, moved.kept)
    names = ("moved_concept", "moved_others")
    rows = zip(names, parts, strict=True)
    return {name: None if part is None else part.mean for name, part in rows}


@dataclass(frozen=True, eq=False)
class StateProbe:
    """Prompts or images of which it is measured how far what a system reads of them moves.

    Attributes:
        system, what: as in `Moved`.
        place: where the system reads.
        rows: which inputs of the tower are measured, ascending.
        forgotten: which of these are with the concept [n].
        lengths: how many tokens of each input of the tower count; None for all.
        before: what is read without the edit.
    """

    system: str
    what: str
    place: StatePlace
    rows: tuple[int, ...]
    forgotten: npt.NDArray[np.bool_]
    lengths: tuple[int, ...] | None
    before: States

    def moved(self, seen: Sequence[Tensor], features: Tensor) -> Moved:
        """What an edit moves.

        Args:
            seen: what `place.watch` has seen of all inputs of the tower under the edit.
            features: of all inputs under the edit, not normalised [N, d].
        """
        after = read(self.place, seen, features, self.rows, self.lengths)
        return moved(self.system, self.what, self.before.distances(after), self.forgotten)


def read(
    place: StatePlace,
    seen: Sequence[Tensor],
    features: Tensor,
    rows: Sequence[int] | None = None,
    lengths: Sequence[int] | None = None,
) -> States:
    """What a system reads, of what `place.watch` has seen; the other arguments are those of
    `StateProbe.moved` and `States.of`."""
    return States.of(seen, features if place.embeds else None, rows=rows, lengths=lengths)


def moved(system: str, what: str, distances: Tensor, forgotten: npt.NDArray[np.bool_]) -> Moved:
    """Both groups, from the distances of all inputs [n] and which of them are with the concept."""
    values = distances.numpy()
    return Moved(system, what, *(Movement.of(values[mask]) for mask in (forgotten, ~forgotten)))
