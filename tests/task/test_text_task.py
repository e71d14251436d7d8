"""Requests in words alone: what is given is looked at before it is used."""

from __future__ import annotations

from typing import Any

import pytest

import slsgu
from slsgu.models.clip import Clip
from slsgu.task.text_task import make_text_task


@pytest.mark.parametrize(
    ("concepts", "options", "told"),
    [
        (["beagle"], {"siblings": "horse"}, "siblings"),  # a text is not a list of letters
        ([["beagle", "pug"]], {"siblings": ["horse"]}, "a name"),
        ([None], {"siblings": ["horse"]}, "a name"),
        (["beagle"], {"siblings": [3]}, "a name"),
        (["beagle"], {"parent": "dog"}, "sibling"),
        ([], {"siblings": ["pug"]}, "at least one concept"),
    ],
)
def test_what_is_no_name_is_refused_by_name(
    taught: Clip, concepts: list[Any], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(slsgu.SlsguError, match=told):
        make_text_task(taught, concepts, **options)
    made = make_text_task(taught, ["beagle"], siblings=["pug"], parent="dog")  # control
    assert [each.key for each in made.request.concepts] == ["dog/beagle"]
