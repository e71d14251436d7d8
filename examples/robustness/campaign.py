"""Try hostile and damaged inputs on every command, and count what went wrong.

    python examples/robustness/campaign.py --count 2000
    python examples/robustness/campaign.py --only shard --seed 17 --count 1   # one of them again

Every input is made from a kind and a seed, so each can be made again. What fails is printed and
saved with its command. A table of all findings, by class, comes last.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import platform
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from hostile.judge import CLASSES
from hostile.running import preload
from hostile.trial import KINDS, LIMIT, Trial, remove, try_one
from hostile.world import World, build_world


def main() -> int:
    options = _options()
    preload()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        world = build_world(Path(scratch) / "world")
        print(f"world    {time.monotonic() - start:.0f} s", file=sys.stderr)
        jobs = _numbers(options)
        workers = []
        for worker in range(options.jobs):
            child = os.fork()
            if not child:
                part = Path(scratch) / f"part-{worker}"
                part.mkdir()
                _work(world, jobs[worker :: options.jobs], part, options)
                os._exit(0)
            workers.append(child)
        for child in workers:
            try:
                os.waitpid(child, 0)
            except KeyboardInterrupt:  # the table is of what was tried until then
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        rows = [
            json.loads(line)
            for file in sorted(Path(scratch).glob("part-*/rows.jsonl"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
    print_table(rows, time.monotonic() - start)
    if len(rows) != len(jobs):
        print(f"only {len(rows)} of {len(jobs)} inputs were tried")
    return int(any(row["findings"] for row in rows) or len(rows) != len(jobs))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hostile and damaged inputs for every command.")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=2000, help="how many inputs")
    parser.add_argument("--only", choices=sorted(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for one input")
    parser.add_argument("--save", type=Path, default=Path("robustness-findings"))
    return parser.parse_args()


def _numbers(options: argparse.Namespace) -> list[tuple[str, int]]:
    """The kind and seed of every input: kinds take turns."""
    kinds = [options.only] if options.only else list(KINDS)
    seeds = range(options.seed, options.seed + options.count)
    return [(kinds[seed % len(kinds)], seed) for seed in seeds]


def _work(
    world: World, jobs: list[tuple[str, int]], part: Path, options: argparse.Namespace
) -> None:
    """Try inputs one by one, with a row of JSON for each."""
    with (part / "rows.jsonl").open("w", encoding="utf-8") as rows:
        for kind, seed in jobs:
            folder = part / f"{kind}-{seed}"
            trial = try_one(world, kind, seed, folder, limit=options.limit)
            row = {"kind": kind, "seed": seed, "findings": trial.findings}
            rows.write(json.dumps({**row, "seconds": trial.answer.seconds}) + "\n")
            rows.flush()
            if trial.findings:
                report(trial)
                _save(trial, folder, options.save)
            remove(folder)


def report(trial: Trial) -> None:
    """Say what was found, in ASCII: the findings hold what terminals obey."""
    print(f"{trial.kind} {trial.seed}: {trial.case.title!a}")
    for name, seen in trial.findings:
        print(f"    {name}: {seen!a}")
    sys.stdout.flush()


def _save(trial: Trial, folder: Path, save: Path) -> None:
    """Keep the input, the command line and the answer."""
    target = save / f"{trial.kind}-{trial.seed}"
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    shutil.move(folder, target)
    told = {
        "title": trial.case.title,
        "words": list(trial.case.words),
        "command": shlex.join(["slsgu", *trial.case.words]),
        "env": dict(trial.case.env),
        "shell": trial.case.shell,
        "findings": trial.findings,
        "code": trial.answer.code,
        "seconds": trial.answer.seconds,
        "err": trial.answer.err[-5000:],
        "out": trial.answer.out[-2000:],
        "crash": trial.answer.crash[-8000:],
    }
    (target / "finding.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def print_table(rows: list[dict[str, object]], seconds: float) -> None:
    """Markdown: for each kind, how many inputs were tried and how many findings of each class."""
    print(f"\n| kind | inputs | {' | '.join(CLASSES.values())} |\n|{'---|' * (len(CLASSES) + 2)}")
    total: collections.Counter[str] = collections.Counter()
    for kind in KINDS:
        found: collections.Counter[str] = collections.Counter()
        for row in rows:
            if row["kind"] == kind:
                found["inputs"] += 1
                found.update({name for name, _ in row["findings"]})  # type: ignore[attr-defined]
        total += found
        if found["inputs"]:
            print(_line(kind, found))
    print(_line("all", total))
    print(f"\n{len(rows)} inputs in {seconds / 60:.1f} min, Python {platform.python_version()}")


def _line(name: str, found: collections.Counter[str]) -> str:
    return f"| {name} | {' | '.join(str(found[key]) for key in ('inputs', *CLASSES))} |"


if __name__ == "__main__":
    sys.exit(main())
