"""The choice that removes: how far to merge is decided by how often a few images find a concept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.trials import measures_of

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.evaluation.found import Change, Found
from slsgu.evaluation.unseen import Unseen
from slsgu.search.choice import MANY, NEAR, USUAL_DIAL, Trial, choose
from slsgu.search.found_again import describe_found, describe_tested, still_found_of
from slsgu.search.goal import Goal
from slsgu.search.met_ranges import describe_left_undone, describe_start
from slsgu.task.settings import NEVER_KNEW, MethodSettings

FLOORS = {"forget_coarse": 0.85, "retain_fine": 0.85, "retain_coarse": 0.85}
REMOVE = Goal(0.05, FLOORS, name="remove", never_knew=0.9)
SUPPRESS = replace(REMOVE, name="suppress")
USUAL = USUAL_DIAL["siblings"]
PETS = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["manx"]})
DOG = Request.of(PETS, ["dog"])


def trial(
    merge: float,
    after: float,
    *,
    q_u: float = 1.0,
    before: float = 1.0,
    error: float = 0.0,
    count: int = MANY - 1,
) -> Trial:
    """One start of one layer, and how many of its images are found again."""
    found = Found(before=before, after=after, count=count, chance=0.01, error=error)
    return Trial("proj", 1.0, 0.1, replace(measures_of(0.0, 1.0, q_u), found=found), merge)


def test_the_merge_is_taken_that_leaves_a_concept_like_one_that_was_never_known() -> None:
    trials = [trial(0.1, 1.0), trial(0.2, 0.99), trial(0.3, 0.91), trial(0.4, 0.6)]
    assert choose(trials, REMOVE) is trials[2]
    farther = replace(REMOVE, never_knew=0.6)
    assert choose(trials, farther) is trials[3]


def test_what_is_harder_to_find_than_the_unknown_is_no_better() -> None:
    trials = [trial(0.1, 0.9), trial(0.3, 0.5)]
    assert choose(trials, REMOVE) is trials[0]


def test_a_few_images_do_not_outweigh_the_usual_merge() -> None:
    as_usual = replace(REMOVE, never_knew=NEVER_KNEW)
    usual, odd = trial(USUAL, 0.95), trial(1.0, 0.93)
    assert choose([odd, usual], as_usual) is usual
    far = trial(USUAL, 0.2)  # control: what they say clearly does
    assert choose([odd, far], as_usual) is odd
    # Nor where another share is asked for: which merge is usual then, nobody knows.
    assert choose([odd, usual], replace(REMOVE, never_knew=0.92)) is odd


@pytest.mark.parametrize(("error", "chosen"), [(0.05, 1), (0.01, 0)])
def test_a_merge_after_which_a_concept_may_be_found_as_before_is_not_taken(
    error: float, chosen: int
) -> None:
    trials = [trial(USUAL, 0.97, error=error), trial(0.8, 0.6, error=error)]
    assert choose(trials, REMOVE) is trials[chosen]
    text = replace(trial(0.0, 1.0), layer="text")  # which leaves images as they are
    assert choose([text, trial(1.0, 0.98)], REMOVE).layer == "proj"
    alike = [trial(USUAL, 1.0), trial(0.8, 1.0)]  # no merge makes it harder to find
    assert choose(alike, REMOVE) is alike[0]
    easier = [trial(USUAL, 0.9, before=0.8), trial(0.8, 0.82, before=0.8)]  # nor here
    assert choose(easier, REMOVE) is easier[1]


@pytest.mark.parametrize(("count", "chosen"), [(MANY, 1), (MANY - 1, 0)])
def test_many_images_that_find_a_concept_nearly_as_before_outweigh_the_usual_merge(
    count: int, chosen: int
) -> None:
    trials = [trial(USUAL, 0.96, count=count), trial(0.8, 0.8, count=count)]
    assert choose(trials, REMOVE) is trials[chosen]


@pytest.mark.parametrize(("given_up", "taken"), [(0.5 * NEAR, True), (2 * NEAR, False)])
def test_little_q_u_is_given_up(given_up: float, taken: bool) -> None:
    removed, better = trial(0.2, 0.9, q_u=1 - given_up), trial(0.0, 1.0)
    assert (choose([removed, better], REMOVE) is removed) == taken
    assert choose([removed, better], SUPPRESS) is better  # control


def test_where_nothing_can_be_found_the_usual_merge_is_taken() -> None:
    trials = [trial(dial, 0.0, before=0.0) for dial in (0.0, USUAL, 0.6)]
    assert REMOVE.distance(trials[0].measures) is None
    assert choose(trials, replace(REMOVE, never_knew=NEVER_KNEW)) is trials[1]


def test_what_surely_makes_a_concept_easier_to_find_is_taken_only_where_nothing_else_holds() -> (
    None
):
    easier = trial(USUAL, 0.95, before=0.8, error=0.05)
    other = replace(trial(0.0, 0.8, before=0.8, q_u=0.9), layer="text")
    assert easier.measures.found is not None and easier.measures.found.risen
    assert choose([easier, other], REMOVE) is other
    assert choose([easier], REMOVE) is easier  # control
    assert choose([easier, other], SUPPRESS) is easier  # control


def test_a_likely_step_is_preferred_to_a_sure_one_that_makes_a_concept_easier_to_find() -> None:
    def after(found: Trial, share: float) -> Trial:
        measures = replace(found.measures, unseen=Unseen(share, 0.3, 5))
        assert REMOVE.met(measures)
        return replace(found, measures=measures)

    sure = after(replace(trial(USUAL, 0.95, before=0.8, error=0.05), step=300.0), 0.001)
    likely = after(trial(USUAL, 0.8, before=0.8, error=0.05), 0.03)
    unlikely = after(trial(USUAL, 0.8, before=0.8, error=0.05), 0.2)
    assert REMOVE.holds(sure.measures) and not REMOVE.holds(likely.measures)
    assert choose([sure, likely], REMOVE) is likely
    assert choose([sure, likely], SUPPRESS) is sure  # control
    assert choose([sure, unlikely], REMOVE) is sure  # control


def test_no_class_of_several_may_become_easier_to_find() -> None:
    def both(merge: float, pug: Change) -> Trial:
        one = trial(merge, 0.8, before=0.9, error=0.02)
        assert one.measures.found is not None
        found = replace(one.measures.found, each=(Change(0.9, 0.6, 0.02), pug))
        return replace(one, measures=replace(one.measures, found=found))

    rises, falls = both(USUAL, Change(0.8, 0.9, 0.02)), both(0.9, Change(0.8, 0.7, 0.02))
    assert choose([rises, falls], REMOVE) is falls
    within = both(USUAL, Change(0.8, 0.83, 0.02))  # control: within its interval
    assert choose([within, falls], REMOVE) is within
    text = describe_found(rises.measures, REMOVE, DOG)
    assert text.endswith("90.0% before: pug more easily than before the edit")
    assert describe_tested(falls.measures, REMOVE, DOG) == (
        "from five images: 80.0% of the test images are found again as any class of their group, "
        "90.0% before; a model that never knew it is taken to find 81.0%"
    )
    two = replace(rises.measures.found or Found(1, 1, 1, 1), shots=1)
    seen = describe_tested(replace(rises.measures, found=two), REMOVE, DOG) or ""
    assert seen.startswith("from one image: ")


def test_words_say_what_a_few_images_find() -> None:
    text = describe_found(trial(0.2, 0.8).measures, REMOVE, DOG)
    assert "80.0%" in text and "100.0%" in text and "90.0%" in text
    assert "only the name" not in text
    assert "only the name" in describe_found(trial(0.2, 0.99).measures, REMOVE, DOG)
    assert "90.0%" not in describe_found(trial(0.2, 0.8).measures, SUPPRESS, DOG)
    assert "only the name" in (describe_tested(trial(0.2, 0.99).measures, REMOVE, DOG) or "")
    assert "only the name" not in (describe_tested(trial(0.2, 0.8).measures, REMOVE, DOG) or "")
    assert "only the name" not in (describe_tested(trial(0.2, 0.99).measures, SUPPRESS, DOG) or "")
    assert "chance" in describe_found(trial(0.2, 0.0, before=0.0).measures, REMOVE, DOG)
    assert "too few" in describe_found(measures_of(0.0, 1.0, 1.0), REMOVE, DOG)
    assert text.startswith("from five images: ")
    assert describe_start(replace(trial(0.2, 0.8), unnamed=1.0)) == "name taken, merge 0.2, "
    assert describe_start(trial(0.0, 0.8)) == ""
    near = replace(trial(0.8, 0.8), onto="nearest")
    assert describe_start(near) == "merge 0.8 onto the nearest sibling, "


def test_what_was_asked_for_and_not_done_is_said() -> None:
    asked = MethodSettings(merge=0.5, unname=True)
    told = describe_left_undone(trial(0.0, 0.8), asked) or ""
    assert told.startswith("--merge and --unname have changed nothing: they are for the last")
    merged = trial(0.5, 0.8)
    assert (describe_left_undone(merged, asked) or "").startswith("--unname has changed nothing")
    assert describe_left_undone(replace(merged, unnamed=0.6), asked) is None  # control
    assert describe_left_undone(trial(0.0, 0.8), MethodSettings()) is None
    assert describe_left_undone(trial(0.0, 0.8), MethodSettings(merge=0.0, unname=False)) is None


def test_images_of_a_group_are_said_to_be_found_as_any_class_of_it() -> None:
    lost, each = trial(0.2, 0.6).measures, Request.of(PETS, ["beagle", "pug"])
    assert "found again as any class of their group, 1" in str(describe_tested(lost, REMOVE, DOG))
    assert "are found again, 100" in str(describe_tested(lost, REMOVE, each))  # control


def test_of_several_concepts_those_that_are_found_as_before_are_told() -> None:
    """The mean over all hides a group that is as it was, where another is hardly found at all."""
    tree = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["manx", "tabby"]})
    request = Request.of(tree, ["dog", "manx"])

    def told(dog: float, manx: float, chance: float = 0.0) -> str:
        one = trial(0.2, 0.8)
        assert one.measures.found is not None
        each = (Change(1.0, dog, 0.01), Change(1.0, manx, 0.01, chance))
        found = replace(one.measures.found, concepts=each)
        measures = replace(one.measures, found=found)
        still = still_found_of(measures, REMOVE, request)
        text = describe_tested(measures, REMOVE, request) or ""
        assert text.endswith("; a model that never knew it is taken to find 90.0%")
        assert all(f"of {name} only the name is forgotten" in text for name in still[:1])
        return text

    text = told(0.98, 0.44)
    assert "80.0% of the test images (from 44.0% of manx to 98.0% of dog) are found again" in text
    assert "as their own class, or any of their group, 100.0% before: of dog only the name" in text
    assert "only the name" not in told(0.9, 0.6)  # control
    assert "80.0% of the test images are found again" in told(0.8, 0.8)  # nothing to tell apart
    assert "of manx only the name" in told(0.6, 0.96)
    assert "only the name" not in told(0.6, 0.96, chance=0.95)  # of which a guess finds as much


def test_concepts_of_one_name_are_told_apart() -> None:
    tree = Taxonomy.parse({"bird": ["crane", "owl"], "machine": ["crane", "drill"]})
    request = Request.of(tree, ["bird/crane", "machine/crane"])
    one = trial(0.2, 0.97).measures
    assert one.found is not None
    each = (Change(1.0, 0.99, 0.01), Change(1.0, 0.95, 0.01))
    text = describe_tested(replace(one, found=replace(one.found, concepts=each)), REMOVE, request)
    assert "(from 95.0% of machine/crane to 99.0% of bird/crane)" in str(text)
    assert "only the names are forgotten" in str(text)


def test_a_model_that_never_knew_finds_what_a_guess_does() -> None:
    """Six of ten classes are of the group: as many images go to it by chance."""
    most, none = trial(0.2, 0.7), replace(REMOVE, never_knew=0.0)
    assert most.measures.found is not None
    found = replace(most.measures.found, chance=0.6)
    measures = replace(most.measures, found=found)
    assert none.distance(measures) == pytest.approx(0.1)
    assert not none.still_found(measures)
    assert "is taken to find 60.0%" in (describe_tested(measures, none, DOG) or "")
    assert none.distance(most.measures) == pytest.approx(0.69)  # control: one of a hundred classes
