"""Algorithms 2 and 3 and the choice, against hand-made curves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from helpers.trials import measures_of
from hypothesis import given
from hypothesis import strategies as st

from slsgu.evaluation.lost import Lost
from slsgu.evaluation.metrics import KEYS
from slsgu.evaluation.unseen import Unseen
from slsgu.search.choice import Trial, choose, choose_paper
from slsgu.search.goal import Goal
from slsgu.search.met_ranges import describe_met, met_ranges
from slsgu.search.pareto import LayerScore, pareto_front
from slsgu.search.step import search_step


def scores_of(points: list[tuple[float, float]]) -> list[LayerScore]:
    return [LayerScore(str(n), "vision", "matrix", i, a, a) for n, (i, a) in enumerate(points)]


def beats(a: LayerScore, b: LayerScore) -> bool:
    no_worse = a.importance >= b.importance and a.alignment <= b.alignment
    return no_worse and (a.importance > b.importance or a.alignment < b.alignment)


values = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])


@given(st.lists(st.tuples(values, values), max_size=12))
def test_the_front_is_exactly_the_undominated(points: list[tuple[float, float]]) -> None:
    scores = scores_of(points)
    expected = {s.layer for s in scores if not any(beats(other, s) for other in scores)}
    assert {s.layer for s in pareto_front(scores)} == expected


@given(st.floats(0.01, 1000), st.floats(0.01, 100))
def test_doubling_then_bisecting_finds_the_threshold(threshold: float, first: float) -> None:
    tried = search_step(lambda step: step, first, reached=lambda x: x >= threshold, trials=60)
    reached = [step for step, _ in tried if step >= threshold]
    assert min(reached) == pytest.approx(threshold, rel=1e-6)


def test_the_search_stops_at_its_limit() -> None:
    never = search_step(lambda s: s, 1.0, reached=lambda x: False, trials=5)
    assert [step for step, _ in never] == [1, 2, 4, 8, 16]


def trial(name: str, forget: float, kept: float, q_u: float, length: float = 0.1) -> Trial:
    return Trial(name, 1.0, length, measures_of(forget, kept, q_u))


GOAL = Goal(target=0.05, floors={"forget_coarse": 0.9, "retain_fine": 0.9, "retain_coarse": 0.9})


def test_the_choice_is_the_best_q_u_that_meets_the_goal() -> None:
    good, better = trial("good", 0.0, 0.92, 0.95), trial("better", 0.05, 0.95, 0.96)
    broken, weak = trial("broken", 0.0, 0.5, 0.99), trial("weak", 0.3, 1.0, 0.99)
    assert choose([good, broken, weak, better], GOAL).layer == "better"
    # Control: without floors and target the highest Q-U wins.
    free = Goal(target=1.0, floors={})
    assert choose([good, broken, weak, better], free).layer == "broken"


def test_the_best_trade_off_is_shown_where_the_goal_can_not_be_met() -> None:
    trials = [trial("gone", 0.0, 0.2, 0.4), trial("kept", 0.5, 1.0, 0.6)]
    assert choose(trials, GOAL).layer == "kept"
    assert not any(GOAL.met(t.measures) for t in trials)


SURE, UNSURE = Unseen(0.01, 0.2, 20), Unseen(0.04, 0.5, 20)


def held(name: str, step: float, unseen: Unseen | None, q_u: float = 1.0) -> Trial:
    return Trial(name, step, step, measures_of(0.0, 1.0, q_u, unseen))


def test_a_step_must_hold_on_unseen_images() -> None:
    assert GOAL.holds(held("a", 1, SURE).measures) and not GOAL.holds(held("a", 1, UNSURE).measures)
    assert choose([held("a", 1, UNSURE), held("a", 2, SURE)], GOAL).step == 2
    # Control: without a confidence that is asked for, the smallest that reaches the target.
    assert choose([held("a", 1, UNSURE), held("a", 2, SURE)], replace(GOAL, confidence=0)).step == 1


def test_of_each_layer_the_smallest_step_counts_and_of_layers_the_highest_q_u() -> None:
    one = [held("a", 1, SURE, 0.97), held("a", 2, SURE, 1.0)]
    assert choose(one, GOAL).step == 1
    assert choose([*one, held("b", 3, SURE, 0.99)], GOAL).layer == "b"


def test_of_a_start_that_takes_the_name_and_one_that_does_not_each_counts() -> None:
    taken, left = replace(held("a", 1, SURE, 0.95), unnamed=1.0), held("a", 2, SURE, 1.0)
    assert choose([taken, left], GOAL) is left
    alike = replace(left, unnamed=1.0)  # control: of one start, the smaller step
    assert choose([taken, alike], GOAL) is taken


def test_where_no_step_holds_the_most_likely_one_is_taken() -> None:
    trials = [held("a", 1, Unseen(0.2, 0.5, 9)), held("a", 2, UNSURE), held("b", 3, None, 0.9)]
    assert choose(trials[:2], GOAL).step == 2
    assert choose(trials, GOAL).layer == "b"  # of which nothing can be said, so the count decides


def test_where_no_step_can_hold_the_likeliest_does_not_break_the_rest() -> None:
    # Of three images nothing can be as sure as 97.5 %: the longest step is always the likeliest.
    short, long = Unseen(1e-4, 1.3, 3), Unseen(1e-12, 3.2, 3)
    trials = [held("a", 1, short, 1.0), held("b", 9, long, 0.7)]
    likely = [GOAL.probability(each.measures) or 0 for each in trials]
    assert likely[0] < likely[1] < GOAL.confidence
    assert choose(trials, GOAL).step == 1
    assert choose([held("a", 1, UNSURE), held("b", 9, long, 0.99)], GOAL).step == 9  # control


def test_ties_go_to_the_shorter_step() -> None:
    trials = [trial("long", 0, 1, 1.0, 0.9), trial("short", 0, 1, 1.0, 0.2)]
    assert choose(trials, GOAL).layer == "short"


def test_the_papers_rule_takes_the_least_forget_accuracy_whatever_is_lost() -> None:
    ruin, sane = trial("ruin", 0.0, 0.1, 0.2), trial("sane", 0.01, 0.99, 0.99)
    also_zero = trial("also", 0.0, 0.3, 0.4)
    assert choose_paper([ruin, sane, also_zero], GOAL).layer == "also"
    assert choose([ruin, sane, also_zero], GOAL).layer == "sane"


def test_a_floor_that_can_not_be_measured_is_not_called_broken() -> None:
    assert GOAL.broken_floors(measures_of(0, 1.0, 1.0)) == []
    assert GOAL.broken_floors(measures_of(0, 0.89, 1.0)) == ["retain_fine"]
    assert not math.isnan(GOAL.target)


def test_a_missed_goal_is_told_in_words_a_stranger_knows() -> None:
    (forget,) = GOAL.misses(measures_of(0.3, 1.0, 0.7), "beagle")
    (kept,) = GOAL.misses(measures_of(0.0, 0.5, 0.7), "beagle")
    assert forget == "beagle is still recognised 30.0% of the time (target 5.0%)"
    assert kept == (
        "accuracy on other images at the finest level falls to 50.0% of what it was (floor 90.0%)"
    )
    assert not any(key in kept for key in KEYS)


def along(*steps: tuple[float, bool]) -> list[Trial]:
    """Trials at given steps that meet the goal or do not."""
    return [Trial("a", at, at, measures_of(0.0 if met else 1.0, 1.0, 0.5)) for at, met in steps]


def test_the_goal_is_met_from_the_first_to_the_last_step_of_each_run() -> None:
    trials = along((8, True), (1, False), (2, True), (4, True), (16, False), (32, True))
    assert met_ranges(trials, GOAL) == [(2, 8), (32, 32)]
    assert met_ranges(along((1, False), (2, False)), GOAL) == []
    strict = Goal(target=0.05, floors={"retain_fine": 1.1})  # control: the floor counts too
    assert met_ranges(trials, strict) == []


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), unique_by=lambda pair: pair[0]))
def test_a_range_holds_every_step_that_meets_the_goal_and_no_other(
    steps: list[tuple[int, bool]],
) -> None:
    ranges = met_ranges(along(*steps), GOAL)
    for step, met in steps:
        assert any(low <= step <= high for low, high in ranges) == met
    assert ranges == sorted(ranges)


def test_where_the_goal_is_met_is_said_in_words() -> None:
    def words(*steps: tuple[float, bool]) -> str:
        return describe_met(along(*steps), GOAL)

    assert words((1, False), (2, False)) == "at none of the steps tried"
    assert words((1, False), (2, True), (4, True), (8, False)) == "from step 2 to step 4"
    assert words((1, False), (2, True), (4, False)) == "at step 2"
    assert words((1, False), (2, True), (42.123, True)) == (
        "from step 2 to step 42.12, the longest step measured"
    )
    assert words((3, True)) == "at step 3"
    assert words((1, True), (2, False), (4, True), (8, True)) == (
        "at step 1 and from step 4 to step 8, the longest step measured"
    )


def test_what_ruins_a_class_is_taken_only_where_nothing_else_holds() -> None:
    gone = held("a", 1, SURE, 1.0)
    gone = replace(
        gone, measures=replace(gone.measures, lost=Lost("tug", 10, 1.0, 0.3, ruined=True))
    )
    spared, far = held("b", 2, SURE, 0.99), held("b", 2, SURE, 0.9)
    assert choose([gone, spared], GOAL) is spared
    assert choose([gone, far], GOAL) is gone  # control: that costs more in all
    assert choose([gone], GOAL) is gone
