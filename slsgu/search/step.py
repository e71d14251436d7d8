"""Step-size search (Algorithm 3) and the choice of layer and step. Pure Python: a callable in,
trials out; nothing here knows what a model is, or has one to ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from slsgu.evaluation.metrics import Floats

T = TypeVar("T")
WINDOW = 1.5  # how far around a step its Q-U is averaged, as a factor
RESOLUTION = 0.25  # how close the steps tried come, so that what is averaged was measured


def search_step(
    evaluate: Callable[[float], T],
    first: float,
    *,
    reached: Callable[[T], bool],
    trials: int = 10,
) -> list[tuple[float, T]]:
    """Algorithm 3: double the step until the forget target is reached, then bisect.

    Args:
        evaluate: measures the model at a step size.
        first: the first step size tried, positive.
        reached: whether the forget target is reached; the paper's is a forget accuracy of 0.
        trials: K, how many steps are tried.

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
        else:
            low = step
        step = 2 * step if high == math.inf else (low + high) / 2
    return tried


def explore_step(
    evaluate: Callable[[float], T],
    first: float,
    *,
    enough: Callable[[T], bool],
    score: Callable[[T], Any],
    trials: int = 10,
    resolution: float = RESOLUTION,
) -> list[tuple[float, T]]:
    """The default search: double the step until there is enough of it, then close in on the best.

    Each step after the doubling lies halfway (geometrically) between the best one so far and its
    farther neighbour, so the bracket around the best shrinks from both sides.

    Args:
        evaluate: measures the model at a step size.
        first: the first step size tried, positive.
        enough: whether a longer step has nothing to offer: the target is reached, or too much is
            lost already.
        score: the higher, the better.
        trials: how many steps are tried at most.
        resolution: stop once both neighbours are within this share of the best step.

    Returns:
        Every step tried, in order, with its measures.

    >>> steps = explore_step(lambda x: x, 1.0, enough=lambda x: x >= 5, score=lambda x: -abs(x - 6),
    ...                      trials=6)
    >>> [round(step, 2) for step, _ in steps]
    [1.0, 2.0, 4.0, 8.0, 2.83, 5.66]
    """
    assert first > 0 and math.isfinite(first), first
    tried: list[tuple[float, T]] = []
    step = first
    while len(tried) < trials:
        tried.append((step, evaluate(step)))
        if enough(tried[-1][1]):
            break
        step *= 2
    while len(tried) < trials:
        best = max(tried, key=lambda pair: (score(pair[1]), -pair[0]))[0]
        below = max((s for s, _ in tried if s < best), default=best / 4)
        above = min((s for s, _ in tried if s > best), default=best * 4)
        farther = below if best / below >= above / best else above
        if max(best / farther, farther / best) <= 1 + resolution:
            break
        step = math.sqrt(best * farther)
        tried.append((step, evaluate(step)))
    return tried


def steadied(edges: Floats, values: Floats, steps: Floats) -> Floats:
    """The mean of a piecewise constant curve around each step: from `step / WINDOW` to
    `step * WINDOW`. Outside the edges the curve is 0.

    A step is chosen on few images. One in the middle of a wide plateau holds on others; one at
    the edge of a cliff does not, however high it stands.

    Args:
        edges: where the curve may change, ascending [E + 1].
        values: its height between them [E].
        steps: where to look [S].

    >>> steadied(np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0]), np.array([1.0, 2.0])).round(2)
    array([0.6, 1. ])
    """
    area = np.concatenate([[0.0], np.cumsum(values * np.diff(edges))])
    low, high = steps / WINDOW, steps * WINDOW
    between = np.interp(high, edges, area) - np.interp(low, edges, area)
    return np.asarray(between / (high - low))


def known_curve(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """A piecewise constant curve that claims no more than was measured at some steps.

    A value holds for a little around its step (by a factor `1 + RESOLUTION`, shared with its
    neighbour); in a wider gap the lower of the two neighbours counts, and beyond the ends 0.

    Args:
        steps: where it was measured, ascending [S].
        values: what was found [S].

    Returns:
        Edges [E + 1] and the heights between them [E].

    >>> edges, heights = known_curve(np.array([1.0, 4.0]), np.array([0.5, 1.0]))
    >>> edges.round(2).tolist(), heights.tolist()
    ([0.89, 1.12, 3.58, 4.47], [0.5, 0.5, 1.0])
    """
    reach = math.sqrt(1 + RESOLUTION)
    middle = np.sqrt(steps[1:] * steps[:-1])
    low = np.maximum(steps / reach, np.concatenate([[0.0], middle]))
    high = np.minimum(steps * reach, np.concatenate([middle, [math.inf]]))
    edges, heights = [float(low[0])], []
    for index, value in enumerate(values):
        if low[index] > edges[-1]:
            edges.append(float(low[index]))
            heights.append(float(min(values[index - 1], value)))
        edges.append(float(high[index]))
        heights.append(float(value))
    return np.array(edges), np.array(heights)
