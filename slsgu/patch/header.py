"""The metadata of a patch: what readers rely on, and what scaling does to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slsgu.utils.schema import (
    Check,
    MisfitError,
    flag,
    list_of,
    map_of,
    nothing,
    number,
    or_none,
    record,
    text,
)

_FIGURES = map_of(or_none(number))


def _test(value: Any, key: str) -> None:
    """What a patch did on the test split: each figure before has one after."""
    record(
        {},
        {
            "before": _FIGURES,
            "after": _FIGURES,
            "quality": or_none(number),
            "utility": or_none(number),
            "q_u": or_none(number),
        },
    )(value, key)
    before, after = value.get("before", {}), value.get("after", {})
    if before.keys() != after.keys():
        raise MisfitError(f"{key} has other figures before than after")


_PART: dict[str, Check] = {
    **dict.fromkeys(
        ("version", "method", "forget_loss", "direction", "search", "gradients", "data"), text
    ),
    **dict.fromkeys(("step_size", "relative_step", "scale"), number),
    "model": record({}, {"name": text, "pretrained": or_none(text), "sha256": text}),
    "request": record(
        {},
        {
            "concepts": list_of(text),
            "paths": list_of(text),
            "forget_leaves": list_of(text),
            "taxonomy": text,
            "taxonomy_sha256": text,
            "named": flag,
        },
    ),
    "templates": list_of(text),
    "test": _test,
    "command": or_none(text),
    "asked_by": text,
    "reason": text,
    "success": flag,
}
HEADER = record(
    {"layers": map_of(text)},
    {**_PART, "sum_of": list_of(record({}, {**_PART, "sum_of": nothing}))},
)
"""What a patch says of itself, as far as it says it."""


def scaled(metadata: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Metadata of a scaled patch: each part of a sum is scaled."""
    if "sum_of" in metadata:
        return {**metadata, "sum_of": [scaled(part, factor) for part in metadata["sum_of"]]}
    return {**metadata, "scale": float(metadata.get("scale", 1.0)) * factor}
