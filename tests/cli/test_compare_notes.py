"""`slsgu compare`: what must be known of a table is said beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Ran
from slsgu.cli import console

from slsgu.utils.child import environment, python

Cli = Callable[..., Ran]
Words = Callable[..., list[str]]


@pytest.fixture
def words(taught_dir: Path, photos: Path) -> Words:
    def compare(*more: str | Path, images: int = 5) -> list[str]:
        few = [x for s in ("gradient", "search", "test") for x in (f"--{s}-images", str(images))]
        return [
            "compare", "--concept", "beagle", "--model", f"local-dir:{taught_dir}", "--quick",
            *few, "--data", str(photos / "images"), "--taxonomy", str(photos / "pets.yaml"),
            "--workers", "0", "--out", "out", *map(str, more),
        ]  # fmt: skip

    return compare


def test_a_probe_without_images_says_why(cli: Cli, words: Words, tmp_path: Path) -> None:
    done = cli(*words("--methods", "nothing", images=4))
    told = "note: 5-shot is not measured, for "
    assert done.code == 0 and told in done.err and told in done.out
    assert "has only 4 of 5 gradient images" in done.out and "linear probe is not" not in done.out
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "Note: 5-shot is not measured" in page
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["notes"]
    done = cli(*words("--methods", "nothing"))  # control
    assert "is not measured" not in done.out + done.err


def test_a_failure_gives_advice_that_this_command_can_follow(
    cli: Cli, words: Words, tiny_dir: Path
) -> None:
    """The search refuses a concept that the model does not know; `--force` is of apply."""
    given = words("--methods", "slsgu,nothing")
    untaught = [f"local-dir:{tiny_dir}" if x.startswith("local-dir:") else x for x in given]
    done = cli(*untaught)
    assert done.code == 0, done.err
    assert "slsgu failed: the model does not know 'beagle' in the first place" in done.out
    told = "note: the model does not know 'beagle' in the first place"
    assert told in done.err and told in done.out
    assert "--force" not in done.out + done.err
    again = cli(*untaught).err
    assert "note: slsgu failed in an earlier run and is not tried again: the model" in again
    path = Path(again.split("To try it again, remove ")[1].split()[0])
    path.unlink()
    assert "[1/2] slsgu: failed" in cli(*untaught).err
    given[given.index("--out") + 1] = "other"
    done = cli(*given)  # control
    assert "failed" not in done.out + done.err and "does not know" not in done.out + done.err


def test_a_goal_that_is_not_met_is_marked(
    cli: Cli, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misses = lambda self, measures, title: ["too little stays"]  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr("slsgu.search.goal.Goal.misses", misses)
        done = cli(*words("--methods", "slsgu,nothing"))
    assert done.code == 0
    assert "* slsgu: does not meet its goal on the search images: too little stays" in done.out
    assert "slsgu*" in done.out and "nothing*" not in done.out
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "does not meet its goal" in page and "`slsgu`" in page
    assert "* slsgu: does not" in cli(*words("--methods", "slsgu,nothing")).out  # kept in the cell


def test_the_smallest_budget_is_one_step(cli: Cli, words: Words) -> None:
    done = cli(*words("--cap", "31"))
    assert done.code == 2 and "32<=x<=1000000" in done.err


def test_a_table_wider_than_the_terminal_comes_in_parts(
    cli: Cli, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cli(*words("--methods", "nothing")).out
    heading = whole.splitlines()[0]
    assert len(heading) > 80
    monkeypatch.setattr(console, "_terminal_width", lambda: 80)
    parts = cli(*words("--methods", "nothing")).out
    table = parts.split("\nnever knew:")[0].splitlines()
    assert max(map(len, table)) <= 80
    headings = [line.split() for line in table if line.startswith("method")]
    assert len(headings) > 1
    assert ["method", *(w for line in headings for w in line[1:])] == heading.split()
    rows = [line for line in table if line.startswith("nothing")]
    assert len(rows) == len(headings)


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Even where that is killed, and can tell them nothing."""
    child = (
        "import os, sys, time; from slsgu.cli.compare_workers import end_with_parent; "
        f"end_with_parent(); open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
        f"open({str(tmp_path / 'ready')!r}, 'w').close(); time.sleep(600)"
    )
    code = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen({python('-c', child)!r}, stdin=subprocess.PIPE); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment())
    try:
        _until((tmp_path / "ready").exists)
        number = int((tmp_path / "pid").read_text())
        time.sleep(0.3)
        assert _alive(number)  # control
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        _until(lambda: not _alive(number))
    finally:
        parent.kill()


def _alive(number: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        os.kill(number, 0)
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
