"""Both papers' tables on photographs of dogs: the figures of docs/results-photographs.md.

    python examples/results/photographs.py --data DIR --out photographs.json
    python examples/results/photographs.py --out photographs.json --table     # print them again
    python examples/results/photographs.py --out photographs.json --table \\
        --into docs/results-photographs.md                                    # put them there

DIR holds dogs/ (`train/` and `test/`, a folder for each of the 99 breeds of `imagenet-dogs`),
dogs-web/known/ (other photographs of some of these breeds), dogs-web/unknown/ (breeds that ImageNet
does not have) and imagenet-1000/ (a folder for each class of ImageNet). All folders but the unknown
are named by wnid.

Each request is a run as `slsgu apply --layer visual.head.proj.weight` would make it. Since this
layer is the last, what comes before it is computed once for each photograph and kept. The JSON
grows request by request: started again, the script goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image

import slsgu
from slsgu.audit.points import EMBEDDING
from slsgu.audit.reference import Unknown
from slsgu.audit.run import run_audit
from slsgu.concepts.prompts import PromptBook
from slsgu.data.batches import Reading
from slsgu.data.splits.test_only import images_of
from slsgu.errors import SlsguError
from slsgu.evaluation.exam import exam_of
from slsgu.evaluation.proof import embed, evaluate
from slsgu.task.find import find_taxonomy
from slsgu.task.task import Task
from slsgu.utils.files import json_sha256, write_json

sys.path.insert(0, str(Path(__file__).parent))
from held import holding
from pages import publish
from photographs_pooled import with_pooled_features
from photographs_tables import tables

LAYER = "visual.head.proj.weight"
FOLDERS = ("dogs", "dogs-web/known", "dogs-web/unknown", "imagenet-1000")
COUNTS = (2, 5, 10, 20, 35)  # images per breed: two thirds for the gradient, the rest to search
FIGURES = {  # of every row that was not refused
    "success", "q_u", "interval", "forget", "before", "utility", "unseen", "probability", "web",
    "imagenet",
}  # fmt: skip
MODES: dict[str, dict[str, Any]] = {"default": {}, "paper": {"search": "paper"}}


@dataclass
class Bench:
    """What all requests share."""

    clip: slsgu.Clip
    tree: slsgu.Taxonomy
    data: Path
    shelf: dict[str, Image.Image]
    unknown: Unknown | None = None

    def task(self, names: Sequence[str], **settings: Any) -> tuple[slsgu.Plan, Task]:
        chosen = slsgu.Settings(layer=LAYER, force=True, workers=0, batch_size=64, **settings)
        where = {"data": self.data / "dogs", "taxonomy": self.tree, "settings": chosen}
        plan = holding(slsgu.make_plan(self.clip, names, **where), self.shelf)
        return plan, plan.task

    def run(self, names: Sequence[str], **settings: Any) -> dict[str, Any]:
        """One request: the figures of its row."""
        plan, task = self.task(names, **settings)
        also = slsgu.Also("imagenet", str(self.data / "imagenet-1000"), "imagenet", floor=0)
        outcome = slsgu.run_plan(plan, also=[also])
        assert outcome.patch is not None and outcome.trace is not None
        measures, unseen = outcome.proof.measures, outcome.measures.unseen
        row = {
            "success": outcome.success,
            "shortfall": outcome.shortfall,
            "merge": outcome.trace.chosen.merge,
            "relative_step": outcome.trace.chosen.relative_step,
            "q_u": measures.q_u,
            "interval": measures.intervals.get("q_u"),
            "forget": measures.after["forget_fine"],
            "before": measures.before["forget_fine"],
            "utility": measures.utility,
            "unseen": None if unseen is None else unseen.share,
            "probability": outcome.goal.probability(outcome.measures),
            "web": self.elsewhere(task, outcome.patch),
            "imagenet": imagenet_row(outcome.also[0]),
        }
        return {**row, **self.again(task, outcome.patch)}

    def again(self, task: Task, patch: slsgu.Patch) -> dict[str, list[float | None]]:
        """What is found again without a name: before, after, by a model that never knew, count."""
        if self.unknown is None:
            web = self.data / "dogs-web"
            self.unknown = Unknown.find(task, str(web / "unknown"), str(web / "known"))
        options: Any = {"limit": None, "seed": 0, "excluded": {}, "strict": False}
        folder = str(self.data / "dogs" / "train")
        examples = images_of(folder, task.taxonomy, task.taxonomy.leaves, **options).samples
        readings = run_audit(
            task, patch, probes=("prototypes", "linear probe"), unknown=self.unknown,
            examples=examples,
        )  # fmt: skip
        return {
            f"found: {reading.probe}, {reading.setting}": [
                reading.before, reading.after, reading.never_knew, reading.count
            ]
            for reading in readings
            if reading.before is not None
            and (reading.probe == "prototypes" or reading.setting == EMBEDDING)
        }  # fmt: skip

    def elsewhere(self, task: Task, patch: slsgu.Patch) -> dict[str, Any] | None:
        """The same patch on photographs from elsewhere, which know 26 of the breeds."""
        source = self.data / "dogs-web" / "known"
        leaves = task.taxonomy.leaves
        options: Any = {"limit": None, "seed": 0, "excluded": {}, "strict": False}
        samples = images_of(str(source), task.taxonomy, leaves, **options).samples
        if not {sample.leaf for sample in samples} & set(task.request.forget_leaves):
            return None
        reading = Reading(64, 0, False)
        proof = evaluate(
            task.clip, samples, task.taxonomy, task.templates,
            reading=reading, request=task.request, patch=patch,
        )  # fmt: skip
        measures = proof.measures
        return {
            "q_u": measures.q_u,
            "interval": measures.intervals.get("q_u"),
            "count": measures.counts["forget_fine"],
            "before": measures.before["forget_fine"],
            "forget": measures.after["forget_fine"],
        }

    def by_difficulty(self) -> dict[str, list[str]]:
        """Ten breeds each, by the mean probability of the right name on the search images: as in
        the paper, what the model is surest of is difficult to forget."""
        return by_difficulty(self.task([self.tree.leaves[0].key])[1])


def by_difficulty(task: Task) -> dict[str, list[str]]:
    """Ten classes each of a task, as `Bench.by_difficulty`."""
    means = mean_probabilities(task)
    ranked = sorted(means, key=lambda name: means[name])
    middle = len(ranked) // 2 - 5
    middling = ranked[middle : middle + 10]
    return {"difficult": ranked[-10:], "medium": middling, "easy": ranked[:10]}


def mean_probabilities(task: Task) -> dict[str, float]:
    """The mean probability of the right name among all leaves, of the search images of each."""
    samples = task.splits.search
    found = embed(task.clip, samples, patch=None, split="search", ledger=task.ledger())
    exam = exam_of(found.samples, task.taxonomy)
    book = PromptBook.of(exam.concepts, task.templates)
    classes = exam.class_embeddings(task.clip.encode_text(book.texts), book)[-1]
    scale = float(dict(task.clip.model.named_parameters())["logit_scale"].exp())
    labels = torch.from_numpy(exam.labels[:, -1])
    odds = (scale * found.before @ classes.T).softmax(dim=1).gather(1, labels[:, None])[:, 0]
    return {
        leaf.key: float(odds[labels == number].mean())
        for number, leaf in enumerate(exam.levels[-1].classes)
    }


def imagenet_row(other: Any) -> dict[str, Any]:
    """What happened to the classes of ImageNet that the request does not name."""
    row = other.fine
    right = other.proof.before.correct[:, -1].astype(float), other.proof.after.correct[:, -1]
    change = right[1] - right[0]
    error = 1.96 * change.std(ddof=1) / len(change) ** 0.5
    return {
        "before": row.before,
        "after": row.after,
        "change": [float(change.mean() - error), float(change.mean() + error)],
        "count": row.count,
    }


def requests_of(bench: Bench, sets: dict[str, list[str]]) -> Iterator[tuple[str, list[str], Any]]:
    """Every request: its name in the JSON, its concepts and its settings."""
    for mode, options in MODES.items():
        for name, leaves in sets.items():
            yield f"ten/{name}/{mode}", leaves, options
        for concept in bench.tree.level(1):
            yield f"group/{concept.key}/{mode}", [concept.key], options
        for leaf in bench.tree.leaves:
            yield f"one/{leaf.key}/{mode}", [leaf.key], options
        if mode != "default":
            continue
        for count in COUNTS:
            limits = slsgu.Limits(gradient=count - count // 3, search=max(1, count // 3))
            for name, leaves in sets.items():
                yield f"images/{count}/{name}", leaves, {"limits": limits}


def digest_of(data: Path) -> str:
    """A hash of the names and sizes of all files in the folders that are read."""
    files = (path for part in FOLDERS for path in (data / part).rglob("*") if path.is_file())
    return json_sha256(sorted([str(path.relative_to(data)), path.stat().st_size] for path in files))


def read_rows(path: Path) -> dict[str, Any]:
    """The JSON of an earlier run.

    Raises:
        click.UsageError: it is none, or a row lacks a figure.
    """
    try:
        rows = json.loads(path.read_text("utf-8"))
        whole = all(
            name in ("header", "sets") or "refused" in row or FIGURES <= row.keys()
            for name, row in rows.items()
        )
    except (OSError, ValueError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise click.UsageError(
            f"{path} is damaged, or no JSON of this script: give another --out, or remove it"
        )
    return dict(rows)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default="imagenet-lite0", show_default=True)
@click.option("--only", default="", help="Requests whose name begins like this.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("photographs.json"))
@click.option("--table", "just_table", is_flag=True, help="Print the tables of --out.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A page to put the tables into, each between its two comments, instead of printing them.",
)
def main(
    data: Path | None, model: str, only: str, out: Path, just_table: bool, into: Path | None
) -> None:
    """Make the tables."""
    if just_table and not out.exists():
        raise click.UsageError(f"{out} is not there: give the JSON of an earlier run with --out")
    rows = read_rows(out) if out.exists() else {}
    if not just_table:
        if data is None:
            raise click.UsageError("say where the photographs are: --data DIR")
        clip = slsgu.load(model, device="cpu")
        header = {
            "version": slsgu.__version__,
            "model": clip.sha256,
            "photographs": digest_of(data),
        }
        found = rows.setdefault("header", header)
        if differ := [key for key, value in header.items() if found.get(key) != value]:
            raise click.UsageError(
                f"the {' and the '.join(differ)} of {out} is another: give another --out, or "
                "remove it"
            )
        tree = find_taxonomy("imagenet-dogs", None)
        folders = [data / part for part in FOLDERS]
        bench = Bench(with_pooled_features(clip, folders), tree, data, {})
        if "sets" not in rows:
            rows["sets"] = bench.by_difficulty()
        for name, concepts, settings in requests_of(bench, rows["sets"]):
            if name in rows or not name.startswith(only):
                continue
            try:
                rows[name] = bench.run(concepts, **settings)
            except SlsguError as error:  # a request that is refused is a row, too
                rows[name] = {"refused": str(error)}
            write_json(out, rows)
            click.echo(f"{name}: {rows[name].get('refused') or rows[name]['q_u']}", err=True)
    publish(tables(rows), into)


if __name__ == "__main__":
    main()
