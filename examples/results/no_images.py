"""Requests without pictures, measured on pictures: the figures of docs/no-images.md.

    python examples/results/no_images.py --data DIR --out no-images.json
    python examples/results/no_images.py --out no-images.json --table --into docs/no-images.md

DIR holds dogs/ (`train/` and `test/`, a folder for each of the 99 breeds of `imagenet-dogs`, named
by wnid), cifar10/ (`test/`, a folder for each class) and cifar10-clip/ (an OpenCLIP local-dir).

Each request is the edit that `slsgu apply --no-images` makes, and CCUP beside it. No picture is
used by the edit. All pictures are embedded once; since the edited layer is the last, each edit is
then measured on what was kept. The JSON grows request by request: started again, the script goes
on where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn import functional

import slsgu
from slsgu.baselines.ccup import project_texts_out
from slsgu.baselines.text_merge import merge_texts
from slsgu.baselines.words import TextEdit, Words
from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept
from slsgu.concepts.wordings import forgotten_words, mentions
from slsgu.data.batches import Reading, stream
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.evaluation.embedded import Embedded
from slsgu.evaluation.exam import exam_of
from slsgu.task.find import find_images
from slsgu.task.text_task import TextTask
from slsgu.utils.files import write_json

sys.path.insert(0, str(Path(__file__).parent))
from no_images_tables import tables
from pages import publish
from photographs import by_difficulty

METHODS: dict[str, tuple[slsgu.models.layers.Tower, Callable[..., TextEdit]]] = {
    "text merge": ("language", merge_texts),
    "text merge, image side": ("vision", merge_texts),
    "CCUP": ("vision", project_texts_out),
}
MOST = {"menagerie": 20}  # pictures of each class, where there is no end of them
USUAL = "a photo of a {}"


@dataclass(frozen=True, eq=False)
class World:
    """A model, its names and its pictures, read once.

    Attributes:
        samples: the pictures that measure.
        images: their embeddings, not normalised, fp64 [N, d].
    """

    clip: slsgu.Clip
    tree: slsgu.Taxonomy
    templates: tuple[str, ...]
    samples: Sequence[Sample]
    images: Tensor

    @classmethod
    def read(cls, model: str | None, taxonomy: str, data: Path | None, most: int | None) -> World:
        """Load a model and embed the pictures of a data set."""
        clip = slsgu.load(model, device="cpu")
        tree = slsgu.Taxonomy.load(taxonomy)
        templates = slsgu.concepts.templates.load_templates(None, tree)
        settings = slsgu.DataSettings(limits=slsgu.Limits(test=most))
        folder = None if data is None else str(data)
        samples = find_images(clip, folder, tree, settings).samples
        rows = []
        with torch.no_grad():
            for batch in stream(
                samples, clip.preprocess, split="test", ledger=Ledger(),
                reading=Reading(32, 0, False),
            ):  # fmt: skip
                rows.append(clip.image_features(batch.pixels).double())
        return cls(clip, tree, templates, samples, torch.cat(rows))

    def task(self, names: Sequence[str]) -> TextTask:
        return TextTask.make(self.clip, Request.of(self.tree, names), self.templates)

    @cached_property
    def words(self) -> dict[str, Words]:
        """Every text of every request, read once for each side."""
        tasks = [self.task([concept.key]) for concept in self.tree.concepts]
        texts = {text for task in tasks for text in task.texts}
        return {tower: Words.read(self.clip, texts, tower) for tower in ("language", "vision")}

    def run(self, names: Sequence[str], method: str) -> dict[str, Any]:
        """One request: the figures of its row."""
        task = self.task(names)
        tower, edit = METHODS[method]
        found = edit(task, words=self.words[tower], **({"tower": tower}))
        exam = exam_of(self.samples, self.tree, task.request)
        book = PromptBook.of(exam.concepts, self.templates)
        texts = found.texts
        rows = [texts.places[text] for text in book.texts]
        images = self.moved(texts)
        before = exam.answer(self.images, exam.class_embeddings(texts.before[rows], book))
        after = exam.answer(images, exam.class_embeddings(texts.after[rows], book))
        measures = exam.measure(before, after)
        return {
            "q_u": measures.q_u,
            "quality": measures.quality,
            "utility": measures.utility,
            "kept": measures.kept_ratios,
            "found": self.found(self.images, images, task.request),
        }

    def moved(self, texts: Embedded) -> Tensor:
        """The embeddings of the pictures as an edited model gives them [N, d]."""
        if texts.images is None:
            return self.images
        bias = self.words["vision"].projection.bias  # the weight moves, the bias does not
        read = self.images if bias is None else self.images - bias
        return self.images + read @ texts.images.T

    def found(self, before: Tensor, after: Tensor, request: Request) -> list[float]:
        """How often the mean of five pictures of each class finds the other pictures of what is to
        be forgotten, before and after."""
        leaves = [sample.leaf for sample in self.samples]
        places = {leaf: [i for i, x in enumerate(leaves) if x is leaf] for leaf in set(leaves)}
        known = [leaf for leaf in places if leaf is not None and len(places[leaf]) > 5]
        shares = []
        for rows in (functional.normalize(before, dim=1), functional.normalize(after, dim=1)):
            means = torch.stack([rows[places[leaf][:5]].mean(dim=0) for leaf in known])
            right = total = 0
            for leaf in request.forget_leaves:
                asked = rows[places[leaf][5:]]
                closest = (asked @ functional.normalize(means, dim=1).T).argmax(dim=1)
                right += int((closest == known.index(leaf)).sum())
                total += len(asked)
            shares.append(right / total)
        return shares


@dataclass(frozen=True, eq=False)
class ImageNetNames:
    """The 1000 names of ImageNet, each asked with its own aliases and templates."""

    leaves: tuple[Concept, ...]
    queries: list[tuple[str, int]]
    words: Words

    @classmethod
    def read(cls, world: World) -> ImageNetNames:
        leaves = slsgu.Taxonomy.load("imagenet").leaves
        queries = [
            (text, at)
            for at, leaf in enumerate(leaves)
            for text in (
                *(form.replace("{}", leaf.name) for form in world.templates),
                *(USUAL.replace("{}", alias) for alias in leaf.aliases),
            )
        ]
        texts = {text for text, _ in queries}
        return cls(leaves, queries, Words.read(world.clip, texts, "language"))

    def kept(self, world: World, names: Sequence[str]) -> dict[str, Any]:
        """Of the texts that find their class first, the share that still does after a text merge,
        and the most ranks that one loses. Names that mention what is forgotten are not asked."""
        task = world.task(names)
        edit = merge_texts(task, words=world.words["language"]).edit
        (layer,) = edit.patch.layers
        change = edit.patch.delta[layer].double()  # as stored, [i, d]
        rows = self.words.embeddings
        assert self.words.features is not None
        after = functional.normalize(rows + self.words.features @ change, dim=1)
        own = torch.tensor([at for _, at in self.queries])
        places = torch.tensor([self.words.places[text] for text, _ in self.queries])
        gallery = functional.normalize(
            torch.stack([rows[places[own == at]].mean(dim=0) for at in range(len(self.leaves))]),
            dim=1,
        )
        gone = mentions([text for text, _ in self.queries], forgotten_words(task.request))
        asked = torch.tensor([text not in gone for text, _ in self.queries])
        ranks = []
        for texts in (rows[places], after[places]):
            scores = texts @ gallery.T
            ranks.append((scores > scores.gather(1, own[:, None])).sum(dim=1))
        first = asked & (ranks[0] == 0)
        return {
            "kept": float((ranks[1][first] == 0).double().mean()),
            "worst": int((ranks[1] - ranks[0])[asked].max()),
            "asked": int(asked.sum()),
        }


def sets_of(world: World, data: Path) -> dict[str, list[str]]:
    """Ten breeds each, as in photographs.py: what the model is surest of is difficult."""
    task = slsgu.make_task(
        world.clip, [world.tree.leaves[0].key], data=data, taxonomy=world.tree,
        machine=slsgu.MachineSettings(workers=0),
    )  # fmt: skip
    return by_difficulty(task)


def requests_of(world: World, sets: dict[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    """Every request on a world: its name in the JSON, and its concepts."""
    for name, leaves in sets.items():
        yield f"ten/{name}", leaves
    for leaf in world.tree.leaves:
        yield f"one/{leaf.key}", [leaf.key]


def make_rows(rows: dict[str, Any], data: Path, model: str, out: Path) -> None:
    """Make all rows that are missing."""
    worlds: dict[str, tuple[str | None, str, Path | None]] = {
        "cifar": (f"local-dir:{data / 'cifar10-clip'}", "cifar10", data / "cifar10"),
        "menagerie": (None, "menagerie", None),
        "dogs": (model, "imagenet-dogs", data / "dogs"),
    }
    for title, where in worlds.items():
        world = World.read(*where, MOST.get(title))
        sets: dict[str, list[str]] = {}
        if title == "dogs":
            sets = rows.setdefault("sets", None) or sets_of(world, data / "dogs")
            rows["sets"] = sets
        names = ImageNetNames.read(world) if title == "dogs" else None
        for name, leaves in requests_of(world, sets):
            for method in METHODS:
                if (key := f"{title}/{name}/{method}") not in rows:
                    rows[key] = world.run(leaves, method)
            if names is not None and (key := f"names/{name}") not in rows:
                rows[key] = names.kept(world, leaves)
            write_json(out, rows)
            click.echo(f"{title}/{name}: {rows[f'{title}/{name}/text merge']['q_u']}", err=True)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default="imagenet-lite0", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("no-images.json"))
@click.option("--table", "just_table", is_flag=True, help="Print the tables of --out.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A page to put the tables into, each between its two comments, instead of printing them.",
)
def main(data: Path | None, model: str, out: Path, just_table: bool, into: Path | None) -> None:
    """Make the tables."""
    if just_table and not out.exists():
        raise click.UsageError(f"{out} is not there: give the JSON of an earlier run with --out")
    rows: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.exists() else {}
    if not just_table:
        if data is None:
            raise click.UsageError("say where the photographs are: --data DIR")
        header = {"version": slsgu.__version__, "model": model}
        if rows.setdefault("header", header) != header:
            raise click.UsageError(f"{out} was made with another version or model: remove it")
        make_rows(rows, data, model, out)
    publish(tables(rows), into)


if __name__ == "__main__":
    main()
