"""What edits for a larger system move of what it reads: the table of docs/interop.md.

    python examples/results/moved.py --out moved.json
    python examples/results/moved.py --model local-dir:DIR --data DIR --taxonomy FILE \\
        --out photos.json
    python examples/results/moved.py --out moved.json --table

Each request is a run as `slsgu apply --for sd1` or `--for llava` would make it, of leaves in an
order that was drawn once. The JSON grows request by request: started again, the script goes on
where it stopped.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from PIL import Image

import slsgu
from slsgu.errors import SlsguError
from slsgu.task.find import find_taxonomy
from slsgu.utils.files import write_json

sys.path.insert(0, str(Path(__file__).parent))
from held import holding
from photographs_rows import percent, table

SYSTEMS = ("sd1", "llava")
SEED = 0  # of the order of the concepts


def row_of(plan: slsgu.Plan) -> dict[str, Any]:
    """One request: whether its goal was met, and what it moves on what the search has not seen."""
    outcome = slsgu.run_plan(plan)
    moved, trace = outcome.moved, outcome.trace
    assert moved is not None and moved.concept is not None and moved.kept is not None
    assert trace is not None
    return {
        "success": outcome.success,
        "shortfall": outcome.shortfall,
        "layer": trace.chosen.layer,
        "concept": moved.concept.mean,
        "kept": moved.kept.mean,
        "q_u": outcome.proof.measures.q_u,
    }


def shown(rows: dict[str, Any]) -> str:
    """A line for each system."""
    lines = []
    for system in SYSTEMS:
        done = [row for key, row in rows.items() if key.startswith(f"{system}/")]
        found = [row for row in done if row.get("success")]
        if done:
            ends = [_range(found, key) for key in ("concept", "kept", "q_u")]
            lines.append([f"`--for {system}`", f"{len(found)} of {len(done)}", *ends])
    heads = [
        "", "both limits hold", "the concept moves: mean [least, most]",
        "everything else moves: mean [least, most]", "Q-U: mean [least, most]",
    ]  # fmt: skip
    missed = [
        f"* {key}: {row.get('refused') or row['shortfall']}"
        for key, row in rows.items()
        if "/" in key and not row.get("success")
    ]
    return "\n".join([table(heads, lines), "", *missed])


def _range(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows]
    if not values:
        return "–"
    return f"{percent(sum(values) / len(values))} [{percent(min(values))}, {percent(max(values))}]"


@click.command()
@click.option("--model")
@click.option("--data")
@click.option("--taxonomy")
@click.option("--count", type=int, default=10, show_default=True, help="Concepts for each system.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("moved.json"))
@click.option("--table", "just_table", is_flag=True, help="Print the table of --out.")
def main(
    model: str | None,
    data: str | None,
    taxonomy: str | None,
    count: int,
    out: Path,
    just_table: bool,
) -> None:
    """Make the table."""
    rows: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.exists() else {}
    if not just_table:
        clip = slsgu.load(model, device="cpu")
        header = {"version": slsgu.__version__, "model": clip.sha256}
        if rows.setdefault("header", header) != header:
            raise click.UsageError(f"{out} was made with another version or model: remove it")
        tree = find_taxonomy(taxonomy, data)
        keys = sorted(leaf.key for leaf in tree.leaves)
        random.Random(SEED).shuffle(keys)
        shelf: dict[str, Image.Image] = {}
        for system in SYSTEMS:
            for concept in keys[:count]:
                if (key := f"{system}/{concept}") in rows:
                    continue
                settings = slsgu.Settings(system=system, force=True, workers=0)
                try:
                    plan = slsgu.make_plan(
                        clip, [concept], data=data, taxonomy=tree, settings=settings
                    )
                    rows[key] = row_of(holding(plan, shelf))
                except SlsguError as error:  # a request that is refused is a row, too
                    rows[key] = {"refused": str(error)}
                write_json(out, rows)
                click.echo(f"{key}: {rows[key]}", err=True)
    click.echo(shown(rows))


if __name__ == "__main__":
    main()
