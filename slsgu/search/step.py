"""Step-size search (Algorithm 3) and the choice of layer and step. Pure Python: a callable in,
trials out; nothing here knows what a model is, or has one to ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def search_step(
    evaluate: Callable[[float], T],
    first: float,
    *,
    reached: Callable[[T], bool],
    trials: int = 10,
    bisect: bool = True,
) -> list[tuple[float, T]]:
    """Algorithm 3: double the step until the forget target is reached, then bisect.

    Args:
        evaluate: measures the model at a step size.
        first: the first step size tried, positive.
        reached: whether the forget target is reached; the paper's is a forget accuracy of 0.
        trials: K, how many steps are tried.
        bisect: False ends at the first step at which the target is reached.

    Returns:
        Every step tried, in order, with its measures.

    >>> steps = search_step(lambda x: x, 1.0, reached=lambda x: x >= 5, trials=6)
    >>> [step for step, _ in steps]
    [1.0, 2.0, 4.0, 8.0, 6.0, 5.0]
    """
    assert first > 0 and math.isfinite(first), first
    low, high, step = 0.0, math.inf, first
    tried: list[tuple[float, T]] = []
    while len(tried) < trials:
        measures = evaluate(step)
        tried.append((step, measures))
        if reached(measures):
            high = step
            if not bisect:
                break
        else:
            low = step
        step = 2 * step if high == math.inf else (low + high) / 2
    return tried
