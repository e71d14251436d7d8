"""Every method on every data set, side by side: the tables of docs/compare.md.

    python examples/results/side_by_side.py methods --data DIR -- --quick
    python examples/results/side_by_side.py methods --table --into docs/compare.md

Each request is one `slsgu compare` in a folder of the first argument; what stands behind -- goes to
each. DIR holds what photographs.py takes, and cifar10/ (class folders), cifar10.yaml and
cifar10-clip/ (a model). Without it, there are only the drawings. Started again, the script goes on
where it stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import slsgu
from slsgu.utils.files import write_json

sys.path.insert(0, str(Path(__file__).parent))
from pages import publish
from photographs import by_difficulty
from side_by_side_tables import tables

DRAWINGS = ("golden retriever", "siamese cat", "blue jay", "taxi", "sunflower", "banana")
INNER = ("bird", "car")
CIFAR = ("airplane", "cat", "truck")
DOG = "golden retriever"
SETS = ("difficult", "medium", "easy")  # ten breeds each, at once


@dataclass(frozen=True)
class Request:
    """One comparison.

    Attributes:
        kind: the column of the tables that it belongs to.
        name: of its folder.
        concepts: what is to be forgotten, at once.
        options: of `slsgu compare`, where it runs.
    """

    kind: str
    name: str
    concepts: Sequence[str]
    options: Sequence[str] = ()

    def run(self, folder: Path, more: Sequence[str]) -> None:
        """Carry it out, or go on with it.

        Raises:
            click.ClickException: it ended in an error.
        """
        named = [word for concept in self.concepts for word in ("--concept", concept)]
        out = ["--out", str(folder / self.name)]
        words = ["compare", *named, *self.options, *more, *out]
        click.echo(f"== {self.name}", err=True)
        ended = subprocess.run([sys.executable, "-m", "slsgu", *words], check=False)
        if ended.returncode:
            raise click.ClickException(f"slsgu {' '.join(words)} ended with {ended.returncode}")


def requests_of(data: Path | None, sets: Mapping[str, Sequence[str]]) -> Iterator[Request]:
    """All comparisons."""
    for name in DRAWINGS:
        yield Request("leaves", f"drawings-{name}", [name])
    for name in INNER:
        yield Request("inner", f"drawings-{name}", [name])
    if data is None:
        return
    cifar = [
        "--model", f"local-dir:{data / 'cifar10-clip'}", "--data", str(data / "cifar10"),
        "--taxonomy", str(data / "cifar10.yaml"),
    ]  # fmt: skip
    for name in CIFAR:
        yield Request("cifar", f"cifar-{name}", [name], cifar)
    dogs = [
        "--model", "imagenet-lite0", "--data", str(data / "dogs"), "--taxonomy", "imagenet-dogs",
        "--unknown", str(data / "dogs-web/unknown"), "--known", str(data / "dogs-web/known"),
    ]  # fmt: skip
    yield Request("dog", f"dogs-{DOG}", [DOG], dogs)
    for name, breeds in sets.items():
        yield Request(name, f"dogs-{name}", breeds, dogs)


def sets_of(data: Path, path: Path) -> dict[str, list[str]]:
    """Ten breeds each, found once, as photographs.py finds them."""
    if not path.exists():
        clip = slsgu.load("imagenet-lite0", device="cpu")
        plan = slsgu.make_plan(clip, [DOG], data=data / "dogs", taxonomy="imagenet-dogs")
        write_json(path, by_difficulty(plan.task))
    found = json.loads(path.read_text("utf-8"))
    return {name: found[name] for name in SETS}


def results_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the comparisons that are done came to, by kind."""
    found: dict[str, list[dict[str, Any]]] = {}
    for request in requests_of(Path(), dict.fromkeys(SETS, ())):
        path = folder / request.name / "compare.json"
        if path.exists():
            found.setdefault(request.kind, []).append(json.loads(path.read_text("utf-8")))
    return found


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--only", default="", help="Requests whose folder begins like this.")
@click.option("--table", "just_table", is_flag=True, help="Print the tables of what is there.")
@click.option("--into", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(
    folder: Path,
    options: tuple[str, ...],
    data: Path | None,
    only: str,
    just_table: bool,
    into: Path | None,
) -> None:
    """Make the tables."""
    if not just_table:
        folder.mkdir(parents=True, exist_ok=True)
        sets = {} if data is None else sets_of(data, folder / "sets.json")
        for request in requests_of(data, sets):
            if request.name.startswith(only):
                request.run(folder, options)
    results = results_of(folder)
    if not results:
        raise click.UsageError(f"{folder} holds no comparison: run the script without --table")
    publish(tables(results), into)


if __name__ == "__main__":
    main()
