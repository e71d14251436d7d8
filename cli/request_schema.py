"""The JSON schema of request files, out of the options of `slsgu apply`."""

from __future__ import annotations

from typing import Any

import click

from .request_file import known_keys


def schema() -> dict[str, Any]:
    """The JSON schema of a request file (docs/request.schema.json)."""
    properties = {key: _schema_of(param) for key, param in known_keys().items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slsgu request",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _schema_of(param: click.Parameter) -> dict[str, Any]:
    assert isinstance(param, click.Option)
    one: dict[str, Any] = {"type": "string"}
    kind = param.type
    if param.is_flag:
        one = {"type": "boolean"}
    elif isinstance(kind, click.Choice):
        one = {"enum": list(kind.choices)}
    elif isinstance(kind, click.IntRange | click.FloatRange):
        one = {"type": "integer" if isinstance(kind, click.IntRange) else "number"}
        ends = (("inimum", kind.min, kind.min_open), ("aximum", kind.max, kind.max_open))
        for word, value, is_open in ends:
            if value is not None and value != float("inf"):
                letter = "m" if not is_open else "exclusiveM"
                one[letter + word] = value
    elif kind is click.FLOAT:
        one = {"type": "number"}
    if param.multiple:
        item = {"type": ["string", "number"]}
        shapes = [item, {"type": "array", "items": item}]
        if param.metavar and "=" in param.metavar:
            shapes.append({"type": "object", "additionalProperties": item})
        one = {"anyOf": shapes}
    return {**one, "description": " ".join((param.help or "").split())}
