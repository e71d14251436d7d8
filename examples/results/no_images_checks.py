"""What texts can tell of a request without pictures, held against pictures: the two tables of
docs/no-images.md, "How far texts can tell".

    python examples/results/no_images_checks.py --data DIR

DIR is that of no_images.py, which makes the edits and embeds the pictures.

*groups*: a group at a time, and two classes of CIFAR-10 by themselves, of which one is forgotten.
Does the goal on texts accept the edit, and what is its Q-U on pictures?

*searches*: a class at a time. Of the texts of kept names that find their place, how many still do?
A place is a stand-in, as in the proof by texts, or the mean of the class's pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional

import slsgu
from slsgu.baselines.words import Words
from slsgu.evaluation.embedded import Embedded
from slsgu.evaluation.text_proof import prove_by_text
from slsgu.task.text_task import TextTask

sys.path.insert(0, str(Path(__file__).parent))
from no_images import METHODS, MOST, World
from no_images_tables import percent, table
from pages import publish

SIDES = ("text merge", "text merge, image side")
TITLES = {"cifar": "CIFAR-10", "menagerie": "the menagerie", "dogs": "the dogs"}


def worlds(data: Path, model: str) -> Iterator[tuple[str, World]]:
    """Every model, with its names and pictures."""
    where = {
        "cifar": (f"local-dir:{data / 'cifar10-clip'}", "cifar10", data / "cifar10"),
        "menagerie": (None, "menagerie", None),
        "dogs": (model, "imagenet-dogs", data / "dogs"),
    }
    for title, (name, taxonomy, folder) in where.items():
        yield title, World.read(name, taxonomy, folder, MOST.get(title))


def edited(world: World, name: str, method: str) -> tuple[TextTask, Embedded]:
    """A request by one name, and the texts before and after its edit."""
    task = world.task([name])
    tower, edit = METHODS[method]
    return task, edit(task, words=world.words[tower], tower=tower).texts


def group_row(title: str, method: str, asked: Sequence[tuple[World, str]]) -> list[str]:
    """Of some requests, those that texts accept and those that they refuse, and how good the edits
    are on pictures."""
    scores: dict[bool, list[float]] = {True: [], False: []}
    for world, name in asked:
        score = world.run([name], method)["q_u"] or 0.0
        task, texts = edited(world, name, method)
        scores[not prove_by_text(task, texts).misses()].append(score)
        click.echo(f"{title}: {name}, {method}: {score:.3f}", err=True)
    cells = []
    for values in scores.values():
        span = [percent(f(values)) if values else "–" for f in (min, mean, max)]
        cells += [str(len(values)), " / ".join(span) if values else "–"]
    return [title, method, *cells]


def pairs(world: World) -> Iterator[tuple[World, str]]:
    """Each class of a world beside each other one, as if there were no more."""
    names = [leaf.name for leaf in world.tree.leaves]
    trees = [slsgu.Taxonomy.parse(list(pair), name="two") for pair in combinations(names, 2)]
    templates = world.templates
    tasks = [
        TextTask.make(world.clip, slsgu.Request.of(tree, [leaf.name]), templates)
        for tree in trees
        for leaf in tree.leaves
    ]
    texts = {text for task in tasks for text in task.texts}
    words = {tower: Words.read(world.clip, texts, tower) for tower in ("language", "vision")}
    for task in tasks:
        tree = task.request.taxonomy
        rows = [i for i, x in enumerate(world.samples) if x.leaf and tree.search(x.leaf.name)]
        samples = [
            replace(x, leaf=tree.find(x.leaf.name)) for i in rows if (x := world.samples[i]).leaf
        ]
        small = World(world.clip, tree, templates, samples, world.images[rows])
        small.__dict__["words"] = words  # read once for all pairs
        yield small, task.request.title


def searches(world: World, name: str, method: str) -> tuple[float, float]:
    """Of the texts of kept names that find their place, the share that still does: among stand-ins,
    and among means of pictures."""
    task, texts = edited(world, name, method)
    proof = prove_by_text(task, texts)
    before, after = (functional.normalize(x, dim=1) for x in (world.images, world.moved(texts)))
    known = still = 0
    for depth in range(1, world.tree.depth + 1):
        level = world.tree.level(depth)
        own = torch.tensor(
            [level.index(world.tree.ancestor(x.leaf, depth)) for x in world.samples if x.leaf]
        )
        places = [means(side, own, len(level)) for side in (before, after)]
        for each in task.wordings:
            if each.concept in task.forgotten or each.concept.depth != depth:
                continue
            at = level.index(each.concept)
            if int((places[0] @ texts.mean(each.prompts)).argmax()) == at:
                known += 1
                still += int((places[1] @ texts.mean(each.prompts, after=True)).argmax()) == at
    return proof.kept("above", "sibling", "other name") or 0.0, still / known


def means(rows: Tensor, own: Tensor, count: int) -> Tensor:
    """The normalised mean of the rows of each class [C, d]."""
    found = [rows[own == at].mean(dim=0) for at in range(count)]
    return functional.normalize(torch.stack(found), dim=1)


def search_row(title: str, world: World, method: str) -> list[str]:
    """Every class of a world at a time."""
    shares = [searches(world, leaf.key, method) for leaf in world.tree.leaves]
    cells = [percent(f(side)) for side in zip(*shares, strict=True) for f in (mean, min)]
    return [title, method, *cells]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True
)
@click.option("--model", default="imagenet-lite0", show_default=True)
def main(data: Path, model: str) -> None:
    """Make the tables."""
    groups, found = [], []
    for world_name, world in worlds(data, model):
        title = TITLES[world_name]
        inner = [(world, x.key) for x in world.tree.concepts if not x.is_leaf]
        for method in SIDES:
            groups.append(group_row(f"groups of {title}", method, inner))
            if world_name != "dogs":
                found.append(search_row(title, world, method))
        if world_name == "cifar":
            asked = list(pairs(world))
            groups += [group_row("one of two classes of CIFAR-10", m, asked) for m in SIDES]
    q_u = "Q-U on pictures: lowest / mean / highest"
    heads = ["requests", "method", "accepted", q_u, "refused", q_u]
    places = ["stand-ins, mean", "lowest", "pictures, mean", "lowest"]
    publish(
        {
            "groups": table(heads, groups),
            "searches": table(["concepts", "method", *places], found),
        },
        None,
    )


if __name__ == "__main__":
    main()
