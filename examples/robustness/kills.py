"""End commands at random moments, and look at every file after each.

    python examples/robustness/kills.py --count 200

SIGKILL leaves no time to clear up, SIGTERM does. After either, each file under a final name must be
whole, and the inputs must be as they were; after SIGTERM nothing else may be left, either. At last
each command is run to its end in the folder of its killed runs: it must give what an undisturbed
run gives, and clear away what the kills left.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from hostile.judge import state
from hostile.running import Answer, Kill, preload, run_here, run_program
from hostile.world import World, build_world
from safetensors.torch import load_file

from slsgu.gradients.gradients import Gradients
from slsgu.patch.patch import Patch

COLUMNS = ("SIGKILL", "SIGTERM", "hit", "damaged", "strays", "wrong exits", "inputs changed")
KILLED = {signal.SIGKILL: -9, signal.SIGTERM: 143}


def commands(world: World) -> dict[str, list[str]]:
    """Each writes below the working directory alone."""
    root = world.root
    pairs = ["--forget", str(root / "forget.tar"), "--retain", str(root / "retain.tar")]
    pairs += ["--name", "beagle", "--classes", str(root / "classes.txt"), *world.model]
    search = ["--tower", "language", "--trials", "3", "--force", "--save-model", "saved"]
    return {
        "grads": ["grads", *pairs, "--run", "run", *world.quick],
        "apply": ["apply", "--concept", "beagle", "--run", "run", *search, *world.all],
        "patch apply": ["patch", "apply", str(world.patch), str(root / "model"), "--out", "out"],
        "select": ["select", "--source", str(root / "pairs.csv"), "--match", "photo",
                   "--out", "out.tar", "--force"],
        "evaluate": ["evaluate", "--patch", str(world.patch), *world.all],
    }  # fmt: skip


def damage(folder: Path, expected: dict[str, str]) -> Iterator[str]:
    """What is under a final name and not whole.

    Args:
        expected: hashes of files that are the same after every run.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith("tmp/") or any(part.startswith(".") for part in Path(name).parts):
            continue  # what is under no final name
        if path.is_symlink() and not path.exists():
            yield f"{name}: a link to nothing"
        if not path.is_file():
            continue
        if name in expected and _sha256(path) != expected[name]:
            yield f"{name}: another content"
        try:
            _read(path)
        except Exception as error:  # whatever a reader thinks of half a file
            yield f"{name}: {error!r}"


def _read(path: Path) -> None:
    """Read a file to its end, by its kind.

    Raises:
        Exception: it is not whole.
    """
    if path.name == "gradients.safetensors":
        Gradients.load(path)
    elif path.name == "patch.safetensors":
        Patch.load(path)
    elif path.suffix == ".safetensors":
        load_file(path)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".yaml":
        if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
            raise ValueError("it is no mapping")
    elif path.suffix == ".html":
        if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            raise ValueError("its end is missing")
    elif path.suffix == ".tar":
        with tarfile.open(path) as tar:
            if not [len(tar.extractfile(member).read()) for member in tar]:  # type: ignore[union-attr]
                raise ValueError("it is empty")
        if path.read_bytes()[-1024:] != bytes(1024):
            raise ValueError("its end is missing")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def strays(folder: Path) -> list[str]:
    """Temporary files: ours beside what they were to become, and those of the system's folder."""
    return [p.name for p in (*folder.rglob("*.part"), *(folder / "tmp").glob("*"))]


def _start_of_python() -> float:
    """Seconds, with a margin, until code of ours can run: before that nobody answers a signal."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import click"], check=True)
    return 1.5 * (time.monotonic() - start)


class Victim:
    """A command, its folder, and what an undisturbed run of it gives and takes."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.words, self.folder = words, folder
        calm = folder.parent / f"{folder.name}-calm"
        self.lengths = {}
        self.begins = {False: 0.03, True: _start_of_python()}
        for program in (False, True):
            shutil.rmtree(calm, ignore_errors=True)
            (calm / "tmp").mkdir(parents=True)
            answer = self.run(None, program=program, folder=calm)
            if answer.code not in (0, 1):
                raise SystemExit(f"{words} fails undisturbed: {answer.err}{answer.crash}")
            self.lengths[program] = answer.seconds
        same = ("run/patch.safetensors", "out/open_clip_model.safetensors", "out.tar",
                "saved/open_clip_model.safetensors")  # fmt: skip
        self.expected = {name: _sha256(calm / name) for name in same if (calm / name).exists()}
        (folder / "tmp").mkdir(parents=True)

    def run(self, kill: Kill | None, *, program: bool, folder: Path | None = None) -> Answer:
        folder = folder or self.folder
        env = {
            "TMPDIR": str(folder / "tmp"),
            "SLSGU_CACHE_DIR": str(folder / "cache"),
            "MPLBACKEND": "Agg",
        }
        run = run_program if program else run_here
        return run(self.words, folder=folder, env=env, kill=kill)

    def clear(self) -> None:
        """Make room for the next run where a command refuses to write over what it wrote."""
        for name in ("out", "saved"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def findings(
    victim: Victim, answer: Answer, how: signal.Signals | None, before: list[str]
) -> Iterator[tuple[str, str]]:
    """What was wrong after a run that got a signal, or none: the column, and what was seen.

    Args:
        before: what earlier runs had left already.
    """
    for told in damage(victim.folder, victim.expected):
        yield "damaged", told
    left = strays(victim.folder)
    if how is signal.SIGTERM and (new := sorted(set(left) - set(before))):
        yield "strays", new[0]
    elif how is None and (old := [name for name in left if name.endswith(".part")]):
        yield "strays", old[0]
    allowed = {0, 1} if how is None else {0, 1, KILLED[how]}
    if answer.code not in allowed or answer.crash:
        yield "wrong exits", f"{answer.code}: {answer.crash[-300:] or answer.err[-300:]}"
    elif answer.code == 143 and "Interrupted" not in answer.err:
        yield "wrong exits", "143 without a word"


def main() -> int:
    parser = argparse.ArgumentParser(description="End commands at random moments.")
    parser.add_argument("--count", type=int, default=200, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    preload()
    rng, start = random.Random(options.seed), time.monotonic()
    table: dict[str, collections.Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        world = build_world(Path(scratch) / "world")
        before = state(world.root)
        victims = {
            name: Victim(words, Path(scratch) / name.replace(" ", "-"))
            for name, words in commands(world).items()
        }
        table = {name: collections.Counter() for name in victims}

        def run(name: str, told: str, kill: Kill | None, *, program: bool) -> Answer:
            old = strays(victims[name].folder)
            answer = victims[name].run(kill, program=program)
            found = list(findings(victims[name], answer, kill[0] if kill else None, old))
            if state(world.root) != before:
                found.append(("inputs changed", "see above"))
            for column, seen in found:
                table[name][column] += 1
                print(f"{name}, {told}: {column}: {seen!a}", flush=True)
            return answer

        for number in range(options.count):
            name = list(victims)[number % len(victims)]
            victim, how = victims[name], rng.choice((signal.SIGKILL, signal.SIGTERM))
            program = rng.random() < 0.25  # its start-up, too
            moment = rng.uniform(victim.begins[program], victim.lengths[program])
            what = "the program" if program else "the command"
            told = f"kill {number}, {how.name} after {moment:.2f} s of {what}"
            answer = run(name, told, (how, moment), program=program)
            table[name][how.name] += 1
            table[name]["hit"] += answer.code in (KILLED[how], -how)
            victim.clear()
        for name, victim in victims.items():
            run(name, "the last run, undisturbed", None, program=False)
            for missing in (n for n in victim.expected if not (victim.folder / n).exists()):
                table[name]["damaged"] += 1
                print(f"{name}, the last run, undisturbed: no {missing}")
    print_table(table, time.monotonic() - start)
    return int(any(row[column] for row in table.values() for column in COLUMNS[3:]))


def print_table(table: dict[str, collections.Counter[str]], seconds: float) -> None:
    """Markdown: kills of each command, how many came before its end, and what they did."""
    print(f"\n| command | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    total: collections.Counter[str] = sum(table.values(), collections.Counter())
    for name, row in (*table.items(), ("all", total)):
        print(f"| {name} | {' | '.join(str(row[column]) for column in COLUMNS)} |")
    print(f"\n{seconds / 60:.1f} min")


if __name__ == "__main__":
    sys.exit(main())
