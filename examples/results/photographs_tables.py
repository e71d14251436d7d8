"""The tables of photographs.py, from its JSON."""

from __future__ import annotations

from typing import Any


def print_tables(rows: dict[str, Any]) -> None:
    print(rows)
