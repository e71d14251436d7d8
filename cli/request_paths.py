"""Paths in request files: relative to the file where one is read, from the root where one is
written."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from .values import split_also

PATHS = frozenset({"data", "taxonomy", "templates", "pretrained", "model", "forget", "retain",
                   "classes", "keep", "also", "cache_dir"})  # fmt: skip


def whole(key: str, text: str, folder: Path) -> str:
    """A value with the paths in it made whole, whether they are there or not. A name or an address
    stays as it is."""
    from slsgu.data.sources.shards import is_address

    if key == "also":
        if "=" not in text:
            return text  # no name: it is refused later
        name, source, taxonomy = split_also(text, folder)
        tree = f":{whole('taxonomy', taxonomy, folder)}" if taxonomy else ""
        return f"{name}={whole('data', source, folder)}{tree}"
    if not text:
        return text
    if text[0] == "~":  # as a shell does with what is typed
        with contextlib.suppress(RuntimeError):  # there is no such user: a file is called so
            return str(Path(text).expanduser())
    if key in ("cache_dir", "classes", "keep"):  # nothing but a path
        return str(folder / text)
    if key == "model":
        path = text.removeprefix("local-dir:").removeprefix("transformers:")
        if not path or path[0] == "~" or (path == text and not text.endswith(".json")):
            return text
        return text.removesuffix(path) + str(folder / path)
    if is_address(text) or _is_name(key, text, folder):
        return text
    if "::" in text and not (folder / text).exists():
        return "::".join(whole(key, part, folder) for part in text.split("::"))
    return str(folder / text)


def bundled(key: str) -> Collection[str]:
    """The names that an option has, whatever files are called so too."""
    from slsgu.concepts.taxonomies import BUNDLED
    from slsgu.concepts.templates import TEMPLATE_SETS

    names: dict[str, Collection[str]] = {
        "taxonomy": BUNDLED, "templates": TEMPLATE_SETS, "data": ("menagerie",)
    }  # fmt: skip
    return names.get(key, ())


def _is_name(key: str, text: str, folder: Path) -> bool:
    """Whether a word is a name, which means the same wherever a file is called so too."""
    if key == "pretrained":
        if not (folder / text).is_file():  # a folder is no checkpoint
            return not ("/" in text or Path(text).suffix)  # as no name of pretrained weights has
        import open_clip

        return any(text == tag for _, tag in open_clip.list_pretrained())
    return text in bundled(key)


def base_of(path: Path) -> Path:
    """The folder that paths in a request file begin in: that of the file itself, where a link leads
    to it; but for the links of a run folder, which lead to a hidden part of it."""
    from slsgu.utils.together import CURRENT

    named, real = path.parent.resolve(), path.resolve().parent
    return named if real == (named / CURRENT).resolve() else real
