"""The class that loses most is found among all that are kept, and said where it is much."""

from __future__ import annotations

import numpy as np
import pytest

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.evaluation.exam import Answers, Exam
from slsgu.evaluation.lost import FEWEST, Lost, most_lost

TREE = Taxonomy.parse({"dog": ["beagle", "pug"], "boat": ["tug", "barge"]})
TUG = TREE.leaves[2]


def test_the_exam_tells_of_kept_classes_alone() -> None:
    leaves = [leaf for leaf in TREE.leaves for _ in range(4)]
    exam = Exam(leaves, TREE, Request.of(TREE, ["beagle"]))
    before = np.ones((16, len(exam.levels)), dtype=bool)
    after = before.copy()
    after[:4, -1] = False  # what is to be forgotten
    after[8:11, -1] = False
    predicted = exam.labels
    found = exam.measure(Answers(predicted, before), Answers(predicted, after)).lost
    assert found == Lost("tug", 4, 1.0, 0.25, ruined=True)
    nothing = exam.measure(Answers(predicted, before), Answers(predicted, before)).lost
    assert nothing is not None and not nothing.ruined and nothing.describe() is None  # control


def test_what_is_lost_at_a_coarser_level_is_told_too() -> None:
    leaves = [leaf for leaf in TREE.leaves for _ in range(4)]
    exam = Exam(leaves, TREE, Request.of(TREE, ["beagle"]))
    before = np.ones((16, len(exam.levels)), dtype=bool)
    after = before.copy()
    after[8:11, 0] = False  # the tugs, as boats
    found = exam.measure(Answers(exam.labels, before), Answers(exam.labels, after)).lost
    assert found == Lost("tug", 4, 1.0, 0.25, ruined=True, level=1)
    assert "images are given the right group at level 1 before, 25.0%" in (found.describe() or "")
    after[12:15, -1] = False  # as much of the barges, by their name
    found = exam.measure(Answers(exam.labels, before), Answers(exam.labels, after)).lost
    assert found == Lost("barge", 4, 1.0, 0.25, ruined=True)  # control: of equals, the finest


@pytest.mark.parametrize(("left", "ruined"), [(2, False), (1, True)])
def test_half_of_a_class_may_go(left: int, ruined: bool) -> None:
    after = np.arange(4) < left
    found = most_lost([TUG], np.zeros(4, dtype=int), np.ones(4, dtype=bool), after)
    assert found is not None and found.ruined is ruined
    assert "tug loses most: 100.0% of its 4 images" in str(found.describe())


def test_a_class_that_was_hardly_known_does_not_count() -> None:
    known = np.arange(8) < FEWEST - 1
    assert most_lost([TUG], np.zeros(8, dtype=int), known, ~known) is None
    known = np.arange(8) < FEWEST  # control
    assert most_lost([TUG], np.zeros(8, dtype=int), known, ~known) is not None


def test_a_weak_class_may_be_ruined_where_another_loses_more_points() -> None:
    labels = np.repeat([0, 1], 10)
    before = np.concatenate([np.ones(10, dtype=bool), np.arange(10) < 3])
    after = np.concatenate([np.arange(10) < 6, np.zeros(10, dtype=bool)])
    found = most_lost(TREE.leaves[:2], labels, before, after)
    assert found is not None and found.name == "beagle" and found.ruined
    after[10:] = before[10:]  # control
    spared = most_lost(TREE.leaves[:2], labels, before, after)
    assert spared is not None and not spared.ruined


def test_ten_points_are_told() -> None:
    assert Lost("tug", 50, 0.9, 0.8, ruined=False).describe()
    assert Lost("tug", 50, 0.9, 0.82, ruined=False).describe() is None  # control


def test_a_name_that_two_classes_have_is_told_with_its_path() -> None:
    tree = Taxonomy.parse({"bird": ["crane", "owl"], "machine": ["crane", "drill"]})
    labels, known = np.repeat([0, 2], 4), np.ones(8, dtype=bool)
    after = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    found = most_lost(tree.leaves, labels, known, after)
    assert found is not None and found.name == "machine/crane"
    alone = most_lost(tree.leaves[1:], labels // 2, known, after)  # control
    assert alone is not None and alone.name == "crane"


def test_a_loss_at_a_coarser_level_ruins_too_also_where_few_are_right_at_the_finest() -> None:
    leaves = [leaf for leaf in TREE.leaves for _ in range(4)]
    exam = Exam(leaves, TREE, Request.of(TREE, ["beagle"]))
    before = np.ones((16, len(exam.levels)), dtype=bool)
    before[8:, -1] = False
    before[4:8] = False
    after = before.copy()
    after[8:12, 0] = False
    found = exam.measure(Answers(exam.labels, before), Answers(exam.labels, after)).lost
    assert found is not None and found.level == 1 and found.ruined
    assert found.share == 1.0


def test_a_requested_class_that_loses_a_group_that_is_kept_is_told() -> None:
    leaves = [leaf for leaf in TREE.leaves for _ in range(4)]
    exam = Exam(leaves, TREE, Request.of(TREE, ["beagle"]))
    before = np.ones((16, len(exam.levels)), dtype=bool)
    after = before.copy()
    after[:4, -1] = False  # its name, as asked
    found = exam.measure(Answers(exam.labels, before), Answers(exam.labels, after)).lost
    assert found is not None and found.describe() is None and not found.ruined  # control
    after[:3, 0] = False  # and that it is a dog
    found = exam.measure(Answers(exam.labels, before), Answers(exam.labels, after)).lost
    assert found == Lost("beagle", 4, 1.0, 0.25, ruined=True, level=1, requested=True)
    assert (found.describe() or "").startswith("beagle loses most beyond what was asked: 100.0% of")
    assert found.to_json() == {
        "name": "beagle", "count": 4, "before": 1.0, "after": 0.25, "level": 1, "requested": True
    }  # fmt: skip
