"""The tables of no_images.py, out of its JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
METHODS = ("text merge", "text merge, image side", "CCUP")
DOGS = {"difficult": "95.2", "medium": "97.0", "easy": "98.0"}  # published, NHL+KL, ViT-L/14
WORLDS = {
    "dogs": ("99 breeds of dogs", 99),
    "cifar": ("CIFAR-10", 10),
    "menagerie": ("menagerie", 46),
}


def percent(share: float | None) -> str:
    """A share in percent, with one decimal; Q-U of nothing forgotten is 0."""
    return f"{100 * (share or 0):.1f}"


def singles(rows: Row, world: str, method: str) -> dict[str, Row]:
    """The rows of single concepts, by path."""
    start, end = f"{world}/one/", f"/{method}"
    return {
        key[len(start) : -len(end)]: row
        for key, row in rows.items()
        if key.startswith(start) and key.endswith(end)
    }


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    written = [f"| {' | '.join(row)} |" for row in [heads, *lines]]
    return "\n".join([written[0], "|" + "---|" * len(heads), *written[1:]])


def one(rows: Row) -> str:
    """One concept at a time: mean and lowest Q-U of every method."""
    lines = []
    for world, (title, count) in WORLDS.items():
        for method in METHODS:
            found = singles(rows, world, method)
            if not found:
                continue
            scores = {key: row["q_u"] or 0.0 for key, row in found.items()}
            lowest = min(scores, key=lambda key: scores[key])
            lines.append([
                title if len(found) == count else f"{title}, {len(found)} of {count} so far",
                method,
                percent(sum(scores.values()) / len(scores)),
                f"{percent(scores[lowest])} ({lowest.split('/')[-1]})",
                percent(sum(row["quality"] or 0 for row in found.values()) / len(found)),
                percent(sum(row["utility"] or 0 for row in found.values()) / len(found)),
            ])  # fmt: skip
    return table(["concepts", "method", "mean Q-U", "lowest", "quality", "utility"], lines)


def ten(rows: Row) -> str:
    """Ten breeds at once."""
    lines = []
    for name, published in DOGS.items():
        found = [rows.get(f"dogs/ten/{name}/{method}") for method in METHODS]
        cells = ["–" if row is None else percent(row["q_u"]) for row in found]
        lines.append([name, *cells, published])
    return table(["breeds", *METHODS, "published, from 200 pictures per breed"], lines)


def found(rows: Row) -> str:
    """How often five pictures of each class find what was to be forgotten."""
    lines = []
    for world, (title, _) in WORLDS.items():
        for method in METHODS:
            pairs = [row["found"] for row in singles(rows, world, method).values()]
            if pairs:
                means = [sum(side) / len(pairs) for side in zip(*pairs, strict=True)]
                lines.append([title, method, *map(percent, means)])
    return table(["concepts", "method", "found by five pictures, before", "after"], lines)


def names(rows: Row) -> str:
    """What is kept of ImageNet's names."""
    kinds = {
        "one breed": [row for key, row in rows.items() if key.startswith("names/one/")],
        "ten breeds at once": [row for key, row in rows.items() if key.startswith("names/ten/")],
    }
    lines = []
    for title, found in kinds.items():
        if found:
            lines.append([
                title,
                str(len(found)),
                f"{100 * sum(row['kept'] for row in found) / len(found):.3f}",
                f"{100 * min(row['kept'] for row in found):.2f}",
                str(sorted(row["worst"] for row in found)[len(found) // 2]),
                str(max(row["worst"] for row in found)),
            ])  # fmt: skip
    heads = [
        "request",
        "count",
        "first place kept, mean",
        "lowest",
        "ranks lost by the worst text, median",
        "most",
    ]
    return table(heads, lines)


TABLES: dict[str, Callable[[Row], str]] = {"one": one, "ten": ten, "found": found, "names": names}


def tables(rows: Row) -> dict[str, str]:
    """Every table, by name."""
    return {name: make(rows) for name, make in TABLES.items()}
