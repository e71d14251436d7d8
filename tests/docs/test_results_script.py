"""The script behind docs/results.md: rows that were made with something else are not taken over."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "results" / "q_u.py"
LEAVES = ("dog/beagle", "dog/pug", "cat/tabby", "cat/siamese")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, with runs that take no time."""
    spec = importlib.util.spec_from_file_location("q_u_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "q_u_script", module)
    spec.loader.exec_module(module)
    made: list[str] = []

    def run(clip: Any, concept: Any, shelf: Any, **where: Any) -> dict[str, Any]:
        made.append(concept.key)
        row = {"layer": "visual.proj", "success": True, "before": {"forget_fine": 1.0}}
        return {**row, "q_u": 0.9, "interval": [0.8, 1.0]}

    monkeypatch.setattr(module, "run", run)
    module.made = made  # type: ignore[attr-defined]
    yield module


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    return shutil.copytree(photos, tmp_path / "photos")


@pytest.fixture
def go(
    script: ModuleType, taught_dir: Path, data: Path, tmp_path: Path
) -> Callable[..., tuple[Result, list[str]]]:
    """Run the script; returns what it said and the requests it carried out."""

    def go(*words: str | Path, model: Path = taught_dir) -> tuple[Result, list[str]]:
        script.made.clear()
        fixed = ["leaves", "--model", f"local-dir:{model}", "--data", str(data / "images")]
        fixed += ["--taxonomy", str(data / "pets.yaml"), "--out", str(tmp_path / "out.json")]
        done = CliRunner().invoke(script.main, [*fixed, *map(str, words)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done, list(script.made)

    return go


def test_started_again_it_goes_on(go: Any, tmp_path: Path) -> None:
    done, made = go("--mode", "default")
    assert done.exit_code == 0 and made == [*LEAVES] and "| dog/beagle | 100 | 90.0" in done.stdout
    assert go("--mode", "default")[1] == []
    value = json.loads((tmp_path / "out.json").read_text())
    del value["rows"]["dog/pug"]
    (tmp_path / "out.json").write_text(json.dumps(value))
    assert go("--mode", "default")[1] == ["dog/pug"]
    done, made = go("--mode", "default", "--mode", "paper")  # another mode is added
    assert done.exit_code == 0 and made == [*LEAVES]
    assert go("--mode", "paper")[1] == []


def change_pixels(model: Path, data: Path) -> None:
    Image.new("RGB", (32, 32), (1, 2, 3)).save(data / "images" / "pug" / "00.png")


def change_taxonomy(model: Path, data: Path) -> None:
    (data / "pets.yaml").write_text("dog: [beagle, pug]\ncat: {tabby: , siamese: {$prompts: [x]}}")


def change_configuration(model: Path, data: Path) -> None:
    path = model / "open_clip_config.json"
    path.write_text(path.read_text().replace("bilinear", "bicubic"))


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        (change_pixels, [], "made with other data of default: "),
        (change_taxonomy, [], "made with other taxonomy: "),
        (change_configuration, [], "made with other configuration: "),
        ("model", [], "made with other model: "),
        ("version", [], "made with other version: "),
        (None, ["--test-images", "3"], "made with other data of default, limits of default: "),
    ],
    ids=["data", "taxonomy", "configuration", "model", "version", "settings"],
)
def test_rows_made_with_something_else_are_refused(
    go: Any,
    make_dir: Callable[..., Path],
    taught_dir: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Any,
    words: list[str],
    told: str,
) -> None:
    model = shutil.copytree(taught_dir, tmp_path / "model")
    assert go("--mode", "default", model=model)[0].exit_code == 0
    before = (tmp_path / "out.json").read_bytes()
    assert go("--mode", "default", model=model)[1] == []  # control
    if change == "model":
        shutil.rmtree(model)
        make_dir(model, seed=5)
    elif change == "version":
        monkeypatch.setattr("slsgu.__version__", "9.9")
    elif change is not None:
        change(model, data)
    done, made = go("--mode", "default", *words, model=model)
    assert done.exit_code == 2 and made == []
    assert told in " ".join(done.stderr.split()) and "give another --out" in done.stderr
    assert (tmp_path / "out.json").read_bytes() == before


def test_two_parts_make_one_table(go: Any, tmp_path: Path) -> None:
    """Side by side, each in a file of its own; or one after the other in one file."""
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert go("--part", "1/2", "--out", one)[1] == 2 * [LEAVES[0]] + 2 * [LEAVES[2]]
    assert go("--part", "2/2", "--out", two)[1] == 2 * [LEAVES[1]] + 2 * [LEAVES[3]]
    parts, _ = go("--table", one, "--table", two)
    go("--part", "1/2")
    assert go("--part", "2/2")[1] == 2 * [LEAVES[1]] + 2 * [LEAVES[3]]
    whole, made = go("--table", tmp_path / "out.json")
    assert not made and sorted(parts.stdout.splitlines()) == sorted(whole.stdout.splitlines())
    assert all(leaf in parts.stdout for leaf in LEAVES)

    other = tmp_path / "other.json"
    go("--part", "2/2", "--out", other, "--test-images", "3")
    done, _ = go("--table", one, "--table", other)
    assert done.exit_code == 2 and "are not of one table: other data of default, " in done.stderr


def test_unfinished_rows_stand_in_no_table(go: Any, tmp_path: Path) -> None:
    go("--mode", "default")
    done, _ = go("--table", tmp_path / "out.json")  # default and paper
    assert done.exit_code == 0 and not done.stdout and "4 concept(s) are not done" in done.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"rows": {}}', '{"header": {}, "rows": {}}'])
def test_other_files_are_refused(go: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "out.json").write_text(content)
    done, made = go()
    assert done.exit_code == 2 and made == []
    assert "does not say what its rows were made with" in done.stderr
    assert (tmp_path / "out.json").read_text() == content
