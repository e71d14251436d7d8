"""Several concepts in one model: the figures of docs/results-together.md.

    python examples/results/together.py --data DIR --out together.json
    python examples/results/together.py --out together.json --table \\
        --into docs/results-together.md --figure docs/images/together.png

The first N concepts, in an order that was drawn once, are forgotten in each of these ways, and then
all N are asked for:

    at once       one edit of all, on one layer, from the gradients of all
    added         a patch each, made from the original model, on the layer that each chooses; where
                  two choose the same layer, their changes are added
    own layers    the same, but each on its best layer that no earlier patch has taken
    in order      a patch each, made from the model as the patches before have changed it

The concepts are drawings of the embedded model, and, with --data, breeds of dogs; DIR is what
photographs.py takes, and there every patch is on the last projection of the image side. The JSON
grows row by row: started again, the script goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

import slsgu
from slsgu.data.batches import Reading
from slsgu.evaluation.proof import evaluate
from slsgu.patch.patch import Patch
from slsgu.task.find import find_taxonomy
from slsgu.utils.files import write_json

sys.path.insert(0, str(Path(__file__).parent))
from held import holding
from pages import publish
from photographs import LAYER
from photographs_pooled import with_pooled_features
from together_tables import draw, tables

SEED = 0  # of the order of the concepts
NUMBERS = {"drawings": (1, 2, 3, 4, 5), "dogs": (1, 2, 3, 4, 5, 10, 20, 30)}


@dataclass
class World:
    """A model, its images, and the concepts in the order in which they are asked for.

    Attributes:
        layer: that every patch is made on; None where each chooses.
        shelf: pictures that were read.
    """

    clip: slsgu.Clip
    tree: slsgu.Taxonomy
    data: Path | None
    layer: str | None
    shelf: dict[str, Image.Image] = field(default_factory=dict)

    @classmethod
    def drawings(cls) -> World:
        return cls(slsgu.load(device="cpu"), find_taxonomy(None, None), None, None)

    @classmethod
    def dogs(cls, data: Path) -> World:
        clip = with_pooled_features(slsgu.load("imagenet-lite0", device="cpu"), [data / "dogs"])
        return cls(clip, find_taxonomy("imagenet-dogs", None), data / "dogs", LAYER)

    @property
    def concepts(self) -> list[str]:
        keys = sorted(leaf.key for leaf in self.tree.leaves)
        random.Random(SEED).shuffle(keys)
        return keys

    def plan(self, names: Sequence[str], **settings: Any) -> slsgu.Plan:
        chosen = slsgu.Settings(**{"layer": self.layer, "force": True, "workers": 0, **settings})
        where = {"data": self.data, "taxonomy": self.tree, "settings": chosen}
        plan = slsgu.make_plan(self.clip, names, **where)
        return holding(plan, self.shelf)

    def forget(self, names: Sequence[str], **settings: Any) -> Patch:
        patch = slsgu.run_plan(self.plan(names, **settings)).patch
        assert patch is not None  # with force there is one
        return patch

    def measure(self, names: Sequence[str], patch: Patch) -> dict[str, Any]:
        """What a patch does to concepts together, and to each of them."""
        task = self.plan(names).task
        proof = evaluate(
            task.clip, task.splits.test, task.taxonomy, task.templates,
            reading=Reading(64, 0, False), request=task.request, patch=patch,
        )  # fmt: skip
        measures, right = proof.measures, proof.after.correct[:, -1].astype(float)
        leaves = np.array([leaf.key for leaf in proof.exam.leaves])
        found = measures.found
        return {
            "q_u": measures.q_u,
            "interval": measures.intervals.get("q_u"),
            "utility": measures.utility,
            "left": {name: float(right[leaves == name].mean()) for name in names},
            "found": None if found is None else [found.before, found.after],
            "layers": list(patch.layers),
        }


# -- the ways -----------------------------------------------------------------------------------


def at_once(world: World, made: list[Patch], number: int) -> Patch:
    """One edit of all."""
    return world.forget(world.concepts[:number])


def added(world: World, made: list[Patch], number: int) -> Patch:
    """A patch each, made from the original model."""
    for name in world.concepts[len(made) : number]:
        made.append(world.forget([name]))
    return sum(made[1:], made[0])


def own_layers(world: World, made: list[Patch], number: int) -> Patch:
    """A patch each, on the best layer that is not taken."""
    for name in world.concepts[len(made) : number]:
        taken = {layer for patch in made for layer in patch.layers}
        trace = slsgu.run_plan(world.plan([name], thorough=True)).trace
        assert trace is not None
        best = {
            candidate.score.layer: trial
            for candidate in trace.candidates
            if candidate.score.layer not in taken and (trial := trace.best(candidate)) is not None
        }
        layer = max(
            best,
            key=lambda layer: (
                trace.goal.holds(best[layer].measures),
                best[layer].measures.q_u or 0,
            ),
        )
        made.append(world.forget([name], layer=layer))
    return sum(made[1:], made[0])


def in_order(world: World, made: list[Patch], number: int) -> Patch:
    """A patch each, made from the model as those before have changed it; their sum."""
    with contextlib.ExitStack() as changed:
        for patch in made:
            changed.enter_context(patch.applied(world.clip.model))
        for name in world.concepts[len(made) : number]:
            made.append(world.forget([name]))
            changed.enter_context(made[-1].applied(world.clip.model))
    delta, original = {}, {}
    for patch in made:
        for layer, change in patch.delta.items():
            delta[layer] = delta[layer] + change if layer in delta else change
            original.setdefault(layer, patch.original[layer])
    return Patch(delta, original)


WAYS: dict[str, Callable[[World, list[Patch], int], Patch]] = {
    "at once": at_once,
    "added": added,
    "own layers": own_layers,
    "in order": in_order,
}


def make_rows(rows: dict[str, Any], name: str, world: World, out: Path) -> None:
    """All rows of a world that are not there yet."""
    for way, patch_of in WAYS.items():
        if way == "own layers" and world.layer is not None:
            continue
        made: list[Patch] = []
        for number in NUMBERS[name]:
            key = f"{name}/{way}/{number}"
            if key not in rows:
                patch = patch_of(world, made, number)
                rows[key] = world.measure(world.concepts[:number], patch)
                write_json(out, rows)
                click.echo(f"{key}: {rows[key]['q_u']}", err=True)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), default=Path("together.json"))
@click.option("--table", "just_table", is_flag=True, help="Print the tables of --out.")
@click.option("--into", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False))
def main(
    data: Path | None, out: Path, just_table: bool, into: Path | None, figure: Path | None
) -> None:
    """Make the tables."""
    rows: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.exists() else {}
    if rows.setdefault("version", slsgu.__version__) != slsgu.__version__:
        raise click.UsageError(f"{out} was made with another version: remove it")
    if not just_table:
        make_rows(rows, "drawings", World.drawings(), out)
        if data is not None:
            make_rows(rows, "dogs", World.dogs(data), out)
    publish(tables(rows), into)
    if figure is not None:
        draw(rows, figure)


if __name__ == "__main__":
    main()
