"""Requests as files: `--request FILE` reads what would else be typed, and every run writes one.

A key is an option's name; the command line overrides the file. Paths in a file are relative to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

# Options that say where results go or how they are shown, which is no part of a request.
NO_PART = frozenset({"request", "run", "save_model", "dry_run", "as_json", "help"})
PATHS = frozenset({"data", "taxonomy", "templates", "pretrained", "model", "forget", "retain",
                   "classes", "also"})  # fmt: skip


def key_of(param: click.Parameter) -> str:
    """An option's name in a request file: `gradient_images` for `--gradient-images`.

    >>> key_of(click.Option(["--gradient-images"])), key_of(click.Option(["--json", "as_json"]))
    ('gradient_images', 'json')
    """
    return param.opts[0].lstrip("-").replace("-", "_")


def known_keys(command: click.Command) -> dict[str, click.Parameter]:
    """The keys that a request for a command may have."""
    return {key_of(param): param for param in command.params if param.name not in NO_PART}


def read_request(ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """Take the values of a file for those that are not typed.

    Raises:
        SlsguError: the file is no request; the message has the line and what is allowed.
    """
    if path is None:
        return None
    from slsgu.errors import DataError
    from slsgu.yaml_file import read_with_lines

    from .apply import apply  # it has all the keys; other commands pass over what is not theirs

    known = known_keys(apply)
    values: dict[str, Any] = {}
    for raw, value, line in read_with_lines(path, "request"):
        where = f"{path} line {line}"
        key = str(raw).replace("-", "_")
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(f"{where}: unknown key {raw!r}{hint} Known keys: {', '.join(known)}")
        if value is None:
            continue
        param = known[key]
        try:
            words = _as_typed(param, key, value, path.resolve().parent)
            param.process_value(ctx, words)
        except click.BadParameter as error:
            raise DataError(f"{where}: {key}: {error.message}") from None
        assert param.name is not None
        values[param.name] = words
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return path


def _as_typed(param: click.Parameter, key: str, value: Any, folder: Path) -> Any:
    """A value of a file as click takes it from the command line."""
    if not isinstance(param, click.Option) or not param.multiple:
        if isinstance(value, list | Mapping):
            raise click.BadParameter("give one value")
        return _scalar(param, key, value, folder)
    if isinstance(value, Mapping):
        if param.metavar is None or "=" not in param.metavar:
            raise click.BadParameter("give one value, or a list")
        return tuple(f"{k}={_scalar(param, key, v, folder)}" for k, v in value.items())
    many = value if isinstance(value, list) else [value]
    if any(isinstance(item, list | Mapping) for item in many):
        raise click.BadParameter("give one value, or a list of values")
    return tuple(str(_scalar(param, key, item, folder)) for item in many)


def _scalar(param: click.Parameter, key: str, value: Any, folder: Path) -> Any:
    is_flag = isinstance(param, click.Option) and param.is_flag
    if is_flag != isinstance(value, bool):
        raise click.BadParameter(
            f"{value!r} is not true or false"
            if is_flag
            else f"{value!r} stands for a truth in YAML: put quotes around it"
        )
    return _found_beside(str(value), folder) if key in PATHS else value


def _found_beside(text: str, folder: Path) -> str:
    """A path relative to the file, if such a thing is there; anything else as it is."""
    return _each_path(text, lambda path: str(folder / path) if _exists(folder / path) else path)


def _whole(text: str) -> str:
    """A path from the root, if such a thing is there; anything else as it is."""
    return _each_path(text, lambda path: str(Path.cwd() / path) if _exists(Path(path)) else path)


def _each_path(text: str, change: Callable[[str], str]) -> str:
    """Change the paths in a value: `PATH`, `local-dir:PATH`, `NAME=PATH` or `NAME=PATH:PATH`."""
    if _exists(Path(text)):
        return change(text)
    name, equals, rest = text.rpartition("=")
    return f"{name}{equals}" + ":".join(change(part) if part else "" for part in rest.split(":"))


def _exists(path: Path) -> bool:
    """Whether a path is there; of a pattern with braces, the folder that it is in."""
    text = str(path)
    return (
        Path(text.split("{")[0].rpartition("/")[0] or ".").is_dir()
        if "{" in text
        else (path.exists())
    )


request_option = click.option(
    "--request",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=read_request,
    help="A request in YAML: keys are the names of these options, which override it.",
)


def write_request(path: Path) -> None:
    """Write the file that repeats the command that runs now."""
    import yaml

    import slsgu
    from slsgu.files import write_text

    ctx = click.get_current_context()
    values = {}
    for key, param in known_keys(ctx.command).items():
        assert param.name is not None
        if ctx.get_parameter_source(param.name) is not ParameterSource.DEFAULT:
            values[key] = _plain(key, ctx.params[param.name])
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    head = f"# slsgu {slsgu.__version__}. Repeat it: slsgu apply --request {path.name}\n"
    write_text(path, head + text)


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, tuple):
        found = [_plain(key, item) for item in value]
        return found[0] if len(found) == 1 else found
    if isinstance(value, Mapping):  # floors; what has no name is for all, and comes first
        named = [f"{name}={number}" for name, number in value.items() if name is not None]
        return [*(str(number) for name, number in value.items() if name is None), *named]
    if isinstance(value, Path) or key in PATHS:
        return _whole(str(value))
    return value


def schema() -> dict[str, Any]:
    """The JSON schema of a request file (docs/request.schema.json)."""
    from .apply import apply

    properties = {key: _schema_of(param) for key, param in known_keys(apply).items()}
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
