"""Options that stand in groups in `--help`: what a reader looks for together stands together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Group = Literal["Request", "Model", "Data", "Method", "Search", "Speed and memory", "Output"]
ORDER: tuple[Group, ...] = (
    "Request", "Model", "Data", "Method", "Search", "Speed and memory", "Output"
)  # fmt: skip


class GroupedOption(click.Option):
    """An option that says which group of `--help` it stands in."""

    def __init__(self, *args: Any, group: Group | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose `--help` lists its options by group."""

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
