"""The metadata of a patch: what readers rely on, and what scaling does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def described(header: Mapping[str, Any]) -> bool:
    """Whether metadata has the types that readers of a patch rely on."""
    parts = header.get("sum_of", [header])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return False
    for part in (header, *parts):
        request, test = part.get("request", {}), part.get("test", {})
        maps = (request, part.get("model", {}), test)
        if not all(isinstance(value, dict) for value in maps):
            return False
        paths, before, after = request.get("paths", []), test.get("before", {}), test.get("after")
        figures = [*before.values(), test.get("q_u")] if isinstance(before, dict) else [""]
        if before:
            if not isinstance(after, dict) or after.keys() != before.keys():
                return False
            figures += after.values()
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            return False
        if not all(value is None or isinstance(value, int | float) for value in figures):
            return False
        if not isinstance(part.get("scale", 1.0), int | float):
            return False
    return True


def scaled(metadata: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Metadata of a scaled patch: each part of a sum is scaled."""
    if "sum_of" in metadata:
        return {**metadata, "sum_of": [scaled(part, factor) for part in metadata["sum_of"]]}
    return {**metadata, "scale": float(metadata.get("scale", 1.0)) * factor}


def model_names(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that the parts of a patch were made for, as people know them, each once.

    >>> model_names([{"model": {"name": "ViT-B-32", "pretrained": "openai"}}, {}])
    ['ViT-B-32 openai']
    """
    models = [part.get("model", {}) for part in parts]
    names = (" ".join(str(m[key]) for key in ("name", "pretrained") if m.get(key)) for m in models)
    return list(dict.fromkeys(filter(None, names)))
