"""An edit is spoken of as what it is: chosen among steps, or the one that its method makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from slsgu.patch.patch import Patch
from slsgu.report.way import FROM_TEXTS, IN_ONE_STEP, SEARCHED, images_of, way_of
from slsgu.search.method import Edit, SearchTrace


def edit(metadata: dict[str, Any], trace: SearchTrace | None = None) -> Edit:
    weight = torch.ones(2, 2)
    return Edit(Patch({"visual.proj": weight}, {"visual.proj": weight}, metadata), trace=trace)


def test_an_edit_without_steps_has_no_steps_and_no_gradients() -> None:
    way = way_of(edit({}))
    assert way is IN_ONE_STEP and "--target" not in way.advice
    assert "step" not in way.shown and "gradient" not in way.undo
    searched = way_of(edit({}, cast(SearchTrace, object())))  # control
    assert searched is SEARCHED and "step" in searched.shown and "gradient" in searched.undo


def test_an_edit_from_names_has_advice_of_its_own() -> None:
    from_names = edit({"without_images": True})
    way = way_of(from_names)
    assert way is FROM_TEXTS and "--no-images" in way.advice and "--tower" not in way.advice
    assert "--search-images" not in way.surer and "--search-images" in SEARCHED.surer
    image_side = way_of(replace(from_names, settings={"tower": "vision"}))
    assert "--tower language" in image_side.advice
    assert "--no-images" not in way_of(edit({})).advice  # control


@pytest.mark.parametrize(
    ("metadata", "without"),
    [
        ({"without_images": True}, True),
        ({}, False),
        ({"sum_of": [{"without_images": True}, {}]}, False),
    ],
)
def test_images_are_denied_only_where_none_was_used(
    metadata: dict[str, Any], without: bool
) -> None:
    assert bool(images_of(edit(metadata))) is without
