"""Image-text pairs made for tests: sources in memory, requests by images, tables of photographs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.pictures import png

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.sources.records import LeftOut, Picture, Record, content_of
from slsgu.data.splits.pair_splits import pair_splits
from slsgu.data.splits.splits import Limits, Splits
from slsgu.task.pairs import Pairs

ALL = Limits(None, None, None, None, None)


@dataclass(frozen=True)
class Bytes:
    """A picture in memory, told apart by a number."""

    number: int
    kind: str = "png"

    def data(self) -> bytes:
        if self.number < 0:
            raise OSError(5, "Input/output error")
        return png(self.number)


def fingerprint(number: int) -> str:
    return content_of(png(number))


class Memory:
    """A source of records that counts how many were read."""

    def __init__(self, records: Iterable[Record], root: str = "memory") -> None:
        self.left_out, self.root, self.seen = LeftOut(), root, 0
        self._records = records

    def records(self) -> Iterator[Record]:
        for record in self._records:
            self.seen += 1
            yield record

    def describe(self) -> dict[str, Any]:
        return {"kind": "memory", "root": self.root}


def picture(number: int, caption: str | None = "a car", label: str | None = None) -> Record:
    found: Picture = Bytes(number)
    return Record(str(number), found, caption, label)


def some(numbers: Iterable[int], caption: str | None = "a car", **more: Any) -> Memory:
    return Memory([picture(number, caption, **more) for number in numbers])


OUDI = Pairs(forget="x.csv", retain="y.csv", name="Oudi A1").request(
    Taxonomy.parse(["Oudi A1", "Bima X3", "St. Bernard", "pug", "tabby cat", "cat"])
)


def divide(forget: Memory, retain: Memory | None, **options: Any) -> Splits:
    return pair_splits(forget, retain, **{"request": OUDI, "limits": ALL, **options})


def numbers(splits: Splits, split: str, *, forget: bool) -> set[int]:
    (leaf,) = OUDI.forget_leaves
    return {int(s.name) for s in splits.of(split) if (s.leaf is leaf) == forget}


PETS = Taxonomy.parse(
    {
        "$templates": ["a drawing of a {}"],
        "dog": {"beagle": {"$aliases": ["sniffer dog"]}, "pug": None},
        "cat": ["tabby", "siamese"],
        "fish": {"$prompts": ["a wet fish"], "$index": 7, "$id": "n00000007", "$aliases": ["carp"]},
    },
    name="pets",
)


def ask(taxonomy: Taxonomy | None = None, **options: Any) -> Request:
    return Pairs(**{"forget": "x.csv", "retain": "y.csv", **options}).request(taxonomy)


def keys(request: Request) -> list[str]:
    return [concept.key for concept in request.taxonomy.concepts]


QUICK = {"batch_size": 16, "contrastive_batch": 16, "workers": 0}


def say(name: str) -> str:
    return f"itap of a {name}."  # OpenCLIP's first template


def table(path: Path, photos: Path, names: Iterable[str], *, words: bool = True) -> Path:
    rows = [
        {"filepath": str(file), "label": name, **({"title": say(name)} if words else {})}
        for name in names
        for file in sorted((photos / "images" / name).iterdir())
    ]
    for row in rows:
        if words:
            del row["label"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
