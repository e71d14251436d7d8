"""Q-U on the test split for many requests, one column of the table a mode: the tables of
docs/results.md.

    python examples/results/q_u.py leaves --out leaves.json        # every leaf of the menagerie
    python examples/results/q_u.py inner  --out inner.json         # every inner node below the top
    python examples/results/q_u.py leaves --model local-dir:DIR --data DIR --taxonomy FILE

Each request is a full run, as `slsgu apply` would make it; pictures are kept in memory between
requests, which changes no number. The JSON grows request by request: started again, the script
goes on where it stopped, if version, model, taxonomy, pictures and settings are the same; another
mode is added. The table is printed as Markdown at the end; `--table` prints that of JSON files that
are there, whole or in parts that fit together (`--part 1/2`, each with an --out of its own).
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from PIL import Image

import slsgu
from slsgu.concepts.taxonomy import Concept
from slsgu.task.find import find_splits, find_taxonomy
from slsgu.utils.files import json_sha256, write_json

sys.path.insert(0, str(Path(__file__).parent))  # for who imports this file from elsewhere
from held import holding
from tried import TRIED

# What is compared, by name: settings that differ from the defaults.
MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"search": "paper"},
    "language": {"tower": "language"},
    "few": {"limits": {"gradient": 10, "search": 10, "retain_gradient": None}},
    "cosine": {"forget_loss": "cosine"},
    "gradient": {"direction": "gradient"},
    "cosine-gradient": {"forget_loss": "cosine", "direction": "gradient"},
    # The retain gradient decides which layers are candidates: all of them are searched here.
    "thorough": {"thorough": True},
    "signed": {"thorough": True},  # in a context of tried.py
    "thorough-photo": {"thorough": True, "templates": "photo"},
    "cross-entropy": {"thorough": True, "templates": "photo"},  # likewise
    "every-step": {"thorough": True},  # likewise: as the search was before it interpolated
}


def run(
    clip: slsgu.Clip, concept: Concept, shelf: dict[str, Image.Image], **where: Any
) -> dict[str, Any]:
    result = slsgu.run_plan(holding(slsgu.make_plan(clip, [concept.key], **where), shelf))
    measures, found = result.proof.measures, result.proof.measures.found
    return {
        "layer": result.trace.chosen.layer,
        "success": result.success,
        "before": measures.before,
        "after": measures.after,
        "quality": measures.quality,
        "utility": measures.utility,
        "q_u": measures.q_u,
        "interval": measures.intervals.get("q_u"),
        "found": None if found is None else [found.before, found.after, found.error],
        "seconds": result.seconds["total"],
    }


def table(found: dict[str, dict[str, Any]], modes: tuple[str, ...]) -> str:
    heads = [f"{mode}: Q-U [95 %] | layer | found by five images" for mode in modes]
    lines = [
        f"| concept | fine before | {' | '.join(heads)} |",
        f"|---|---|{'---|---|---|' * len(modes)}",
    ]
    for name, by_mode in found.items():
        cells = [name, f"{100 * by_mode[modes[0]]['before']['forget_fine']:.0f}"]
        for mode in modes:
            row = by_mode[mode]
            low, high = row["interval"] or (0, 0)
            mark = "" if row["success"] else " †"
            cells.append(f"{100 * row['q_u']:.1f}{mark} [{100 * low:.1f}, {100 * high:.1f}]")
            cells += [f"`{row['layer']}`", found_again(row)]
        lines.append(f"| {' | '.join(cells)} |")
    for label, pick in (("mean", lambda v: sum(v) / len(v)), ("minimum", min)):
        cells = [f"**{label}**", ""]
        for mode in modes:
            cells += [f"**{100 * pick([f[mode]['q_u'] for f in found.values()]):.1f}**", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    notes = ["", "† the goal was not met on the search images: `apply` refuses."]
    if any("‡" in line for line in lines):
        notes[1] += " ‡ found more often than before, beyond the 95 % interval of the change."
    if {"default", "paper"} <= set(modes):
        gaps = [f["default"]["q_u"] - f["paper"]["q_u"] for f in found.values()]
        better, equal = sum(gap > 5e-4 for gap in gaps), sum(abs(gap) <= 5e-4 for gap in gaps)
        notes.append(
            f"\nDefault against paper: higher on {better} of {len(gaps)}, equal to a tenth of a "
            f"percent on {equal}; the largest loss is {100 * max(0.0, -min(gaps)):.1f} percent."
        )
    return "\n".join([*lines, *notes])


def found_again(row: dict[str, Any]) -> str:
    """How often five test images find the others of the concept, before and after, in percent."""
    if row.get("found") is None:
        return "–"
    before, after, error = row["found"]
    return f"{100 * before:.0f}, {100 * after:.0f}" + " ‡" * (after - before > 1.96 * error + 1e-9)


@click.command()
@click.argument("which", type=click.Choice(["leaves", "inner"]))
@click.option("--table", "tables", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--model")
@click.option("--data")
@click.option("--taxonomy")
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice([*MODES]), default=("default", "paper")
)
@click.option("--test-images", type=int, default=50, show_default=True, help="A class.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("q_u.json"))
@click.option("--part", default="1/1", help="2/3 runs every third request, from the second on.")
@click.option("--only", default="", help="Concepts whose path ends like this.")
def main(
    which: str,
    tables: tuple[Path, ...],
    model: str | None,
    data: str | None,
    taxonomy: str | None,
    modes: tuple[str, ...],
    test_images: int,
    out: Path,
    part: str,
    only: str,
) -> None:
    """Make one table."""
    if tables:
        whole: dict[str, Any] = {"header": {}, "rows": {}}
        for path in tables:
            other = read(path)
            if differ := differences(other["header"], whole["header"]):
                raise click.UsageError(
                    f"{path} and {tables[0]} are not of one table: other {differ}"
                )
            add(whole, other)
        show(whole["rows"], modes)
        return
    clip = slsgu.load(model)
    tree = find_taxonomy(taxonomy, data)
    inner = [c for c in tree.concepts if not c.is_leaf and c.depth > 1]
    concepts = list(tree.leaves) if which == "leaves" else inner
    first, step = (int(number) for number in part.split("/"))
    value = {"header": header_of(clip, tree, data, modes, test_images), "rows": {}}
    if out.exists():
        found = read(out)
        if differ := differences(found["header"], value["header"]):
            raise click.UsageError(
                f"{out} was made with other {differ}: give another --out, or remove it"
            )
        add(value, found)
    shelf: dict[str, Image.Image] = {}
    for concept in [x for x in concepts if x.key.endswith(only)][first - 1 :: step]:
        for mode in modes:
            if mode in value["rows"].get(concept.key, {}):
                continue
            settings = settings_of(mode, test_images)
            with TRIED.get(mode, contextlib.nullcontext)():
                row = run(clip, concept, shelf, data=data, taxonomy=tree, settings=settings)
            value["rows"].setdefault(concept.key, {})[mode] = row
            write_json(out, value)
            click.echo(f"{concept.key}: {mode}: Q-U {row['q_u']:.3f} {row['layer']}", err=True)
    show(value["rows"], modes)


def show(rows: dict[str, dict[str, Any]], modes: tuple[str, ...]) -> None:
    """Print the table of the concepts that are done in all modes."""
    done = {name: row for name, row in rows.items() if set(modes) <= row.keys()}
    if len(done) < len(rows):
        click.echo(f"{len(rows) - len(done)} concept(s) are not done in all modes", err=True)
    if done:
        click.echo(table(done, modes))


def header_of(
    clip: slsgu.Clip,
    tree: slsgu.Taxonomy,
    data: str | None,
    modes: tuple[str, ...],
    test_images: int,
) -> dict[str, Any]:
    """Everything that decides the rows, as JSON values: as a whole, and by mode."""
    by_mode = {}
    for mode in modes:
        settings = settings_of(mode, test_images)
        # As many pictures of every class as one gives that is forgotten: none is used but these.
        limits = replace(settings.limits, retain_gradient=None, retain_search=None)
        splits = find_splits(clip, data, tree, replace(settings, limits=limits))
        by_mode[mode] = {"settings": settings.to_json(), "data": splits.sha256}
    header = {
        "version": slsgu.__version__,
        "model": clip.sha256,
        "configuration": json_sha256([clip.model_cfg, clip.preprocess_cfg]),
        "taxonomy": tree.sha256,
        "modes": by_mode,
    }
    plain: dict[str, Any] = json.loads(json.dumps(header))
    return plain


def read(path: Path) -> dict[str, Any]:
    """Header and rows of a JSON file of this script.

    Raises:
        click.UsageError: it is none, or from before there were headers.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        header = value["header"]
        if "modes" not in header:  # the first headers did not know the pictures
            old = header.pop("settings")
            header["modes"] = {mode: {"settings": old[mode], "data": None} for mode in old}
        if all(row.keys() <= header["modes"].keys() for row in value["rows"].values()):
            return value
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    raise click.UsageError(
        f"{path} does not say what its rows were made with: it is no file of this script, or of an "
        "early version of it. Give another --out, or remove it"
    )


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs between two headers, in what both speak of; empty if nothing does."""
    shared = found.keys() & wanted.keys() - {"modes"}
    differ = [key for key in sorted(shared) if found[key] != wanted[key]]
    modes, others = found["modes"], wanted.get("modes", {})
    for mode in sorted(modes.keys() & others.keys()):
        one, other = ({**m[mode]["settings"], "data": m[mode]["data"]} for m in (modes, others))
        names = sorted(name for name in one | other if one.get(name) != other.get(name))
        differ += [f"{name} of {mode}" for name in names]
    return ", ".join(differ)


def add(value: dict[str, Any], other: dict[str, Any]) -> None:
    """Take over the rows and modes of a file that fits."""
    modes = {**other["header"]["modes"], **value["header"].get("modes", {})}
    value["header"] = {**other["header"], "modes": modes}
    for name, row in other["rows"].items():
        value["rows"].setdefault(name, {}).update(row)


def settings_of(mode: str, test_images: int) -> slsgu.Settings:
    changes = dict(MODES[mode])
    limits = slsgu.Limits(test=test_images, **changes.pop("limits", {}))
    return slsgu.Settings(limits=limits, workers=0, **changes)


if __name__ == "__main__":
    main()
