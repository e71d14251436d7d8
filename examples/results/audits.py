"""Audits of default edits: the tables of docs/results-audit.md.

    python examples/results/audits.py --out audits --controls controls   # the drawings
    python examples/results/audits.py --out audits --photographs ../shared/data
    python examples/results/audits.py --out audits --cifar ../shared/data

On the drawings two leaves and a group are forgotten and held against controls that were trained
without them: `CONTROLS/without-golden-retriever`, `CONTROLS/without-taxi` and
`CONTROLS/without-retriever`, made by

    slsgu menagerie train --leave-out "golden retriever" --out controls/without-golden-retriever

and alike; without --controls they are audited without a reference. On photographs three breeds are
forgotten by `imagenet-lite0` and held against ten breeds that it does not know. On CIFAR-10 two
classes are forgotten by a small model, without a reference. Runs and audits lie
in the folder of --out. Started again, the script goes on where it stopped. The tables are printed
as Markdown at the end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

DRAWINGS = ("golden retriever", "taxi", "retriever")
BREEDS = ("golden retriever", "beagle", "chow chow")
CLASSES = ("ship", "cat")
SHOWN = (
    ("other words", "name="), ("other words", "bare name"), ("other words", "worst template"),
    ("other words", "worst misspelling"),
    ("prototypes", "1 image"), ("prototypes", "5 images"), ("prototypes", "20 images"),
    ("retrieval", "by text, recall"), ("retrieval", "by image, recall"),
    ("linear probe", "visual.ln_post"), ("linear probe", "visual.trunk="),
    ("linear probe", "embedding"), ("relearning", "1 forget"), ("relearning", "5 forget"),
    ("relearning", "20 forget"), ("relearning", "retain"), ("weights", "rounded to bf16"),
    ("weights", "rounded to int8"), ("weights", "averaged with 10%"), ("neighbours", "worst"),
    ("membership", "loss"),
)  # fmt: skip


def slsgu(*words: str | Path) -> None:
    """Run a command; what it says of its progress is shown."""
    command = [sys.executable, "-m", "slsgu", *map(str, words)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def audited(folder: Path, concept: str, where: list[str | Path], layer: list[str],
            reference: list[str | Path]) -> dict[str, Any]:  # fmt: skip
    """The audit of the default edit of a concept, made unless it is there."""
    run = folder / concept.replace(" ", "-")
    if not (run / "patch.safetensors").exists():
        shutil.rmtree(run, ignore_errors=True)
        slsgu("apply", "--concept", concept, "--run", run, "--force", *where, *layer)
    slsgu("audit", "--run", run, *reference)  # probes that are done are not repeated
    found: dict[str, Any] = json.loads((run / "audit.json").read_text(encoding="utf-8"))
    return found


def table(audits: dict[str, dict[str, Any]]) -> str:
    """A row for each probe, and for each concept before, after and never knew."""
    heads = " | ".join(f"{name}: before | after | never knew" for name in audits)
    lines = [f"| probe | setting | {heads} |", "|---" * (2 + 3 * len(audits)) + "|"]
    for probe, start in SHOWN:
        rows = {name: _reading(found, probe, start) for name, found in audits.items()}
        known = [row for row in rows.values() if row is not None]
        if not known:
            continue
        setting = start if len(known[0]["setting"]) > 40 else known[0]["setting"].split(": ")[0]
        cells = [_cell(row, key) for row in rows.values() for key in
                 ("before", "after", "never_knew")]  # fmt: skip
        lines.append(f"| {probe} | {setting} | {' | '.join(cells)} |")
    for name, value in ENDS.items():
        values = [value(found) for found in audits.values()]
        words = [f"{x:.2f}" if isinstance(x, float) else str(x or "-") for x in values]
        lines.append(f"| **{name}** | | {' | '.join(f' | {word} | ' for word in words)} |")
    return "\n".join(lines)


def _words_back(found: dict[str, Any]) -> float | None:
    """The most that a template, alias, plural or definition finds of what it found before."""
    starts = ("bare name", "worst template", "alias", "plural", "definition")
    rows = [x for x in found["readings"] if x["probe"] == "other words" and x["measurable"]
            and x["setting"].removeprefix("leaves: ").startswith(starts)]  # fmt: skip
    return max((x["after"] / x["before"] for x in rows), default=None)


def _way_back(found: dict[str, Any]) -> float | None:
    """How far training on retain images brings the concept back."""
    row = _reading(found, "relearning", "retain")
    return None if row is None else row["extra"].get("way_back")


ENDS = {
    "verdict": lambda found: found["verdict"],
    "left of what images found": lambda found: found["left"],
    "other words, share of what they found": _words_back,
    "retain images, share of the way back": _way_back,
}


def _reading(found: dict[str, Any], probe: str, start: str) -> dict[str, Any] | None:
    """The reading whose setting begins so; with "=" at the end, is so. Of a group, that of its
    leaves, where it has none itself."""
    rows = [x for x in found["readings"] if x["probe"] == probe]
    if start.endswith("="):
        return next((x for x in rows if x["setting"] == start[:-1]), None)
    each = (x for begin in (start, f"leaves: {start}") for x in rows
            if x["setting"].startswith(begin))  # fmt: skip
    return next(each, None)


def _cell(row: dict[str, Any] | None, key: str) -> str:
    value = None if row is None else row[key]
    return "-" if value is None else f"{value:.3f}"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for all runs.")
@click.option("--controls", type=click.Path(path_type=Path), help="Folder of the three controls.")
@click.option("--photographs", type=click.Path(path_type=Path),
              help="Folder that holds dogs/ and dogs-web/; leaves the drawings out.")  # fmt: skip
@click.option("--cifar", type=click.Path(path_type=Path),
              help="Folder that holds cifar10/, cifar10-clip/, cifar10.yaml.")  # fmt: skip
def main(out: Path, controls: Path | None, photographs: Path | None, cifar: Path | None) -> None:
    """Make the audits and print their table."""
    audits: dict[str, dict[str, Any]] = {}
    if cifar is not None:
        model = f"local-dir:{cifar / 'cifar10-clip'}"
        small: list[str | Path] = ["--model", model, "--data", cifar / "cifar10"]
        small += ["--taxonomy", cifar / "cifar10.yaml"]
        for name in CLASSES:
            audits[name] = audited(out / "cifar", name, small, [], [])
    elif photographs is None:
        for name in DRAWINGS:
            control = None if controls is None else controls / f"without-{name.replace(' ', '-')}"
            there = control is not None and control.exists()
            reference: list[str | Path] = ["--control", f"local-dir:{control}"] if there else []
            audits[name] = audited(out / "drawings", name, [], [], reference)
    else:
        where: list[str | Path] = ["--model", "imagenet-lite0", "--taxonomy", "imagenet-dogs"]
        where += ["--data", photographs / "dogs"]
        web = photographs / "dogs-web"
        reference = ["--unknown", web / "unknown", "--known", web / "known"]
        for breed in BREEDS:
            layer = ["--layer", "visual.head.proj.weight"]
            audits[breed] = audited(out / "photographs", breed, where, layer, reference)
    print(table(audits))


if __name__ == "__main__":
    main()
