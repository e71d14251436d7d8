"""A folder for a run: what in it is of something else is not replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.gradients import plan_for

from slsgu.errors import ArtifactError
from slsgu.models.clip import Clip
from slsgu.pipeline.run_folder import PUBLISHED, RunFolder
from slsgu.pipeline.taken import refuse_taken
from slsgu.task.plan import Plan
from slsgu.utils.files import write_json


@pytest.fixture
def plan(tiny: Clip, photos: Path) -> Plan:
    return plan_for(tiny, photos)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_new_folder_and_one_of_the_same_request_are_taken(plan: Plan, folder: RunFolder) -> None:
    refuse_taken(folder, plan.task.request)
    (folder.path / "notes.txt").write_text("mine")
    refuse_taken(folder, plan.task.request)
    with folder.publishing() as new:
        write_json(new.result, {"request": plan.task.request.describe()})
        new.request.write_text("concept: beagle\n")
    refuse_taken(folder, plan.task.request)


def test_the_result_of_another_request_stays(plan: Plan, folder: RunFolder) -> None:
    other = {**plan.task.request.describe(), "paths": ["dog/pug"]}
    with folder.publishing() as new:
        write_json(new.result, {"request": other})
    with pytest.raises(ArtifactError, match=r"something else \(dog/pug, not dog/beagle\)"):
        refuse_taken(folder, plan.task.request)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_that_no_run_wrote_stays(name: str, plan: Plan, folder: RunFolder) -> None:
    (folder.path / name).write_text('{"mine": 1}')
    with pytest.raises(ArtifactError, match=f"{name} was not written by a run"):
        refuse_taken(folder, plan.task.request)


def test_gradients_and_a_result_without_links_are_signs_of_a_run(
    plan: Plan, folder: RunFolder
) -> None:
    """As `slsgu grads` leaves them, and a disk that has no links."""
    folder.request.write_text("concept: beagle\n")
    folder.gradients.write_bytes(b"")
    refuse_taken(folder, plan.task.request)
    folder.gradients.unlink()
    write_json(folder.result, {"request": plan.task.request.describe()})
    refuse_taken(folder, plan.task.request)
