"""`slsgu compare`: tables and figures, what is done is kept, and mistakes get a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Ran

Cli = Callable[..., Ran]

OWN = """
from slsgu.baselines.merge import merge

def method(task, ledger, progress):
    return merge(task, ledger, progress, dial=0.5)
"""


@pytest.fixture
def words(taught_dir: Path, photos: Path) -> list[str]:
    few = ["--gradient-images", "6", "--search-images", "5", "--test-images", "5"]
    return [
        "compare", "--concept", "beagle", "--model", f"local-dir:{taught_dir}",
        "--data", str(photos / "images"), "--taxonomy", str(photos / "pets.yaml"),
        "--cap", "32", "--quick", *few,
    ]  # fmt: skip


def test_tables_figures_and_what_is_done_is_kept(
    cli: Cli, words: list[str], tmp_path: Path
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(OWN)
    also = ["--also", f"again={words[6]}"]
    words = [*words, "--methods", "merge, ga", "--method", str(own), "--out", "there", *also]
    done = cli(*words)
    assert done.code == 0
    lines = done.out.splitlines()
    methods = {line.split()[0] for line in lines[2:7]}
    assert methods == {"(before)", "(never", "merge", "ga", "mine"}
    assert "also again" in lines[0] and "[3/3] mine" in done.err and "min left" in done.err
    folder = tmp_path / "there"
    value = json.loads((folder / "compare.json").read_text())
    assert {row["method"]: row["kind"] for row in value["rows"]} == {
        "merge": "ours", "ga": "baseline", "mine": "yours"
    }  # fmt: skip
    ga = next(cell for cell in value["cells"] if cell["method"] == "ga")
    assert len(ga["tuning"]) == 2 and ga["value"] in {each["value"] for each in ga["tuning"]}
    assert all((folder / f"compare-{x}.png").exists() for x in ("quality", "seconds", "distance"))
    assert (folder / "compare.md").read_text().startswith("# Methods compared: beagle")
    csv = (folder / "compare.csv").read_text()

    times = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    again = cli(*words)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert "[3/3]" not in again.err and (folder / "compare.csv").read_text() == csv
    own.write_text(OWN + "# edited")
    edited = cli(*words)
    assert "[3/3] mine" in edited.err and "[1/3]" not in edited.err and "[2/3]" not in edited.err
    times = {path: path.stat().st_mtime_ns for path in times}
    other = cli(*words, "--cap", "48")  # control: another comparison is made anew, beside this one
    assert "[3/3]" in other.err and len([*(folder / "cells").iterdir()]) > len(times)
    back = cli(*words[: words.index("merge, ga")], "ga", "--out", "there", *also)
    assert "[1/1]" not in back.err and {path: path.stat().st_mtime_ns for path in times} == times
    assert "ga" in back.out and "merge" in back.out  # what is there already is shown, too


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--methods", "nhl"], "no method 'nhl'; did you mean 'nhl-kl'? There are slsgu,"),
        (["--known", "x"], "--known goes with --unknown"),
        (["--control", "a", "--unknown", "b"], "two references"),
        (["--method", "absent.py"], "does not exist"),
    ],
)
def test_mistakes_get_a_message(cli: Cli, words: list[str], more: list[str], message: str) -> None:
    done = cli(*words, *more)
    assert done.code == 2 and message in done.err


def test_two_files_of_one_name_are_refused(cli: Cli, words: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name / "half.py" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(OWN)
    done = cli(*words, *(x for path in paths for x in ("--method", str(path))))
    assert done.code == 2 and "would both be called half; rename one" in done.err
    other = paths[1].rename(tmp_path / "b" / "whole.py")
    done = cli(*words, "--method", str(paths[0]), "--method", str(other), "--out", "x")  # control
    assert done.code == 0 and "[2/2] whole" in done.err


def test_what_is_no_control_is_refused(
    cli: Cli, words: list[str], tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*words, "--methods", "nothing", "--out", "x"]
    done = cli(*words, "--control", words[4])
    assert done.code == 1 and "is the model itself: give one that was trained" in done.err
    words += ["--control", f"local-dir:{tiny_dir}"]
    done = cli(*words)
    assert done.code == 1 and "no model like this one that only lacks the concept" in done.err
    monkeypatch.setattr("slsgu.audit.control.HALF", 0.0)
    monkeypatch.setattr("slsgu.audit.control.KNOWS", 2.0)
    done = cli(*words)  # control
    assert done.code == 0 and "never knew: a model that was trained without" in done.out


def test_without_a_concept_it_asks_for_one(cli: Cli) -> None:
    assert "--concept NAME" in cli("compare").err


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1", "defines no function `method(task, ledger, progress)`"),
        ("1 / 0", "cannot be run: it ended with ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_without_a_method_is_refused(
    cli: Cli, words: list[str], tmp_path: Path, code: str, message: str
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(code)
    done = cli(*words, "--method", str(own))
    assert done.code == 2 and message in done.err
    own.rename(tmp_path / "ga.py")
    own = tmp_path / "ga.py"
    own.write_text(OWN)
    assert "is the name of a method; rename the file" in cli(*words, "--method", str(own)).err
