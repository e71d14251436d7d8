"""One trial: make the input of a kind and seed, run the command, judge the answer."""

from __future__ import annotations

import contextlib
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from hostile import artifacts, compared, models, outside, pictures, sizes, texts
from hostile.case import Bench, Case, Maker
from hostile.judge import judge, state
from hostile.running import Answer, run_here, run_program
from hostile.world import World

KINDS: dict[str, Maker] = {
    **artifacts.KINDS,
    **texts.KINDS,
    **pictures.KINDS,
    **models.KINDS,
    **outside.KINDS,
    **sizes.KINDS,
    **compared.KINDS,
}
LIMIT = 40.0  # seconds: nothing here takes a tenth of it on an idle machine


@dataclass(frozen=True)
class Trial:
    """What one input came to."""

    kind: str
    seed: int
    case: Case
    answer: Answer
    findings: list[tuple[str, str]]


def try_one(world: World, kind: str, seed: int, folder: Path, *, limit: float = LIMIT) -> Trial:
    """Make and run the input of a kind and seed in an empty folder, which is left behind.

    Args:
        folder: does not exist yet.
        limit: seconds.
    """
    bench = Bench(folder, world, random.Random(f"{kind} {seed}"), folder.parent / "canary")
    bench.canary.unlink(missing_ok=True)
    for part in (bench.inputs, folder / "tmp", folder / "cache"):
        part.mkdir(parents=True)
    case = KINDS[kind](bench)
    before = state(bench.inputs)
    env = {
        "TMPDIR": str(folder / "tmp"),
        "SLSGU_CACHE_DIR": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
        **case.env,
    }
    if case.real:
        answer = run_program(case.words, folder=folder, env=env, limit=limit, shell=case.shell)
    else:
        answer = run_here(case.words, folder=folder, env=env, limit=limit)
    return Trial(kind, seed, case, answer, judge(case, bench, answer, before))


def remove(folder: Path) -> None:
    """Remove the folder of a trial, whatever modes the command left."""
    with contextlib.suppress(OSError):
        folder.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
