"""How far the interpolated curve of a layer is to be trusted: against 40 true evaluations.

    python examples/results/curves.py "golden retriever" --out menagerie.json
    python examples/results/curves.py dog --model local-dir:DIR --data DIR --taxonomy FILE
    python examples/results/curves.py "golden retriever" --model imagenet-lite0 --data DIR \\
        --taxonomy imagenet-dogs --searched --kept 100 --out dogs.json

Each layer that can be edited (with --searched: each that `apply --thorough` searches) is moved
along its direction up to the step at which its target is reached. Its curve is interpolated as the
search does it, and asked at 40 steps evenly up to there; so is the model. At each it is counted
how many images get another answer, at any level. The JSON grows layer by layer: started again, the
script goes on where it stopped, if version, model, images and settings are the same. The table is
printed as Markdown.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import click
import numpy as np

import slsgu
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.compute import compute_gradients
from slsgu.models.layers import Layer, inventory
from slsgu.search.candidates import pick_candidates
from slsgu.search.curvature import kept_fisher
from slsgu.search.curve import Known, find_reach, trace
from slsgu.search.goal import Goal
from slsgu.search.layer import concept_images
from slsgu.search.pareto import rank_layers
from slsgu.search.ray import Ray
from slsgu.utils.files import write_json
from slsgu.utils.statistics import wilson

POINTS = 40


def row_of(plan: slsgu.Plan, images: SearchSet, ray: Ray) -> dict[str, Any]:
    """One layer: its curve, and how many images differ from it at each of the points."""
    goal, trials = Goal.of(plan.settings), plan.settings.trials
    images.replay.prepare(ray.layer)
    concept = concept_images(images, ray)
    if not ray.moves or not ray.rises(concept, None):
        return {"layer": ray.layer.name, "why": "no direction"}
    known = Known(images, ray)
    alone = known if concept is images else Known(concept, ray)
    reach = find_reach(alone, goal, trials, bisect=alone is not known)
    row = {"layer": ray.layer.name, "tower": ray.layer.tower, "reach": ray.relative(reach)}
    traced = trace(known, reach)
    if traced is None:
        return {**row, "why": "does not interpolate", "evaluations": len(known.steps) - 1}
    tower, differ = ray.layer.tower, []
    for step in reach * np.arange(1, POINTS + 1) / POINTS:
        true = images.answers(tower, known.at(float(step)))
        told = images.answers(tower, traced.path.at(float(step)))
        differ.append(int((true.predicted != told.predicted).any(axis=1).sum()))
    return {
        **row,
        "block": ray.layer.block,
        "evaluations": len(traced.path.steps) - 1,
        "checked": traced.differs,
        "images": traced.images,
        "stated": wilson(traced.differs, traced.images)[1],
        "differ": differ,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, and what holds over all layers."""
    heads = (
        "layer", "length of the change", "evaluations", "differ at the check", "stated error",
        "points within", "median", "most",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        name = f"`{row['layer']}`"
        if "differ" not in row:
            spent = row.get("evaluations", "-")
            lines.append(f"| {name} | {row.get('reach', 0):.2f} | {spent} | {row['why']} | | | | |")
            continue
        cells = (
            name, f"{row['reach']:.2f}", str(row["evaluations"]),
            f"{row['checked']} of {row['images']}", f"{row['stated']:.1%}",
            f"{within(row).mean():.0%}", f"{np.median(row['differ']):g}", str(max(row["differ"])),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    done = [row for row in rows if "differ" in row]
    if done:
        points = np.concatenate([within(row) for row in done])
        differ = np.concatenate([row["differ"] for row in done])
        lines.append(
            f"\n{len(done)} of {len(rows)} layers interpolate. Of their {len(points)} points "
            f"{points.mean():.1%} are within the stated error; the median of images that differ is "
            f"{np.median(differ):g}, the most {differ.max()}."
        )
    return "\n".join(lines)


def within(row: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """At which points the stated error holds."""
    return np.array(row["differ"]) <= row["stated"] * row["images"]


def chosen_layers(plan: slsgu.Plan, gradients: slsgu.Gradients, *, searched: bool) -> list[Layer]:
    """Shallow to deep, tower by tower; without last projections, which are exact."""
    if searched:
        picked = pick_candidates(plan, rank_layers(gradients, norms=False))
        layers = [layer for layer, _ in picked]
    else:
        layers = [layer for layer in inventory(plan.task.clip.model) if layer.kind == "matrix"]
    inner = [x for x in layers if not (x.last and x.tower == "vision")]
    return sorted(inner, key=lambda x: (x.tower == "language", x.block or (99 if x.last else 0)))


@click.command()
@click.argument("concept")
@click.option("--model")
@click.option("--data")
@click.option("--taxonomy")
@click.option("--searched", is_flag=True, help="Only layers that a thorough search tries.")
@click.option("--kept", default=150, show_default=True, help="Search images of what is kept.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("curves.json"))
def main(
    concept: str,
    model: str | None,
    data: str | None,
    taxonomy: str | None,
    searched: bool,
    kept: int,
    out: Path,
) -> None:
    """Make one table."""
    clip = slsgu.load(model)
    settings = slsgu.Settings(workers=0, thorough=True, limits=slsgu.Limits(retain_search=kept))
    plan = slsgu.make_plan(clip, [concept], data=data, taxonomy=taxonomy, settings=settings)
    header = {
        "version": slsgu.__version__,
        "model": clip.sha256,
        "images": plan.task.splits.sha256,
        "settings": settings.to_json(),
    }
    header = json.loads(json.dumps(header))
    value: dict[str, Any] = {"header": header, "rows": []}
    if out.exists():
        value = json.loads(out.read_text(encoding="utf-8"))
        if value["header"] != header:
            raise click.UsageError(f"{out} was made otherwise: give another --out, or remove it")
    ledger = plan.task.ledger()
    gradients = compute_gradients(plan, ledger)
    images = SearchSet.read(plan, ledger)
    done = {row["layer"] for row in value["rows"]}
    layers = chosen_layers(plan, gradients, searched=searched)
    for _, group in itertools.groupby(layers, key=lambda layer: layer.tower):
        members = list(group)
        images.replay.prepare(members[0])
        fishers = kept_fisher(images, members, seed=plan.task.seed)
        for layer in members:
            if layer.name in done:
                continue
            ray = Ray.of(plan, layer, gradients, fishers.get(layer.name))
            value["rows"].append(row_of(plan, images, ray))
            write_json(out, value)
            click.echo(f"{layer.name}: {value['rows'][-1].get('why', 'done')}", err=True)
    click.echo(table(value["rows"]))


if __name__ == "__main__":
    main()
