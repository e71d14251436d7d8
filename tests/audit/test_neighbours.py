"""Neighbours: what became of the classes beside the concept, at every level."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import slsgu
from slsgu.audit.neighbours import NAME, REQUESTED
from slsgu.audit.probe import ProbeReading
from slsgu.audit.run import run_audit
from slsgu.audit.verdict import judge
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch
from slsgu.task.task import Task


@pytest.fixture
def task(taught: Clip, photos: Path) -> Task:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return slsgu.make_task(taught, ["beagle"], **where)


def swapped(task: Task, first: str, second: str) -> Patch:
    """The embeddings of two classes change places: a reflection of the last projection."""
    weight = task.clip.model.get_parameter("visual.proj").detach().clone()
    names = [task.taxonomy.find(first), task.taxonomy.find(second)]
    texts = [template.format(leaf.name) for leaf in names for template in task.templates]
    with torch.no_grad():
        embedded = task.clip.model.encode_text(task.clip.tokenizer(texts), normalize=True)
    one, other = embedded.reshape(2, -1, embedded.shape[1]).mean(dim=1)
    axis = (one - other) / (one - other).norm()
    return Patch({"visual.proj": -2 * weight @ torch.outer(axis, axis)}, {"visual.proj": weight})


def read(task: Task, patch: Patch) -> list[ProbeReading]:
    return list(run_audit(task, patch, probes=[NAME]))


def told(readings: list[ProbeReading]) -> list[str]:
    return judge(readings, reference=None, towers=("vision",)).reasons


def test_a_class_that_leaves_its_group_is_told_at_the_level_of_the_group(task: Task) -> None:
    readings = read(task, swapped(task, "pug", "tabby"))
    (grouped,) = (x for x in readings if "level" in x.extra)
    assert grouped.setting.startswith("at level 1, worst of 4: ") and grouped.chance == 0.5
    assert grouped.before == 1.0 and grouped.after is not None and grouped.after < 0.5
    assert grouped.count == len([x for x in task.splits.test if x.leaf and x.leaf.name == "pug"])
    name = grouped.setting.rsplit(": ", 1)[1]
    assert (
        f"Of everything else, {name} most often leaves its group: at level 1, 100% of its images "
        f"are given the right one before, {grouped.after:.0%} after."
    ) in told(readings)


def test_classes_that_change_places_in_their_group_do_not_leave_it(task: Task) -> None:
    readings = read(task, swapped(task, "tabby", "siamese"))
    (grouped,) = (x for x in readings if "level" in x.extra)
    assert grouped.after == grouped.before == 1.0
    assert not any("group" in reason for reason in told(readings))
    worst = next(x for x in readings if x.setting.startswith("worst of"))  # control
    assert worst.after is not None and worst.after < 0.5


@pytest.mark.parametrize(("asked", "count"), [("beagle", 4), ("dog", 2)])
def test_requested_classes_count_at_levels_that_they_must_keep(
    taught: Clip, photos: Path, asked: str, count: int
) -> None:
    """A beagle is still a dog, unless dogs are to be forgotten."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    task = slsgu.make_task(taught, [asked], **where)
    readings = read(task, swapped(task, "beagle", "siamese"))
    (grouped,) = (x for x in readings if "level" in x.extra)
    assert grouped.setting.startswith(f"at level 1, worst of {count}: ")


def test_a_requested_class_that_leaves_its_group_is_told_as_such() -> None:
    lost = ProbeReading(
        NAME, f"at level 1, worst of 4: {REQUESTED}: beagle", 50, 0.5, 1.0, 0.2, kind="keep",
        extra={"level": 1},
    )  # fmt: skip
    text = "Beyond what was asked, beagle most often leaves its group: at level 1, 100% of its"
    assert any(reason.startswith(text) for reason in told([lost]))
    kept = replace(lost, setting="at level 1, worst of 4: sibling: pug")  # control
    assert any(x.startswith("Of everything else, pug most often") for x in told([kept]))


def test_leaves_without_groups_have_none_to_leave(taught: Clip, photos: Path) -> None:
    flat = slsgu.make_task(taught, ["beagle"], data=photos / "images")
    readings = read(flat, swapped(flat, "pug", "tabby"))
    assert readings and not any("level" in reading.extra for reading in readings)
