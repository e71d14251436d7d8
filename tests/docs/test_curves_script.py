"""The script behind the table of curves: it goes on where it stopped, and says what holds."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "results" / "curves.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("curves_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "curves_script", module)
    spec.loader.exec_module(module)
    return module


def test_layers_are_measured_once_and_only_under_the_same_settings(
    script: ModuleType, taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "curves.json"
    words = ["beagle", "--model", f"local-dir:{taught_dir}", "--data", str(photos / "images"),
             "--taxonomy", str(photos / "pets.yaml"), "--searched", "--out", str(out)]  # fmt: skip
    done = CliRunner().invoke(script.main, words, catch_exceptions=False)
    rows = json.loads(out.read_text())["rows"]
    curves = [row for row in rows if "differ" in row]
    assert curves and all(len(row["differ"]) == script.POINTS for row in curves)
    assert all(row["evaluations"] >= 3 for row in curves)
    assert f"{len(curves)} of {len(rows)} layers interpolate" in done.output
    shorter = {**json.loads(out.read_text()), "rows": rows[1:]}
    out.write_text(json.dumps(shorter))
    again = CliRunner().invoke(script.main, words, catch_exceptions=False)
    assert again.stderr.count(": done") + again.stderr.count("interpolate\n") <= 1
    repeated = json.loads(out.read_text())["rows"]
    assert sorted(repeated, key=str) == sorted(rows, key=str)  # the same to the last digit
    other = CliRunner().invoke(script.main, [*words, "--kept", "9"])
    assert other.exit_code == 2 and "made otherwise" in other.output


def test_the_table_counts_points_within_the_stated_error(script: ModuleType) -> None:
    row = {"layer": "a", "tower": "vision", "reach": 0.4, "evaluations": 4, "checked": 0,
           "images": 100, "stated": 0.037, "differ": [0] * 39 + [4]}  # fmt: skip
    assert script.within(row).tolist() == [True] * 39 + [False]
    text = script.table([row, {"layer": "b", "why": "does not interpolate"}])
    assert "97.5% are within" in text and "1 of 2 layers interpolate" in text
    assert "100.0% are within" in script.table([{**row, "differ": [3] * 40}])  # control
