"""Every method from 1, 2, 5, 10 and 20 images of each class: a table of docs/compare.md.

    python examples/results/images_per_class.py few -- --concept "golden retriever" --quick
    python examples/results/images_per_class.py few --table

What stands behind -- goes to `slsgu compare`, once for each number, which is given to
`--gradient-images` and `--search-images`. The results lie in folders of the first argument.
Started again, the script goes on where it stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))
from photographs_rows import percent, table

COUNTS = (1, 2, 5, 10, 20)


def run(folder: Path, count: int, options: tuple[str, ...]) -> None:
    """One comparison."""
    images = ["--gradient-images", str(count), "--search-images", str(count)]
    words = ["compare", *options, *images, "--out", str(folder / str(count))]
    ended = subprocess.run([sys.executable, "-m", "slsgu", *words], check=False)
    if ended.returncode:
        raise click.ClickException(f"slsgu {' '.join(words)} ended with {ended.returncode}")


def shown(folder: Path) -> str:
    """Q-U of each method from each number of images, the best from most images first."""
    found: dict[str, dict[int, Any]] = {}
    for count in COUNTS:
        path = folder / str(count) / "compare.json"
        for row in json.loads(path.read_text("utf-8"))["rows"] if path.exists() else ():
            found.setdefault(row["method"], {})[count] = row
    counts = [count for count in COUNTS if any(count in row for row in found.values())]

    def score(method: str, count: int) -> float | None:
        row = found[method].get(count)
        return None if row is None or row["failed"] else row["means"].get("q_u")

    order = sorted(found, key=lambda method: -(score(method, counts[-1]) or 0))
    lines = [[f"`{name}`", *(percent(score(name, count)) for count in counts)] for name in order]
    return table(["method", *(str(count) for count in counts)], lines)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--table", "just_table", is_flag=True, help="Print the table of what is there.")
def main(folder: Path, options: tuple[str, ...], just_table: bool) -> None:
    """Make the table."""
    if not just_table:
        for count in COUNTS:
            run(folder, count, options)
    click.echo(shown(folder))


if __name__ == "__main__":
    main()
