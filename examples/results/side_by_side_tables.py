"""The tables of side_by_side.py: a line for each method, a column for each kind of request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photographs_rows import mean, table

Results = dict[str, list[dict[str, Any]]]
KINDS = {
    "leaves": "drawings, one class",
    "inner": "drawings, one group",
    "cifar": "CIFAR, one class",
    "dog": "dogs, one breed",
    "difficult": "dogs, ten difficult",
    "medium": "dogs, ten medium",
    "easy": "dogs, ten easy",
}
SEVERAL = ("leaves", "inner", "cifar")  # of which there are several requests


def values(results: Results, kind: str, method: str, key: str) -> list[float | None]:
    """A figure of a method on the requests of a kind; None where it failed or was not measured."""
    found = [row for each in results.get(kind, ()) for row in each["rows"]
             if row["method"] == method]  # fmt: skip
    return [None if row["failed"] else row["means"].get(key) for row in found]


def methods_of(results: Results) -> list[str]:
    """All methods, the highest Q-U first: the mean over kinds of the mean over requests."""
    names = dict.fromkeys(row["method"] for each in results.values() for one in each
                          for row in one["rows"])  # fmt: skip

    def score(name: str) -> float:
        found = [mean(v or 0.0 for v in values(results, kind, name, "q_u")) for kind in results
                 if values(results, kind, name, "q_u")]  # fmt: skip
        return mean(value for value in found if value is not None) or 0.0

    return sorted(names, key=lambda name: -score(name))


def by_kind(results: Results, key: str, write: Callable[[list[float | None]], str]) -> str:
    """One figure of every method."""
    kinds = [kind for kind in KINDS if results.get(kind)]
    lines = [
        [f"`{name}`", *(write(values(results, kind, name, key)) for kind in kinds)]
        for name in methods_of(results)
    ]
    return table(["method", *(counted(kind, results) for kind in kinds)], lines)


def counted(kind: str, results: Results) -> str:
    """A kind of request, and how many of them there are, where it has several."""
    return f"{KINDS[kind]} ({len(results[kind])})" if kind in SEVERAL else KINDS[kind]


def shares(found: list[float | None]) -> str:
    """The mean of shares, and the lowest where there are several; how many failed."""
    there = [value for value in found if value is not None]
    failed = len(found) - len(there)
    if not there:
        return "failed" if failed else "–"
    text = f"{mean(there):.3f}" + (f" ({min(there):.3f})" if len(there) > 1 else "")
    return text + (f", {failed} failed" if failed else "")


def mean_to(digits: int) -> Callable[[list[float | None]], str]:
    """The mean of figures, where they were measured, with so many decimals."""

    def written(found: list[float | None]) -> str:
        there = mean(value for value in found if value is not None)
        return "–" if there is None else f"{there:,.{digits}f}"

    return written


def tables(results: Results) -> dict[str, str]:
    """Every table, by name."""
    return {
        "q-u": by_kind(results, "q_u", shares),
        "never-knew": by_kind(results, "distance", mean_to(3)),
        "seconds": by_kind(results, "all_seconds", mean_to(0)),
    }
