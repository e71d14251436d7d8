"""The verdict follows one rule: each word on readings that call for it, and on none that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slsgu.audit.probe import ProbeReading, auc_interval
from slsgu.audit.verdict import DECIDING, Verdict, judge, share_left


def reading(probe: str, setting: str, before: float, after: float, **other: object) -> ProbeReading:
    never = other.pop("never_knew", 0.5)
    return ProbeReading(probe, setting, 100, 0.02, before, after, never, **other)  # type: ignore[arg-type]


def readings(after: float, *, name: float = 0.0, worst: float = 0.0) -> list[ProbeReading]:
    """A concept that images find at 0.9 before the edit, and a model that never knew at 0.5."""
    return [
        reading("other words", "name", 1.0, name, never_knew=0.0),
        reading("other words", "worst template: a {}", 1.0, worst, never_knew=0.0),
        reading("prototypes", "5 images per class", 0.9, after),
        reading("linear probe", "stage.0", 0.9, 0.9),
        reading("linear probe", "embedding", 0.9, after),
        reading("weights", "rounded to bf16", 1.0, name, never_knew=0.0),
        reading("weights", "averaged with 50% of the original", 1.0, 0.9, never_knew=0.0),
        reading("retrieval", "by text, recall", 1.0, name, never_knew=0.0),
        relearned(0.0, control=0.0),
    ]


def relearned(way_back: float, *, images: str = "retain images only", control: float | None = None,
              **extra: object) -> ProbeReading:  # fmt: skip
    """A schedule of relearning, beside a control if there is one."""
    extra = {"way_back": way_back, **extra}
    if control is not None:
        extra |= {"control_way_back": control, "faster": way_back - control}
    return reading("relearning", images, 1.0, way_back, never_knew=control, extra=extra)


def instead(found: list[ProbeReading], *others: ProbeReading) -> list[ProbeReading]:
    """Readings with others of the same probe and setting in their place."""
    taken = {(x.probe, x.setting) for x in others}
    return [*(x for x in found if (x.probe, x.setting) not in taken), *others]


def verdict(found: list[ProbeReading], reference: str | None = "a control") -> Verdict:
    return judge(found, reference=reference, towers=("vision",))


def word(found: list[ProbeReading], reference: str | None = "a control") -> str:
    return verdict(found, reference).word


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (0.99, "more visible than before"),
        (0.90, "suppressed"),
        (0.83, "suppressed"),
        (0.75, "partly removed"),
        (0.52, "removed"),
        (0.50, "removed"),
        (0.30, "removed"),
    ],
)
def test_the_word_follows_what_images_still_find(after: float, expected: str) -> None:
    assert word(readings(after)) == expected


def test_nothing_done_is_not_forgotten() -> None:
    assert word(readings(0.9, name=1.0, worst=1.0)) == "not forgotten"
    assert word(readings(0.5, name=0.7)) == "not forgotten"
    assert word(readings(0.5, name=0.04)) == "removed"  # control


def test_one_word_that_finds_it_is_enough_against_removed() -> None:
    assert word(readings(0.5, worst=0.4)) == "partly removed"
    assert word(readings(0.5, worst=0.05)) == "removed"  # control


@pytest.mark.parametrize(("faster", "expected"), [(0.05, "removed"), (0.2, "partly removed")])
def test_relearning_faster_than_the_control_is_not_removed(faster: float, expected: str) -> None:
    extra = {"way_back": 0.9, "control_way_back": 0.9 - faster, "faster": faster}
    taught = reading("relearning", "5 forget images", 1.0, 0.9, never_knew=0.8, extra=extra)
    assert word([*readings(0.5), taught]) == expected


def test_without_a_reference_chance_is_the_floor() -> None:
    alone = [replace(x, never_knew=None) for x in readings(0.5)]
    assert word(alone, None) == "partly removed"
    assert word([replace(x, never_knew=None) for x in readings(0.02)], None) == "removed"


def test_what_is_not_measurable_decides_nothing() -> None:
    unseen = [replace(x, before=0.03, after=0.04) for x in readings(0.5)]
    found = judge(unseen, reference=None, towers=("vision",))
    assert found.word == "not measurable" and found.left is None
    extra = reading("prototypes", "20 images per class", 0.03, 0.04, never_knew=0.0)
    assert word([*readings(0.5), extra]) == "removed"
    assert word([*readings(0.5), replace(extra, before=0.9, after=0.4)]) != "removed"  # control


def test_images_that_found_nothing_and_find_it_now_are_more_visible() -> None:
    risen = reading("prototypes", "20 images per class", 0.03, 0.3, never_knew=0.0)
    found = verdict([*readings(0.5), risen])
    assert found.word == "more visible than before"
    assert any("20 images per class, 3% were found before" in x for x in found.reasons)
    name = reading("other words", "alias: x", 0.03, 0.3, never_knew=0.0)
    assert word([*readings(0.5), name]) == "removed"  # control: a word must find more than half


def test_a_reading_that_rose_is_told_whatever_the_verdict() -> None:
    five = reading("prototypes", "5 images per class", 0.5, 0.8, pair_error=0.04)
    found = verdict(instead(readings(0.55), five))
    assert found.word != "more visible than before"
    assert any("most surely prototypes, 5 images per class: by 22" in x for x in found.reasons)
    quiet = replace(five, after=0.5)  # control
    assert not any("most surely" in x for x in verdict(instead(readings(0.55), quiet)).reasons)


def test_a_word_that_finds_more_than_before_is_told_as_such() -> None:
    more = reading("other words", "worst misspelling: roin", 0.44, 0.92, pair_error=0.07)
    told = verdict([*readings(0.9), replace(more, never_knew=0.0)]).reasons
    text = "“worst misspelling: roin”: 92%, more than the 44% before the edit."
    assert any(reason.endswith(text) for reason in told)
    less = replace(more, after=0.4)  # control
    told = verdict([*readings(0.9), replace(less, never_knew=0.0)]).reasons
    assert any(reason.endswith("roin”: 40%.") for reason in told)


def test_a_reference_that_knows_the_name_is_none() -> None:
    knows = [replace(x, never_knew=x.before) for x in readings(0.5)]
    assert word(knows) == "not measurable"


def test_neighbours_and_membership_do_not_decide_but_are_told() -> None:
    others = [
        reading("neighbours", "worst of 2: sibling: pug", 0.9, 0.2, kind="keep"),
        reading(
            "membership", "loss", 0.5, 0.9, kind="trace", extra={"positive": 50, "negative": 50}
        ),
    ]
    others[1] = replace(others[1], chance=0.5, never_knew=None)
    found = judge([*readings(0.5), *others], reference="x", towers=("vision",))
    assert found.word == "removed"
    assert any("pug: 90% to 20%" in reason for reason in found.reasons)
    assert any("0.90" in reason for reason in found.reasons)


def test_where_a_model_that_never_knew_finds_as_much_images_cannot_tell() -> None:
    alike = [replace(x, never_knew=0.9) for x in readings(0.9) if x.probe == "prototypes"]
    assert share_left(alike) is None
    assert share_left([x for x in readings(0.7) if x.probe == "prototypes"]) == pytest.approx(0.5)


def test_the_tower_is_told() -> None:
    text = judge(readings(0.9), reference="x", towers=("language",)).reasons
    assert any("language tower: image embeddings are the same" in reason for reason in text)
    last = judge(readings(0.5), reference="x", towers=("vision",)).reasons
    assert any("stage.0" in reason and "as before" in reason for reason in last)
    assert not any("language tower" in reason for reason in last)  # control


def test_an_area_has_an_interval_that_narrows_with_more_images() -> None:
    few, many = auc_interval(0.7, 10, 10), auc_interval(0.7, 200, 200)
    assert few[0] < many[0] < 0.7 < many[1] < few[1]


# -- what must be there for a word ----------------------------------------------------------------


@pytest.mark.parametrize("probe", DECIDING)
def test_without_a_probe_that_the_rule_looks_at_there_is_no_verdict(probe: str) -> None:
    some = [x for x in readings(0.5) if x.probe != probe]
    found = verdict(some)
    assert found.word == "no verdict" and found.left is None
    assert found.reasons[0] == f"No verdict: the probe {probe} has not been read."
    few = verdict([x for x in some if x.probe == "prototypes"]).reasons[0]
    assert few.startswith("No verdict: the probes other words, ")
    assert word(readings(0.5)) == "removed"  # control


def test_removed_needs_images_that_could_tell() -> None:
    """No image reading is measurable, though images stood above chance."""
    blind = [
        replace(x, chance=0.1, before=0.15, after=0.1, never_knew=None)
        if x.probe == "prototypes" or x.setting == "embedding"
        else x
        for x in readings(0.5)
    ]
    found = verdict(blind)
    assert found.word == "partly removed"
    assert any("cannot count as “removed”" in reason for reason in found.reasons)
    at_chance = [replace(x, before=0.11) if x.before == 0.15 else x for x in blind]
    assert word(at_chance) == "removed"  # the exception: images found hardly more than chance


def test_a_reference_that_finds_as_much_as_was_found_lets_images_decide_nothing() -> None:
    alike = [replace(x, never_knew=0.89) if x.before == 0.9 else x for x in readings(0.9)]
    found = verdict(alike)
    assert found.word == "removed" and found.left is None
    assert any("images cannot tell and do not decide" in reason for reason in found.reasons)
    apart = [replace(x, never_knew=0.85) if x.before == 0.9 else x for x in readings(0.9)]
    assert word(apart) == "suppressed"  # control


# -- more visible than before ---------------------------------------------------------------------


def test_a_rise_counts_beyond_the_interval_of_its_differences() -> None:
    """Three points more on images that hardly differ, beside three points on images that do."""
    at = [x for x in readings(0.93) if x.probe == "prototypes" or x.setting == "embedding"]
    rest = [x for x in readings(0.93) if x not in at]
    for error, expected in ((0.01, "more visible than before"), (0.03, "suppressed")):
        found = verdict([*rest, *(replace(x, pair_error=error) for x in at)])
        assert found.word == expected
        told = any("2 of 2 readings rose" in reason for reason in found.reasons)
        assert told is (expected != "suppressed")
    assert word([*rest, *at]) == "suppressed"  # control: images were not compared one by one


@pytest.mark.parametrize(
    "setting", ["name", "worst misspelling: begle (for beagle)", "template that found nothing: {}"]
)
def test_a_name_that_found_nothing_and_finds_more_than_half_is_more_visible(setting: str) -> None:
    def asked(after: float) -> list[ProbeReading]:
        row = reading("other words", setting, 0.03, after, never_knew=0.0)
        return instead(readings(0.5), row)

    assert word(asked(1.0)) == "more visible than before"
    assert any(
        "100% a" in reason or "finds 100%" in reason for reason in verdict(asked(1.0)).reasons
    )
    assert word(asked(0.4)) == "removed"  # control: it decides nothing
    averaged = reading("weights", "averaged with 50% of the original", 0.03, 1.0, never_knew=0.0)
    assert word([*readings(0.5), averaged]) == "removed"  # nor does an average


# -- relearning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("way_back", "expected"), [(0.1, "removed"), (0.12, "partly removed")])
def test_without_a_control_retain_images_are_held_against_no_way_back(
    way_back: float, expected: str
) -> None:
    found = instead(readings(0.5), relearned(way_back))
    assert word(found, "3 concepts that the model does not know") == expected
    assert any("Without a control, more than 10%" in reason for reason in verdict(found).reasons)
    beside = instead(readings(0.5), relearned(way_back, control=0.1))
    assert word(beside) == "removed"  # control


def test_removed_needs_training_on_retain_images() -> None:
    none = ProbeReading("relearning", "20 forget images", note="there are no images of one kind")
    found = [*(x for x in readings(0.5) if x.probe != "relearning"), none]
    assert word(found) == "partly removed"
    assert any("Training could not be read" in reason for reason in verdict(found).reasons)


def test_forget_images_decide_only_beside_a_control_and_the_verdict_says_so() -> None:
    one = "1 forget image"
    alone = [*readings(0.5), relearned(1.0, images=one, counts=True, teaches=0.9)]
    assert word(alone) == "removed"
    assert any("without a control nobody knows" in reason for reason in verdict(alone).reasons)
    idle = [*readings(0.5), relearned(0.98, images=one, counts=False, teaches=0.6)]
    assert (
        "Training on 1 image of it brings it 98% of the way back; that schedule teaches a new name "
        "only 60% of the way, so it decides nothing."
    ) in verdict(idle).reasons
    beside = [*readings(0.5), relearned(1.0, images=one, control=0.5, counts=True, teaches=0.9)]
    assert word(beside) == "partly removed"  # control


# -- what the sentences say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "shows"),
    [(0.74, 0.70, False), (0.52, 0.60, False), (0.52, 0.80, True)],
)
def test_the_edit_shows_its_images_only_where_it_shows_more_than_before(
    before: float, after: float, shows: bool
) -> None:
    counts = {"positive": 50, "negative": 50}
    trace = ProbeReading("membership", "loss", 100, 0.5, before, after, kind="trace", extra=counts)
    told = verdict([*readings(0.5), trace]).reasons
    assert any("shows which images" in reason for reason in told) is shows


def test_an_average_is_told_by_itself_and_not_as_a_leak() -> None:
    text = verdict(readings(0.5, worst=0.4)).reasons
    assert "By words, most is found through other words, “worst template: a {}”: 40%." in text
    told = [reason for reason in text if "averaged" in reason]
    assert told == [
        "Whoever has the original model can average the two: averaged with 50% of the original, "
        "the name finds 90%."
    ]
    rounded = reading("weights", "rounded to int8", 1.0, 0.9, never_knew=0.0)
    assert any("rounded" in x for x in verdict([*readings(0.5), rounded]).reasons)  # control


def test_the_stage_in_front_of_the_projection_is_called_so_only_if_it_is() -> None:
    last = reading("linear probe", "stage.1", 0.03, 0.03)
    found = readings(0.5)
    text = verdict([*found[:4], last, *found[4:]]).reasons
    assert any("stage.0 is the last that finds it beyond chance, 90%" in x for x in text)
    plain = verdict(found).reasons
    assert any("features in front of it (stage.0)" in x for x in plain)  # control


def test_before_an_inner_edit_and_behind_it_what_is_found_is_told() -> None:
    behind = reading("linear probe", "stage.1", 0.95, 0.94)
    found = readings(0.5)
    text = verdict([*found[:4], behind, *found[4:]]).reasons
    assert any("the features there (stage.0) finds 90%, as before" in x for x in text)
    assert any("Inside the image tower it still lives: stage.1 finds 94%." in x for x in text)
    lower = instead([*found[:4], behind, *found[4:]], reading("linear probe", "stage.1", 0.95, 0.5))
    assert not any("still lives" in x for x in verdict(lower).reasons)  # control


def test_a_group_is_told_of_by_its_name_and_by_those_of_its_leaves() -> None:
    leaves = reading("other words", "leaves: name", 0.8, 0.1, never_knew=0.0)
    text = verdict([*readings(0.5), leaves]).reasons
    assert any("By the names of its leaves, 80% were and 10% are." in x for x in text)
    assert not any("*" in reason for reason in text)


def test_of_several_concepts_the_one_that_is_easier_to_find_is_named() -> None:
    """The mean of the two falls, and hides that one of them rose."""

    def told(after: float) -> str:
        ship = {"count": 50, "before": 0.6, "after": after, "pair_error": 0.05}
        cat = {"count": 50, "before": 0.9, "after": 0.2, "pair_error": 0.05}
        extra = {"classes": {"ship": ship, "cat": cat}}
        five = reading("prototypes", "5 images per class", 0.75, 0.5, extra=extra)
        return " ".join(verdict(instead(readings(0.5), five)).reasons)

    low, high = "find from 20% (cat) to 95% (ship)", "easier to find than before: ship (60% to 95%)"
    assert low in told(0.95) and high in told(0.95)
    assert "none is easier to find than before" in told(0.65)  # control: within its interval
    assert "One by one" not in " ".join(verdict(readings(0.5)).reasons)
