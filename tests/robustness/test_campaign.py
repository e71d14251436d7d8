"""A fixed sample of the campaign of hostile inputs, and controls of its judge.

`examples/robustness/campaign.py` tries thousands; `--only KIND --seed N --count 1` makes one of
these again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SCRIPTS = Path(__file__).resolve().parents[2] / "examples" / "robustness"
PROGRAMS = ("surroundings",)  # each starts the program itself, which takes seconds
SEEDS = (1001, 1002, 1003, 1004)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Any]:
    """The package beside the scripts, for as long as these tests run."""
    sys.path.insert(0, str(SCRIPTS))
    import hostile.judge
    import hostile.trial

    hostile.running.preload()
    yield hostile
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def built(hostile: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return hostile.world.build_world(tmp_path_factory.mktemp("campaign") / "world")


@pytest.mark.parametrize(
    "kind",
    ["patch", "gradients", "bank", "run", "request", "taxonomy", "templates", "table", "shard",
     "pictures", "model", "checkpoint", "words", "surroundings", "sizes",
     "compare"],
)  # fmt: skip
def test_hostile_inputs_are_answered_as_they_should_be(
    hostile: Any, built: Any, tmp_path: Path, kind: str
) -> None:
    failed = []
    for seed in SEEDS[:1] if kind in PROGRAMS else SEEDS:
        trial = hostile.trial.try_one(built, kind, seed, tmp_path / f"{kind}-{seed}")
        if trial.findings:
            failed.append(f"{kind} {seed}: {trial.case.title!a}: {trial.findings}")
    assert not failed, "\n".join(failed)


def test_the_sample_is_of_every_kind(hostile: Any) -> None:
    (mark,) = (
        mark
        for mark in test_hostile_inputs_are_answered_as_they_should_be.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    )
    assert mark.args[1] == list(hostile.trial.KINDS)


def test_a_seed_makes_the_same_input_again(hostile: Any, built: Any, tmp_path: Path) -> None:
    contents = []
    for seed, name in ((5, "a"), (5, "b"), (6, "c")):
        hostile.trial.try_one(built, "table", seed, tmp_path / name)
        (table,) = (tmp_path / name / "inputs").glob("odd-pairs.*")
        contents.append(table.read_bytes())
    assert contents[0] == contents[1] != contents[2]


# -- controls: a command that answers badly in each way -------------------------------------------


def _crash() -> None:
    raise ValueError("a bug")


def _hang() -> None:
    time.sleep(60)


def _run_code() -> None:
    Path("..", "canary").touch()


def _accept() -> None:
    pass


def _escape() -> None:
    click.echo("\x1b]0;owned\x07")


def _turn_text() -> None:
    click.echo("\u202eevil", err=True)


def _odd_code() -> None:
    click.echo("Error: odd.txt is no patch", err=True)
    sys.exit(120)


def _die() -> None:
    os.abort()


def _say_nothing() -> None:
    sys.exit(1)


def _name_nothing() -> None:
    click.echo("Error: something is wrong", err=True)
    sys.exit(1)


def _leave_a_part() -> None:
    Path(".x.host.1-a.part").touch()


def _leave_a_temporary() -> None:
    (Path(os.environ["TMPDIR"]) / "left").touch()


def _change_the_input() -> None:
    with Path("inputs", "odd.txt").open("a") as file:
        file.write("more")


def _answer_well() -> None:
    click.echo("Error: odd.txt is no patch", err=True)
    sys.exit(1)


CONTROLS: list[tuple[Callable[[], None], str | None]] = [
    (_crash, "traceback"), (_hang, "hang"), (_run_code, "execution"), (_accept, "silent"),
    (_escape, "control"), (_turn_text, "control"), (_odd_code, "exit"), (_die, "exit"),
    (_say_nothing, "wordless"), (_name_nothing, "unnamed"), (_leave_a_part, "stray"),
    (_leave_a_temporary, "stray"), (_change_the_input, "changed"), (_answer_well, None),
]  # fmt: skip


@pytest.mark.parametrize(("command", "expected"), CONTROLS)
def test_the_judge_sees_every_class_of_bad_answers(
    hostile: Any,
    built: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[], None],
    expected: str | None,
) -> None:
    def make(bench: Any) -> Any:
        file = bench.write("odd.txt", "text")
        return hostile.case.Case("a control", [str(file)], bad=True, names=["odd.txt"])

    def run(words: list[str], prog_name: str) -> None:
        command()
        sys.exit(0)

    monkeypatch.setitem(hostile.trial.KINDS, "control", make)
    monkeypatch.setattr("slsgu.cli.main", run)
    trial = hostile.trial.try_one(built, "control", 0, tmp_path / "control", limit=2)
    classes = {name for name, _ in trial.findings}
    assert classes <= hostile.judge.CLASSES.keys()
    if expected is None:
        assert not classes
    else:
        assert expected in classes
        assert classes <= {expected, "silent"}


def test_a_name_is_known_as_an_error_shows_it(hostile: Any) -> None:
    shown = hostile.judge.shown
    for name, told in (
        ("http://host//x.tar", "cannot read http://host//x.tar"),
        ("a//b", "no such file: a/b"),
        ("a\x1b[2Jb", "no such file: aB"),
    ):
        assert shown(name) in shown(told)
    assert shown("c.tar") not in shown("no such file: a.tar")  # control


def test_the_controls_are_of_every_class(hostile: Any) -> None:
    assert {name for _, name in CONTROLS} - {None} == set(hostile.judge.CLASSES)
