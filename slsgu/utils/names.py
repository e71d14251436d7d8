"""Names that were given, as far as something was given."""

from __future__ import annotations

from pathlib import Path

from slsgu.errors import SlsguError


def refuse_blank(name: str | Path | None, what: str, error: type[SlsguError]) -> None:
    """Refuse an empty name. As a path it would mean the working directory, which nobody who left
    a variable of the shell unset has asked for.

    Args:
        name: None is no name at all, and fine.
        what: what it names, for the message.
        error: the class of the error.

    Raises:
        SlsguError: `error`: the name is empty, or blank.
    """
    if isinstance(name, str) and not name.strip():
        raise error(f"{what} is empty: give a name, or leave it out")
