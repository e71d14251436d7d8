"""Checks of a setting's value."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from slsgu.errors import SlsguError
from slsgu.utils.names import did_you_mean


def one_of(what: str, value: object, choices: Any) -> None:
    if not isinstance(value, str) or value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise SlsguError(f"unknown {what} {value!r}{hint or ';'} known: {', '.join(choices)}")


def whole(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise SlsguError(f"{what} is {value!r}; it must be a whole number")


def at_least_one(what: str, value: int) -> None:
    whole(what, value)
    if value < 1:
        raise SlsguError(f"{what} is {value}; it must be at least 1")


def between(what: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SlsguError(f"{what} is {value!r}; it must be a number")
    if not low <= value <= high:  # type: ignore[operator]
        raise SlsguError(f"{what} is {value}; it must lie between {low} and {high}")
