"""Options that stand in groups in `--help`: what a reader looks for together stands together."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Group = Literal[
    "Input", "Request", "Model", "Data", "Method", "Search", "Speed and memory", "Output"
]
ORDER: tuple[Group, ...] = (
    "Input", "Request", "Model", "Data", "Method", "Search", "Speed and memory", "Output"
)  # fmt: skip


class Words(click.types.StringParamType):
    """A text that is no path: a name, a caption. Python reads the command line in the encoding of
    the locale; where that is ASCII, what was typed is UTF-8 all the same, as files have it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text: str = super().convert(value, param, ctx)
        try:
            return os.fsencode(text).decode()
        except UnicodeError:
            return text


class GroupedOption(click.Option):
    """An option that says which group of `--help` it stands in."""

    def __init__(self, *args: Any, group: Group | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Refuse what is the next option rather than a value: `--out --json` would write a folder
        of that name.

        Raises:
            click.BadParameter: a path begins with a dash, or a text is an option of the command.
        """
        known = {name for param in ctx.command.params for name in param.opts + param.secondary_opts}
        for text in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(text, str) or not text.startswith("-"):
                continue
            if isinstance(self.type, click.Path):
                raise click.BadParameter(
                    f"{text!r} begins with a dash: is the value missing? For a file or folder of "
                    f"that name, write {shlex.quote(f'./{text}')}",
                    ctx,
                    self,
                )
            if isinstance(self.type, click.types.StringParamType) and text in known:
                raise click.BadParameter(f"{text!r} is an option: is the value missing?", ctx, self)
        return super().type_cast_value(ctx, value)


class Commands(click.Group):
    """Commands in the order in which they are defined; a mistyped one gets a suggestion."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ctx.resilient_parsing:  # a shell completes what is typed so far
            return super().resolve_command(ctx, args)
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            if not close and "apply" in known and ctx.parent is None:
                hint += f" To forget a concept: slsgu apply --concept {shlex.quote(args[0])}."
            ctx.fail(f"no command {args[0]!r}{hint} The commands are {', '.join(known)}")
        return super().resolve_command(ctx, args)


class GroupedCommand(click.Command):
    """A command whose `--help` lists its options by group."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if type(error) is click.UsageError and (hint := self._hint(ctx, typed)):
                raise click.UsageError(hint, ctx) from error
            raise

    def _hint(self, ctx: click.Context, typed: list[str]) -> str | None:
        """What to write in place of words without an option, if they are the mistake."""
        if any(isinstance(param, click.Argument) for param in self.params):
            return None
        try:
            _, words, _ = self.make_parser(ctx).parse_args(args=typed)
        except click.UsageError:  # an option is wrong, which the command has told
            return None
        if not words:
            return None
        known = {name for param in self.params for name in param.opts}
        text = shlex.join(words)
        if "--run" in known and Path(words[0]).is_dir():
            folder = shlex.quote(words[0])
            return f"{text} stands without an option: for a run folder, write --run {folder}"
        if "--concept" in known:
            name = shlex.quote(" ".join(words))
            return f"{text} stands without an option: to name a concept, write --concept {name}"
        return f"{text} stands without an option (names with spaces need quotes)"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in (*ORDER, "Other")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):  # the text has arguments
                sections[getattr(param, "group", None) or "Other"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def option(group: Group, *names: str, **attributes: Any) -> Callable[[F], F]:
    """A click option in a group."""
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, listed in this order."""

    def decorate(function: F) -> F:
        for each in reversed(options):
            function = each(function)
        return function

    return decorate


def parameters(options: Callable[[Any], Any]) -> list[click.Parameter]:
    """The options of a stack as values, in its order."""

    def bare() -> None: ...

    decorated: Any = options(bare)
    return list(reversed(decorated.__click_params__))
