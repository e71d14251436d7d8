"""Which classes an edit brings back."""

from __future__ import annotations

from typing import Any

from slsgu.evaluation.per_class import describe_named_again, named_again


def row(name: str, before: float, after: float, *, forgotten: bool = False) -> dict[str, Any]:
    return {"class": name, "forgotten": forgotten, "before": before, "after": after}


def test_a_name_that_was_gone_and_is_back_is_told_with_what_to_do() -> None:
    rows = [row("macaw", 0.0, 1.0), row("daisy", 1.0, 1.0), row("palm", 0.3, 0.9)]
    rows += [row("cockatoo", 0.1, 0.6, forgotten=True)]
    assert named_again(rows) == rows[:1]
    told = describe_named_again(rows, "cockatoo")
    assert told is not None and "macaw (0% before, 100% after)" in told
    assert "palm" not in told and told.endswith("this and cockatoo")
    assert describe_named_again(rows[1:], "cockatoo") is None  # control
