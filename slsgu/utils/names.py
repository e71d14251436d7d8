"""Names and values that were given, as far as they are of any use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
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


def refuse_kind(value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Refuse a value of another type, before it fails somewhere within.

    Args:
        kind: the types that are fine.
        what: what the value is, for the message.

    Raises:
        SlsguError: the value is of another type.
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
        raise SlsguError(f"{what} is of type {type(value).__name__}; give {names}")


def at_home(path: str | Path) -> Path:
    """A path with `~` written out; where there is no such user, a file is called so."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def did_you_mean(word: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> str:
    """The known names that a mistyped one is close to, in whichever case, as the end of a message;
    empty where there is none.

    Args:
        most: how many are named.

    >>> did_you_mean("Protoypes", ["prototypes", "weights"])
    "; did you mean 'prototypes'?"
    """
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(repr(folded[name]) for name in close)}?" if close else ""
