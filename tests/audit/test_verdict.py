"""The verdict follows one rule: each word on readings that call for it, and on none that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slsgu.audit.probe import ProbeReading, auc_interval
from slsgu.audit.verdict import judge, share_left


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
    ]


def word(found: list[ProbeReading], reference: str | None = "a control") -> str:
    return judge(found, reference=reference, towers=("vision",)).word


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
    unseen = [replace(x, before=0.03, after=1.0) for x in readings(0.5)]
    found = judge(unseen, reference=None, towers=("vision",))
    assert found.word == "not measurable" and found.left is None
    extra = reading("prototypes", "20 images per class", 0.03, 1.0)
    assert word([*readings(0.5), extra]) == "removed"


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
