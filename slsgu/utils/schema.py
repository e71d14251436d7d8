"""Checks of JSON values that somebody else may have written.

A check is a function of a value and its key that raises `MisfitError` where the value is not what
the rest of slsgu relies on. Small checks are put together to the schema of a whole header:

    HEADER = record({"loss": number, "hashes": list_of(text)}, {"title": text})
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from slsgu.utils.wording import printable

Check = Callable[[Any, str], None]
MOST_DEPTH = 32  # of lists and objects in one another
MOST_COUNT = 2**53  # up to which every tool reads a whole number as it is written
_SHOWN = 60  # characters of a value in a message


class MisfitError(ValueError):
    """A value is not what belongs there; the message says where, what it is, and what belongs."""


def parse_json(content: str) -> Any:
    """JSON without NaN and Infinity, which the standard does not have, and of a sensible depth.

    Raises:
        ValueError: it is something else.
    """
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise MisfitError(_TOO_DEEP) from None
    refuse_deep(value)
    return value


def refuse_deep(value: Any) -> None:
    """Raises:
    MisfitError: lists and objects are nested so deep that other readers could fail.
    """
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            inside
            for outer in level
            if isinstance(outer, dict | list)
            for inside in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise MisfitError(_TOO_DEEP)


# -- values -----------------------------------------------------------------------------------


def anything(value: Any, key: str) -> None:
    """Any JSON value."""


def nothing(value: Any, key: str) -> None:
    """What must not be there."""
    raise MisfitError(f"{key} is no key that belongs there")


def number(value: Any, key: str) -> None:
    """A finite number that fits double precision."""
    if not is_number(value):
        raise _misfit(value, key, "a number")


def count(value: Any, key: str) -> None:
    """A whole number from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_COUNT:
        raise _misfit(value, key, "a whole number from 0 on")


def whole(value: Any, key: str) -> None:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _misfit(value, key, "a whole number")


def text(value: Any, key: str) -> None:
    """A string."""
    if not isinstance(value, str):
        raise _misfit(value, key, "a text")


def flag(value: Any, key: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _misfit(value, key, "true or false")


def one_of(*choices: str) -> Check:
    """One of some words."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, str) or value not in choices:
            raise _misfit(value, key, " or ".join(choices))

    return check


def or_none(inside: Check) -> Check:
    """null, or what passes another check."""

    def check(value: Any, key: str) -> None:
        if value is not None:
            inside(value, key)

    return check


def list_of(inside: Check, *, length: int | None = None) -> Check:
    """A list whose entries all pass a check."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _misfit(value, key, "a list" if length is None else f"a list of {length}")
        for index, entry in enumerate(value):
            inside(entry, f"{key}[{index}]")

    return check


def map_of(inside: Check) -> Check:
    """An object whose values all pass a check."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            raise _misfit(value, key, "an object")
        for name, entry in value.items():
            inside(entry, _below(key, name))

    return check


def record(
    needed: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    closed: bool = False,
) -> Check:
    """An object with certain keys.

    Args:
        needed: a check for each key that must be there.
        optional: for each key that may be there.
        closed: whether no other key may be there.
    """
    fields = {**needed, **(optional or {})}

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            raise _misfit(value, key, "an object")
        for name in needed:
            if name not in value:
                raise MisfitError(f"{_below(key, name)} is missing")
        for name, entry in value.items():
            if name in fields:
                fields[name](entry, _below(key, name))
            elif closed:
                nothing(entry, _below(key, name))

    return check


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that Python can calculate with: not 1e400, not true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _misfit(value: Any, key: str, wanted: str) -> MisfitError:
    if isinstance(value, dict | list):
        shown = f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    else:
        try:
            shown = json.dumps(value, ensure_ascii=False)
        except ValueError:  # a whole number of thousands of digits
            shown = "a number of thousands of digits"
        shown = printable(shown[:_SHOWN])
    return MisfitError(f"{key or 'the header'} is {shown}, and not {wanted}")


def _below(key: str, name: str) -> str:
    name = printable(str(name)[:_SHOWN])
    return f"{key}.{name}" if key else name


def _refuse_constant(name: str) -> None:
    raise MisfitError(f"it holds {name}, which is no number")


_TOO_DEEP = f"it is nested more than {MOST_DEPTH} deep"
