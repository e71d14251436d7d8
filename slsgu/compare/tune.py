"""Fair tuning: the one knob of a method, turned on the search split, by Q-U there.

The values of its grid first; then, while the best lies at an edge of what was tried, one beyond it,
at most `BEYOND` times; then one between the best and its neighbour on either side. So no method is
judged by a rate that was too small or too large for it. Where no value has forgotten anything, a
stronger one is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slsgu.baselines.iterative import Tunable
from slsgu.errors import SlsguError
from slsgu.search.method import Edit

TUNING = 2  # raised whenever the same method would be tuned otherwise
BEYOND = 2
ENOUGH = 0.99  # a Q-U that leaves nothing to look for outside the grid


@dataclass(frozen=True)
class Tried:
    """One value of the knob, and what came of it on the search split.

    Attributes:
        last: Q-U at the end of the schedule, without a stopping rule; None where there is none.
        quality: how much was forgotten, on the search split.
    """

    value: float
    q_u: float
    seconds: float
    gradients: int
    last: float | None = None
    quality: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "q_u": self.q_u,
            "q_u_at_end": self.last,
            "seconds": self.seconds,
            "gradients": self.gradients,
        }


@dataclass(frozen=True, eq=False)
class Tuned:
    """What the search split has chosen.

    Attributes:
        value: of the knob.
        edit: that it makes.
        tried: everything that was tried.
        blind: whether Q-U could not be measured for any value, so that it has not chosen.
    """

    value: float
    edit: Edit
    tried: tuple[Tried, ...]
    blind: bool = False


def tune(method: Tunable, run: Callable[[Tunable], Edit]) -> Tuned:
    """Try the grid, beyond it, and between its values.

    Args:
        run: carries a method out; its edit says what it does on the search split.

    Raises:
        SlsguError: an edit does not say it.
    """
    edits: dict[float, Edit] = {}
    tried: list[Tried] = []

    def attempt(value: float) -> None:
        edit = edits[value] = run(method.at(value))
        if edit.measures is None:
            raise SlsguError(
                "its Edit has no `measures`, and a method with a knob is tuned by them"
            )
        checks = edit.settings.get("checks")
        seconds = sum(x for name, x in edit.seconds.items() if name != "read")
        q_u = edit.measures.q_u or 0.0
        last = checks[-1]["q_u"] if checks else None
        shared = int(edit.settings.get("shared_gradients", 0)) if tried else 0
        quality = edit.measures.quality or 0.0
        tried.append(Tried(value, q_u, seconds, edit.gradients - shared, last, quality))

    for value in method.values:
        attempt(value)
    factor = method.values[1] / method.values[0] if len(method.values) > 1 else 1.0
    for _ in range(BEYOND if factor != 1 else 0):
        best = _best(tried, method)
        values = [each.value for each in tried]
        if best.q_u >= ENOUGH or not at_edge(best.value, values):
            break
        attempt(best.value * factor if best.value == max(values) else best.value / factor)
    best = _best(tried, method)
    if best.quality > 0 and best.q_u < ENOUGH and factor != 1:
        for value in _between(best.value, [each.value for each in tried]):
            attempt(value)
    value = _best(tried, method).value
    blind = all(edit.measures is None or edit.measures.q_u is None for edit in edits.values())
    return Tuned(value, edits[value], tuple(tried), blind)


def _between(value: float, tried: Sequence[float]) -> list[float]:
    """Values between one and its neighbours, in geometric order.

    >>> _between(4, [1, 4, 16]), _between(16, [1, 4, 16]), _between(-4, [-4, -1])
    ([2.0, 8.0], [8.0], [-2.0])
    """
    below = max((other for other in tried if other < value), default=None)
    above = min((other for other in tried if other > value), default=None)
    return [
        float(f"{math.copysign(math.sqrt(value * other), value):.6g}")
        for other in (below, above)
        if other is not None and value * other > 0
    ]


def at_edge(value: float | None, tried: Sequence[float]) -> bool:
    """Whether nothing was tried on one side of a value of the knob; not so without a knob."""
    return bool(tried) and value in (min(tried), max(tried))


def _best(tried: list[Tried], method: Tunable) -> Tried:
    """The highest Q-U; of several the weakest value. The strongest where none forgets anything."""
    rising = getattr(method, "rising", True)
    weakest_first = sorted(tried, key=lambda each: each.value, reverse=not rising)
    if all(each.quality == 0 for each in tried):
        return weakest_first[-1]
    return max(weakest_first, key=lambda each: each.q_u)
