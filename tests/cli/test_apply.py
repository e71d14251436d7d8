"""What `slsgu apply` prints under its headline and at its end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Ran

import slsgu.report.html

Cli = Callable[..., Ran]
MET = re.compile(r"the goal is met (.*); the step taken is (\S+)")


def test_from_where_to_where_the_goal_is_met(cli: Cli, world: list[str], tmp_path: Path) -> None:
    words = ["apply", "--concept", "beagle", *world, "--layer", "visual.proj", "--run", "run"]
    ran = cli(*words)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    (curve,) = [row["curve"] for row in result["candidates"] if row["layer"] == result["layer"]]
    told = MET.search(ran.out)
    assert ran.code == 0 and told is not None
    assert f"{result['step_size']:.4g}" == told[2]
    ends = [float(x) for x in re.findall(r"step ([\d.e+-]+)", told[1])]
    steps = {f"{row['step_size']:.4g}" for row in curve}
    assert ends and {f"{end:.4g}" for end in ends} <= steps
    assert ends[0] <= result["step_size"] * 1.001 and result["step_size"] <= ends[-1] * 1.001
    # Control: a single step has no range, and a goal that none meets is told as such.
    assert not MET.search(cli(*words, "--step", "1", "--force").out)
    ran = cli(*words, "--target", "0", "--floor", "1", "--layer", "visual.conv1.weight", "--force")
    told = MET.search(ran.out)
    assert told is not None and (told[1] == "at none of the steps tried") == (ran.code == 1)


def total(ran: Ran) -> float:
    found = re.search(r"time +total ([\d.]+) s \(gradients [\d.]+ s, search [\d.]+ s\)", ran.out)
    assert found is not None, ran.out
    return float(found[1])


def test_the_time_is_what_a_user_waits(
    cli: Cli, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["apply", "--concept", "beagle", *world, "--run", "run", "--trials", "4", "--force"]
    began = time.perf_counter()
    usual = total(cli(*words))
    waited = time.perf_counter() - began
    inner = json.loads((tmp_path / "run" / "result.json").read_text())["seconds"]["total"]
    assert inner <= usual + 0.05 and usual <= waited + 0.05
    # Control: a slow report is waited for, and counted.
    write = slsgu.report.html.write

    def slow(*args: object, **options: object) -> None:
        time.sleep(1.5)
        write(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(slsgu.report.html, "write", slow)
    ran = cli(*words, report=True)
    inner = json.loads((tmp_path / "run" / "result.json").read_text())["seconds"]["total"]
    assert total(ran) > inner + 1.4


def test_what_was_not_measured_is_told_in_words(cli: Cli, taught_dir: Path, photos: Path) -> None:
    words = ["--forget", photos / "images" / "beagle", "--name", "beagle"]
    words += ["--model", f"local-dir:{taught_dir}", "--taxonomy", photos / "pets.yaml"]
    ran = cli("apply", *words, "--trials", "4", "--force")
    assert (
        "no floor can be enforced: other images at the finest level, other images at c" in ran.out
    )
    assert "retain_fine" not in ran.out


def test_every_column_of_other_data_sets_has_a_heading(
    cli: Cli, world: list[str], photos: Path
) -> None:
    words = ["apply", "--concept", "beagle", *world, "--trials", "4", "--force"]
    also = ["--also", f"more={photos / 'images'}"]
    for floor, holds in (("more=0", "yes"), ("more=1", "(yes|no)")):
        out = cli(*words, *also, "--floor", floor).out
        heading = next(line for line in out.splitlines() if line.startswith("also kept"))
        row = next(line for line in out.splitlines() if line.startswith("more without beagle"))
        assert heading.endswith("floor  floor holds") and re.search(rf" {holds}$", row)
