"""Drawings stand for the menagerie's classes alone, and the message that says so is short."""

from __future__ import annotations

import pytest

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.sources.drawings import DrawingSource
from slsgu.errors import DataError


def test_what_cannot_be_drawn_is_named_in_a_few_words() -> None:
    tree = Taxonomy.parse({"things": [f"thing {n}" for n in range(40)]})
    with pytest.raises(DataError, match=r"no drawings of thing 0, .* and 30 more") as caught:
        DrawingSource(tree)
    assert str(caught.value).count("thing ") == 10
    assert DrawingSource(Taxonomy.load("menagerie")).notes == ()  # control
