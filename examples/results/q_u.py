"""Q-U on the test split for many requests, the default search beside the paper's: the tables of
docs/results.md.

    python examples/results/q_u.py leaves --out leaves.json        # every leaf of the menagerie
    python examples/results/q_u.py inner  --out inner.json         # every inner node below the top
    python examples/results/q_u.py leaves --model local-dir:DIR --data DIR --taxonomy FILE

Each request is a full run, as `slsgu apply` would make it; pictures are kept in memory between
requests, which changes no number. The JSON grows request by request: started again, the script
goes on where it stopped. The table is printed as Markdown at the end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from PIL import Image

import slsgu
from slsgu.data.samples import Sample
from slsgu.data.splits import Splits
from slsgu.files import write_json
from slsgu.sources import find_taxonomy
from slsgu.taxonomy import Concept

KEYS = ("forget_fine", "forget_coarse", "retain_fine", "retain_coarse")


@dataclass(frozen=True)
class Held:
    """A sample that keeps its picture once it was read."""

    sample: Sample
    shelf: dict[str, Image.Image]

    @property
    def leaf(self) -> Concept:
        return self.sample.leaf

    @property
    def name(self) -> str:
        return self.sample.name

    @property
    def fingerprint(self) -> str:
        return self.sample.fingerprint

    def read(self) -> Image.Image:
        if self.fingerprint not in self.shelf:
            self.shelf[self.fingerprint] = self.sample.read()
        return self.shelf[self.fingerprint]


def hold(splits: Splits, shelf: dict[str, Image.Image]) -> Splits:
    held = {
        name: tuple(Held(sample, shelf) for sample in splits.of(name))
        for name in ("gradient", "search", "test")
    }
    return replace(splits, **held)


def run(
    clip: slsgu.Clip, concept: Concept, shelf: dict[str, Image.Image], **where: Any
) -> dict[str, Any]:
    plan = slsgu.make_plan(clip, [concept.key], **where)
    result = slsgu.run_plan(replace(plan, splits=hold(plan.splits, shelf)))
    measures = result.proof.measures
    return {
        "layer": result.chosen.layer,
        "success": result.success,
        "before": measures.before,
        "after": measures.after,
        "quality": measures.quality,
        "utility": measures.utility,
        "q_u": measures.q_u,
        "interval": measures.intervals.get("q_u"),
        "seconds": result.seconds["total"],
    }


def table(found: dict[str, dict[str, Any]], modes: tuple[str, ...]) -> str:
    heads = [f"{mode}: Q-U [95 %] | layer" for mode in modes]
    lines = [
        f"| concept | fine before | {' | '.join(heads)} |",
        f"|---|---|{'---|---|' * len(modes)}",
    ]
    for name, by_mode in found.items():
        cells = [name, f"{100 * by_mode[modes[0]]['before']['forget_fine']:.0f}"]
        for mode in modes:
            row = by_mode[mode]
            low, high = row["interval"] or (0, 0)
            mark = "" if row["success"] else " †"
            cells.append(f"{100 * row['q_u']:.1f}{mark} [{100 * low:.1f}, {100 * high:.1f}]")
            cells.append(f"`{row['layer']}`")
        lines.append(f"| {' | '.join(cells)} |")
    for label, pick in (("mean", lambda v: sum(v) / len(v)), ("minimum", min)):
        cells = [f"**{label}**", ""]
        for mode in modes:
            cells += [f"**{100 * pick([f[mode]['q_u'] for f in found.values()]):.1f}**", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "† the goal was not met on the search split: `apply` refuses."])


@click.command()
@click.argument("which", type=click.Choice(["leaves", "inner"]))
@click.option("--model")
@click.option("--data")
@click.option("--taxonomy")
@click.option("--search", "modes", multiple=True, default=("default", "paper"))
@click.option("--test-images", type=int, default=50, show_default=True, help="A class.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--part", default="1/1", help="2/3 runs every third request, from the second on.")
def main(
    which: str,
    model: str | None,
    data: str | None,
    taxonomy: str | None,
    modes: tuple[str, ...],
    test_images: int,
    out: Path,
    part: str,
) -> None:
    """Make one table."""
    clip = slsgu.load(model)
    tree = find_taxonomy(taxonomy, data)
    inner = [c for c in tree.concepts if not c.is_leaf and c.depth > 1]
    concepts = list(tree.leaves) if which == "leaves" else inner
    first, step = (int(number) for number in part.split("/"))
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    shelf: dict[str, Image.Image] = {}
    for concept in concepts[first - 1 :: step]:
        for mode in modes:
            if mode in found.get(concept.key, {}):
                continue
            limits = slsgu.Limits(test=test_images)
            settings = slsgu.Settings(search=mode, limits=limits, workers=0)
            row = run(clip, concept, shelf, data=data, taxonomy=tree, settings=settings)
            found.setdefault(concept.key, {})[mode] = row
            write_json(out, found)
            click.echo(f"{concept.key}: {mode}: Q-U {row['q_u']:.3f} {row['layer']}", err=True)
    click.echo(table(found, modes))


if __name__ == "__main__":
    main()
