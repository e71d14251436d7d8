"""What a command of the tests did."""

from __future__ import annotations

from typing import NamedTuple


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str
