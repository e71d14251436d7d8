"""What a command of the tests did, and which commands there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


def commands_of(
    group: click.Group, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command of a group and of the groups in it, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_of(command, (*words, name))
        else:
            yield " ".join((*words, name)), command
