"""Artifacts whose hash is right, whatever stands in them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from slsgu.utils.artifact import content_sha256


def read_raw(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of an artifact, unchecked."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["slsgu"]), load_file(path)


def forge(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write an artifact whose hash is right, whatever stands in it."""
    header["content_sha256"] = content_sha256(header, tensors)
    save_file(tensors, path, {"slsgu": json.dumps(header)})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value in nested JSON."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, each in inside:
        yield (*path, key)
        yield from places(each, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value in one place."""
    result = copy.deepcopy(value)
    inside = result
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = new
    return result
