"""The gradient pass on the embedded drawings: time and memory against the number of images.

    python examples/benchmarks/cost.py --figure docs/images/cost.png

Each case is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import click
from common import machine, print_table

CONCEPTS = ("golden retriever", "tabby cat", "sunflower", "sailboat")


def case(images: int, concepts: int) -> tuple[float, float]:
    """Seconds, and MiB above the process after the model was loaded."""
    import slsgu
    from slsgu.data.ledger import Ledger
    from slsgu.gradients.compute import compute_gradients
    from slsgu.task.plan import make_plan

    clip = slsgu.load()
    limits = slsgu.Limits(gradient=50, retain_gradient=images - 50 * concepts, search=1, test=1)
    if images > 2300:
        limits = slsgu.Limits(gradient=images // 46, retain_gradient=None, search=1, test=1)
    plan = make_plan(clip, CONCEPTS[:concepts], settings=slsgu.Settings(limits=limits))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = compute_gradients(plan, Ledger())
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return seconds / sum(found.counts.values()) * images, used / 1024


@click.command()
@click.option("--images", "sizes", multiple=True, type=int, default=(1000, 2000, 4000, 8000))
@click.option("--concepts", "counts", multiple=True, type=int, default=(1, 2, 4))
@click.option("--figure", type=click.Path(path_type=Path))
@click.option("--one", type=(int, int), hidden=True)
def main(
    sizes: tuple[int, ...],
    counts: tuple[int, ...],
    figure: Path | None,
    one: tuple[int, int] | None,
) -> None:
    if one is not None:
        print(json.dumps(case(*one)))
        return
    found: dict[int, list[tuple[float, float]]] = {}
    for count in counts:
        for images in sizes:
            command = [sys.executable, __file__, "--one", str(images), str(count)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            found.setdefault(count, []).append(tuple(json.loads(ran.stdout)))
    print(machine() + "\n")
    print_table(
        ["concepts", *(f"{size} images" for size in sizes)],
        [
            [str(count), *(f"{s:.1f} s, {m:.0f} MiB" for s, m in row)]
            for count, row in found.items()
        ],
    )
    if figure is not None:
        draw(sizes, found, figure)


def draw(sizes: tuple[int, ...], found: dict[int, list[tuple[float, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    from slsgu.report.plots.style import CYCLE, bare, drawing

    with drawing():
        whole = Figure(figsize=(7.6, 2.9))
        for index, what in enumerate(("seconds", "MiB above the loaded model")):
            ax = whole.add_axes((0.09 + 0.5 * index, 0.19, 0.39, 0.7))
            bare(ax, grid="y")
            for colour, (count, row) in zip(CYCLE, found.items(), strict=False):
                name = f"{count} concept{'s' if count > 1 else ''}"
                ax.plot(sizes, [r[index] for r in row], marker="o", color=colour, label=name)
            ax.set_xlim(0, 1.05 * max(sizes))
            ax.set_ylim(0, 1.15 * max(r[index] for row in found.values() for r in row))
            ax.set_xlabel("images")
            ax.set_title(what, loc="left", fontsize=10)
            if index == 0:
                ax.legend(frameon=False, fontsize=8)
        whole.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
