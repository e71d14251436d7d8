"""Tuning: the best on the search split, and one step beyond an edge while the best lies there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from slsgu.baselines.train import Budget
from slsgu.compare.tune import BEYOND, at_edge, tune
from slsgu.evaluation.metrics import Measures
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit


@dataclass(frozen=True)
class Knob:
    """A method that is best at one value of its knob, and says so."""

    best: float
    value: float = 0.0
    peak: float = 0.9
    forgets: float = 1.0
    rising: bool = True
    values: tuple[float, ...] = (1.0, 4.0, 16.0)

    def at(self, value: float) -> Knob:
        return replace(self, value=value)

    def within(self, budget: Budget) -> Knob:
        return self

    def seeded(self, seed: int) -> Knob:
        return self

    def __call__(self, *_: object) -> Edit:
        q_u = self.peak / (1 + abs(self.value - self.best))
        measures = Measures({}, {}, {}, {}, self.forgets, None, q_u, 0.0, ())
        seconds = {"read": 100.0, "train": 2.0}
        return Edit(Patch({}, {}), measures=measures, seconds=seconds, gradients=10)


def tried(method: Knob) -> tuple[float, list[float]]:
    found = tune(method, lambda each: each())
    return found.value, [each.value for each in found.tried]


def test_the_best_of_the_grid_is_taken() -> None:
    assert tried(Knob(4, peak=0.99)) == (4, [1, 4, 16])


def test_between_the_best_and_its_neighbours_is_looked() -> None:
    """What forgets at one value and breaks at the next is best between them."""
    assert tried(Knob(7)) == (8, [1, 4, 16, 2, 8])
    assert tried(Knob(1e9, peak=0.5)) == (256, [1, 4, 16, 64, 256, 128])  # no neighbour above
    assert tried(Knob(4, values=(4.0,))) == (4, [4])  # of one value nothing says how far apart


def test_where_q_u_cannot_be_measured_it_is_said() -> None:
    blind = Measures({}, {}, {}, {}, None, None, None, 0.0, ())
    run = lambda each: replace(each(), measures=blind)  # noqa: E731
    assert tune(Knob(4), run).blind and not tune(Knob(4), lambda each: each()).blind


@pytest.mark.parametrize(
    ("best", "value", "values"),
    [
        (64, 64, [1, 4, 16, 64, 256, 32, 128]),
        (1e9, 256, [1, 4, 16, 64, 256, 128]),
        (0.25, 0.25, [1, 4, 16, 0.25, 0.0625, 0.125, 0.5]),
    ],
)
def test_an_edge_is_gone_beyond(best: float, value: float, values: list[float]) -> None:
    assert tried(Knob(best)) == (value, values)
    assert len(values) <= 3 + BEYOND + 2


def test_what_is_near_perfect_is_not_gone_beyond() -> None:
    assert tried(Knob(16, peak=0.995)) == (16, [1, 4, 16])
    assert tried(Knob(16, peak=0.98))[1] == [1, 4, 16, 64, 8, 32]  # control: then 16 is no edge


@pytest.mark.parametrize(("rising", "weakest"), [(True, 0.0625), (False, 256)])
def test_of_equals_the_weakest_is_taken(rising: bool, weakest: float) -> None:
    assert tried(Knob(1, peak=0.0, rising=rising))[0] == weakest  # two steps beyond the grid


@pytest.mark.parametrize(("rising", "strongest"), [(True, 256), (False, 0.0625)])
def test_where_nothing_is_forgotten_a_stronger_value_is_tried(
    rising: bool, strongest: float
) -> None:
    assert tried(Knob(1, peak=0.0, forgets=0.0, rising=rising))[0] == strongest


def test_the_cost_is_of_every_value_but_reading_counts_once() -> None:
    found = tune(Knob(4, peak=0.99), lambda each: each())
    assert sum(each.seconds for each in found.tried) == 6.0
    assert sum(each.gradients for each in found.tried) == 30


def test_an_edge_has_nothing_tried_beyond_it() -> None:
    assert not at_edge(*tried(Knob(4))) and at_edge(*tried(Knob(1e9)))
    assert not at_edge(None, [])  # a method without a knob
