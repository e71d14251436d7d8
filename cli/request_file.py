"""Requests as files: `--request FILE` reads what would else be typed, and every run writes one.

A key is an option's name; the command line overrides the file. Paths in a file are relative to it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from .groups import GroupedCommand, option, parameters
from .options import request_options
from .request_paths import PATHS, base_of, bundled, whole
from .values import split_also

# Options that say where results go or how they are shown, which is no part of a request.
NO_PART = frozenset({"request", "run", "run_folder", "save_model", "dry_run", "json", "help"})

# What is typed takes the place of these keys of a file too: they say the same in another way.
REPLACES = {
    "concept": ("forget", "retain", "name", "parent", "sibling", "classes", "retain_images"),
    "forget": ("concept", "data", "no_images", "sibling", "keep"),
    "classes": ("taxonomy",),
    "taxonomy": ("classes",),
}
# Where a context keeps `Origin`s, and the name of the file.
_ORIGINS, _FILE = "slsgu.request.origins", "slsgu.request.file"


class Origin(NamedTuple):
    """Where a value stands in a request file."""

    key: str
    value: Any
    where: str

    def is_told(self, message: str) -> bool:
        """Whether a message is about the value, or about its option."""
        if re.search(rf"--{self.key.replace('_', '-')}(?![\w-])", message):
            return True
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if self.key not in PATHS:
            return any(repr(value) in message for value in values)
        if self.key == "also":
            values = tuple(part for value in values for part in split_also(value)[1:])
        # A bundled name may stand in a list of all of them.
        names = {name for key in PATHS for name in bundled(key)}
        paths = [value for value in values if value and value not in names]
        return any(re.search(rf"(?<![\w/.-]){re.escape(x)}(?![\w/-])", message) for x in paths)


class RequestCommand(GroupedCommand):
    """A command with `--request`: what is typed comes first, then the file, then defaults. An empty
    value that is typed takes the one of the file back; elsewhere an empty path, which would be the
    current folder, is refused."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        typed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        file = typed.get("request")
        found: dict[str, Origin] = {}
        if file and not typed.get("help"):
            path = Path(file)
            if path.exists() and not path.is_file() and not path.is_dir():
                raise click.UsageError(
                    f"--request {file} is a pipe or a device: save the request as a file, since "
                    "its paths are relative to it",
                    ctx,
                )
            found = read_request(ctx, path, typed) if path.is_file() else {}
        gone = set[str]()
        for param in self.params:
            if param.name not in typed:
                continue
            origin = found.pop(param.name, None)
            if typed[param.name] not in ("", [""], ("",)):
                gone.update(REPLACES.get(key_of(param), ()))
            elif origin is not None:
                args = _without(args, param)
            elif key_of(param) in PATHS or isinstance(param.type, click.Path):
                raise click.BadParameter("is empty", ctx, param)
        found = {name: origin for name, origin in found.items() if origin.key not in gone}
        ctx.default_map = {name: origin.value for name, origin in found.items()}
        ctx.meta[_ORIGINS] = found
        ctx.meta[_FILE] = file
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        from slsgu.errors import SlsguError

        try:
            self._check_concept(ctx)
            return super().invoke(ctx)
        except SlsguError as error:
            for note in _notes(ctx, str(error)):
                error.add_note(note)
            raise
        except click.UsageError as error:
            text = error.format_message()
            told = "\n".join([text, *_notes(ctx, text)])
            raise click.UsageError(told, error.ctx or ctx) from error

    @staticmethod
    def _check_concept(ctx: click.Context) -> None:
        """Name the file that does not say what to forget, where nothing typed says it either."""
        if ctx.meta[_FILE] and not (ctx.params["concepts"] or ctx.params["forget"]):
            raise click.UsageError(
                f"{ctx.meta[_FILE]} does not say what to forget: add a line `concept: NAME` or "
                "`forget: SOURCE` to it, or type --concept NAME",
                ctx,
            )


def _without(args: list[str], param: click.Parameter) -> list[str]:
    """The words of a command line without an option that has an empty value."""
    kept: list[str] = []
    for word in args:
        if word == "" and kept and kept[-1] in param.opts:
            kept.pop()
        elif word not in [f"{option}=" for option in param.opts]:
            kept.append(word)
    return kept


def _notes(ctx: click.Context, message: str) -> list[str]:
    """Where what a message is about stands in the request file."""
    origins: Mapping[str, Origin] = ctx.meta[_ORIGINS]
    return [f"({o.where}: {o.key})" for o in origins.values() if o.is_told(message)]


def key_of(param: click.Parameter) -> str:
    """An option's name in a request file: `gradient_images` for `--gradient-images`.

    >>> key_of(click.Option(["--gradient-images"])), key_of(click.Option(["--json", "as_json"]))
    ('gradient_images', 'json')
    """
    return param.opts[0].lstrip("-").replace("-", "_")


def known_keys() -> dict[str, click.Parameter]:
    """The keys that a request may have, with their options."""
    return {key_of(param): param for param in parameters(request_options)}


def read_request(ctx: click.Context, path: Path, typed: Container[str]) -> dict[str, Origin]:
    """The values of a file, as if they were typed, by the names of their parameters.

    Args:
        typed: the parameters that are typed, for which the file need make no sense.

    Raises:
        SlsguError: the file is no request; the message has the line and what is allowed.
    """
    from slsgu.errors import DataError
    from slsgu.utils.yaml_file import read_with_lines

    known = known_keys()  # of all commands; each passes over what is not its own
    found: dict[str, Origin] = {}
    seen: dict[str, int] = {}
    for raw, value, line in read_with_lines(path, "request"):
        where = f"{path} line {line}"
        key = str(raw).replace("-", "_")
        if key in seen:
            raise DataError(
                f"{where}: {raw!r} stands in line {seen[key]} already: leave one of the two out"
            )
        seen[key] = line
        if key in NO_PART:
            raise DataError(
                f"{where}: {raw!r} is no part of a request: type --{raw.replace('_', '-')}"
            )
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise DataError(f"{where}: unknown key {raw!r}{hint} Known keys: {', '.join(known)}")
        if value is None:
            continue
        if value == "" and key in PATHS:
            raise DataError(f"{where}: {key} is empty: give a value, or leave the line out")
        param = known[key]
        assert param.name is not None
        if param.name in typed:
            found[param.name] = Origin(key, "", where)
            continue
        try:
            words = _as_typed(param, key, value, base_of(path))
            param.process_value(ctx, words)
        except click.BadParameter as error:
            raise DataError(f"{where}: {key}: {error.message}") from None
        found[param.name] = Origin(key, words, where)
    return found


def _as_typed(param: click.Parameter, key: str, value: Any, folder: Path) -> Any:
    """A value of a file as click takes it from the command line."""
    if not isinstance(param, click.Option) or not param.multiple:
        if isinstance(value, list | Mapping):
            raise click.BadParameter("give one value")
        return _whole(key, _scalar(param, value), folder)
    if isinstance(value, Mapping):
        if param.metavar is None or "=" not in param.metavar:
            raise click.BadParameter("give one value, or a list")
        if any(isinstance(v, list | Mapping) for v in value.values()):
            raise click.BadParameter("give one value for each name")
        return tuple(_whole(key, f"{k}={_scalar(param, v)}", folder) for k, v in value.items())
    many = value if isinstance(value, list) else [value]
    if any(isinstance(item, list | Mapping) for item in many):
        raise click.BadParameter("give one value, or a list of values")
    return tuple(_whole(key, str(_scalar(param, item)), folder) for item in many)


def _whole(key: str, value: Any, folder: Path) -> Any:
    return whole(key, value, folder) if key in PATHS else value


def _scalar(param: click.Parameter, value: Any) -> Any:
    is_flag = isinstance(param, click.Option) and param.is_flag
    if is_flag != isinstance(value, bool):
        raise click.BadParameter(
            f"{value!r} is not true or false"
            if is_flag
            else f"{value!r} stands for a truth in YAML: put quotes around it"
        )
    if not isinstance(value, bool | int | float | str):  # bytes, a set
        raise click.BadParameter("give text or a number: put quotes around it")
    text = str(value)
    if "\0" in text:  # the system ends a path there
        raise click.BadParameter("it holds a NUL character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise click.BadParameter("it holds half a character (a lone surrogate)") from None
    return value if is_flag else str(value)


request_option = option(
    "Request",
    "--request",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    expose_value=False,
    help="Read the request from a YAML file, whose keys are the names of these options. What is "
    "typed overrides the file.",
)


def options_of(path: Path) -> dict[str, Any]:
    """The options of the run that a request file repeats.

    Raises:
        SlsguError: the file is no request.
        click.UsageError: its values do not go together.
    """
    params = [*parameters(request_option), *parameters(request_options)]
    command = RequestCommand("request", params=params)
    return command.make_context("request", ["--request", str(path)]).params


def write_request(path: Path) -> None:
    """Write the file that repeats the command that runs now."""
    import yaml

    import slsgu
    from slsgu.utils.files import write_text

    ctx = click.get_current_context()
    origins: Mapping[str, Origin] = ctx.meta[_ORIGINS]
    values = {}
    for key, param in known_keys().items():
        name = str(param.name)
        if name not in ctx.params and name in origins:  # for `apply`, and not for this command
            values[key] = _plain(key, param.process_value(ctx, origins[name].value))
        elif ctx.get_parameter_source(name) in (
            ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP
        ):  # fmt: skip
            values[key] = _plain(key, ctx.params[name])
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    head = f"# slsgu {slsgu.__version__}. Repeat it: slsgu apply --request {path.name}\n"
    if "pipe:" in text:
        head += f"# The commands of pipes start in {Path.cwd()}\n"
    write_text(path, head + text)


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, tuple):
        found = [_plain(key, item) for item in value]
        return found[0] if len(found) == 1 else found
    if isinstance(value, Mapping):  # floors; what has no name is for all, and comes first
        named = [f"{name}={number}" for name, number in value.items() if name is not None]
        return [*(str(number) for name, number in value.items() if name is None), *named]
    if key in PATHS:
        return whole(key, str(value), Path.cwd())
    return str(value) if isinstance(value, Path) else value
