"""What the command line's surroundings save: with and without, idle and beside a busy process.

    python examples/benchmarks/surroundings.py -- apply --concept "golden retriever"
    python examples/benchmarks/surroundings.py --beside -- grads --concept "golden retriever" \\
        --model local-dir:MODEL --data PHOTOS --taxonomy imagenet-dogs

*With* is the program, which keeps freed memory and lets threads that wait sleep; *without* is the
same command line, called by a program that only imports it. They alternate; each run has a new run
folder, and its own user and system time and peak memory.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from common import machine, print_table

SIDES = {
    "with": "from slsgu.__main__ import run; run()",
    "without": "from slsgu.cli import main; main()",
}
LEFT_OUT = ("MALLOC_", "OMP_WAIT_POLICY", "GLIBC_TUNABLES")  # the user's own would stand


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that take a processor each."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run(code: str, words: tuple[str, ...]) -> tuple[float, float, float, float]:
    """Wall, user and system seconds of a command, and its peak memory in MiB."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LEFT_OUT)}
    with tempfile.TemporaryDirectory() as folder:
        typed = [*words, "--run", str(Path(folder) / "run")]
        program = f"import sys; sys.argv[1:] = {typed!r}; {code}"
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        told = process.stderr.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: the goal is not met
        raise click.ClickException(told)
    return wall, used.ru_utime, used.ru_stime, peak(used) / 2**20


def peak(used: resource.struct_rusage) -> int:
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--beside", is_flag=True, help="Beside as many busy processes as --busy says.")
@click.option("--busy", "count", default=1, show_default=True)
@click.option("--repeats", default=1, show_default=True)
@click.argument("words", nargs=-1, required=True)
def main(beside: bool, count: int, repeats: int, words: tuple[str, ...]) -> None:
    """Run a slsgu command with and without what the program sets for itself."""
    found: dict[str, list[tuple[float, float, float, float]]] = {side: [] for side in SIDES}
    with busy(count if beside else 0):
        for _ in range(repeats):
            for side, code in SIDES.items():
                found[side].append(run(code, words))
    print(f"{machine()}; {f'beside {count} busy process(es)' if beside else 'by itself'}\n")
    rows = []
    for side, runs in found.items():
        wall, user, system, memory = np.median(runs, axis=0)
        share = f"{system / user:.0%}"
        rows.append(
            [side, f"{wall:.1f} s", f"{user:.1f} s", f"{system:.1f} s", share, f"{memory:.0f} MiB"]
        )
    print_table(["", "wall", "user", "system", "system / user", "peak"], rows)


if __name__ == "__main__":
    main()
