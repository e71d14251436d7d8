"""Checks of a setting's value."""

from __future__ import annotations

from typing import Any

from slsgu.errors import SlsguError


def one_of(what: str, value: object, choices: Any) -> None:
    if value not in choices:
        raise SlsguError(f"unknown {what} {value!r}; known: {', '.join(choices)}")


def at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise SlsguError(f"{what} is {value}; it must be at least 1")


def between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SlsguError(f"{what} is {value}; it must lie between {low} and {high}")
