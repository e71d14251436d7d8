"""Pairs from shards against pairs from files, and memory against their number.

    python examples/benchmarks/sources.py speed
    python examples/benchmarks/sources.py memory

Pictures are JPEG files of noise, made in a temporary folder: once as files with a table, once as
shards of 1,000. `speed` looks the pairs through, hashes, decodes and preprocesses all of them, in
one process, the sides alternating, the best of each; with the files in the system's memory, and
after it was asked to drop them. `memory` is the peak of a whole `slsgu grads` with so many retain
pairs on the embedded model, in a process of its own.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import click
import numpy as np
from common import machine, print_table, random_clip, timed
from PIL import Image

from slsgu.data.batches import Ledger, Reading, Transform, stream
from slsgu.data.sources.open import open_source
from slsgu.data.sources.records import PairSample, content_of

SHARD = 1000


def picture(number: int, side: int) -> bytes:
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(file, "JPEG", quality=90)
    return file.getvalue()


def make(folder: Path, count: int, side: int) -> tuple[Path, Path]:
    """A table with its files, and a folder of shards, of the same pairs."""
    files, shards = folder / "files", folder / "shards"
    files.mkdir()
    shards.mkdir()
    rows = []
    for start in range(0, count, SHARD):
        with tarfile.open(shards / f"{start // SHARD:05d}.tar", "w") as tar:
            for number in range(start, min(start + SHARD, count)):
                data, caption = picture(number, side), f"picture number {number}"
                (files / f"{number:06d}.jpg").write_bytes(data)
                rows.append((f"{number:06d}.jpg", caption))
                for kind, content in (("jpg", data), ("txt", caption.encode())):
                    info = tarfile.TarInfo(f"{number:09d}.{kind}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    with (files / "pairs.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("filepath", "title"), *rows])
    return files / "pairs.csv", shards


def read_all(source: Path, count: int, transform: Transform) -> None:
    """What a pass does with a source: look it through, hash, decode, preprocess."""
    samples = [
        PairSample(None, r.caption, r.name, content_of(r.picture.data()), r.picture)
        for r in open_source(source).records()
    ]
    read = stream(
        samples, transform, split="gradient", ledger=Ledger(), reading=Reading(64, 0, strict=True)
    )
    assert sum(len(batch.samples) for batch in read) == count


def forget_files(folder: Path) -> None:
    """Ask the system to drop what it keeps of files in memory, so that the disk is read."""
    for path in folder.rglob("*.*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@click.group()
def main() -> None:
    """Benchmarks of sources."""


@main.command()
@click.option("--pairs", default=3000, show_default=True)
@click.option("--side", default=224, show_default=True, help="Pixels.")
@click.option("--repeats", default=10, show_default=True)
def speed(pairs: int, side: int, repeats: int) -> None:
    """Shards over files."""
    transform = random_clip().preprocess
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sides = make(Path(folder), pairs, side)[::-1]
        for source in sides:
            read_all(source, pairs, transform)  # warm
        for what in ("in memory", "on disk"):
            times = []
            for _ in range(repeats):
                each = []
                for source in sides:
                    if what == "on disk":
                        forget_files(Path(folder))
                    each.append(timed(lambda x=source: read_all(x, pairs, transform)))
                times.append(each)
            ours, files = np.min(times, axis=0)
            rows.append([what, f"{ours:.2f} s", f"{files:.2f} s", f"{ours / files:.2f}"])
    print(f"{machine()}; {pairs} pairs, JPEG, {side} pixels\n")
    print_table(["pairs", "shards", "files", "ratio"], rows)


@main.command()
@click.option("--pairs", "counts", multiple=True, type=int, default=[1000, 2000, 4000])
def memory(counts: tuple[int, ...]) -> None:
    """Peak memory of a gradient pass against the number of retain pairs."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            _, shards = make(root, 2 * count + 200, 64)  # half of a source is for gradients
            (root / "forget").mkdir()
            for number in range(100):
                data = picture(10**6 + number, 64)
                (root / "forget" / f"{number}.jpg").write_bytes(data)
            words = ["grads", "--forget", "forget", "--retain", str(shards), "--name", "it"]
            words += ["--parent", "thing", "--retain-images", str(count), "--no-cache", "--json"]
            code = (
                "import resource, sys; from slsgu.cli import main\n"
                "main(sys.argv[1:], standalone_mode=False)\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, *words, "--workers", "0"],
                cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=True,
            )  # fmt: skip
            used = json.loads(done.stdout)["counts"]["retain"]
            rows.append([f"{used}", f"{int(done.stderr.split()[-1]) / 1024:.0f} MiB"])
    print(machine() + "\n")
    print_table(["retain pairs", "peak"], rows)


if __name__ == "__main__":
    main()
