"""Settings: three values in one, checked, and frozen through and through."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, fields

import pytest

from slsgu.concepts.request import KEPT, STATES
from slsgu.errors import SlsguError
from slsgu.task.floors import Floors
from slsgu.task.machine_settings import MachineSettings
from slsgu.task.settings import DataSettings, MethodSettings, Settings


def test_a_floor_that_is_named_keeps_the_others() -> None:
    settings = Settings(floors={"retain_fine": 0.95})
    assert dict(settings.floors) == {
        "forget_coarse": 0.85, "retain_fine": 0.95, "retain_coarse": 0.85, "retain_states": 0.85
    }  # fmt: skip
    assert dict(Settings().floors) == dict.fromkeys((*KEPT, STATES), 0.85)  # control


def test_nothing_in_settings_can_be_changed() -> None:
    given = {"retain_fine": 0.95}
    settings = Settings(floors=given)
    given["retain_fine"] = 0.1
    assert settings.floors["retain_fine"] == 0.95
    with pytest.raises(TypeError):
        settings.floors["retain_fine"] = 0.1  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        settings.target = 0.5  # type: ignore[misc]
    assert copy.deepcopy(settings) == settings and hash(settings.floors) is not None


def test_the_three_parts_are_disjoint_and_all_there_is() -> None:
    names = [
        {f.name for f in fields(kind)} for kind in (MethodSettings, DataSettings, MachineSettings)
    ]
    assert sum(map(len, names)) == len(set().union(*names)) == len(fields(Settings))
    both = Settings(direction="gradient", seed=4, batch_size=3)
    assert both.method == MethodSettings(direction="gradient")
    assert both.data == DataSettings(seed=4) and both.machine == MachineSettings(batch_size=3)
    assert type(both.method) is MethodSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"floors": {"retain_all": 0.5}}, "unknown floor 'retain_all'"),
        ({"floors": {"retain_fine": 1.5}}, "floor retain_fine is 1.5"),
        ({"floors": {"retain_fine": float("nan")}}, "floor retain_fine is nan"),
        ({"seed": 10**30}, "seed is 1000"),
        ({"seed": -1}, "seed is -1"),
        ({"trials": 0}, "trials is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"target": float("nan")}, "target is nan"),
        ({"target": "0.1"}, "target is '0.1'; it must be a number"),
        ({"trials": 2.5}, "trials is 2.5; it must be a whole number"),
        ({"seed": True}, "seed is True"),
        ({"batch_size": float("nan")}, "batch_size is nan; it must be a whole number"),
        ({"contrastive_batch": 1.5}, "contrastive_batch is 1.5"),
        ({"workers": 10**400}, "workers is 1000"),
        ({"workers": -1}, "workers is -1"),
        ({"step": "1", "layer": "visual.proj"}, "step is '1'"),
        ({"layer": 5}, "layer is of type int; give str or None"),
        ({"limits": 5}, "limits is of type int; give Limits"),
        ({"floors": "0.5"}, "floors is of type str; give Mapping"),
        ({"forget_loss": ["cosine"]}, "unknown forget loss"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SlsguError, match=message):
        Settings(**settings)  # type: ignore[arg-type]


def test_floors_are_a_mapping() -> None:
    floors = Floors(forget_coarse=0.5)
    assert list(floors) == [*KEPT, STATES] and len(floors) == 4 and floors["forget_coarse"] == 0.5
    with pytest.raises(KeyError):
        floors["other"]


def test_the_published_search_removes_nothing_and_says_so() -> None:
    assert MethodSettings().goal_used == "remove"  # control
    paper = MethodSettings(search="paper")
    assert paper.goal_used == paper.to_json()["goal"] == "suppress" and not paper.starts
