"""`slsgu compare` and what others have put in its way: files in its folder, another comparison at
the same time, a method's file that is none, models without information."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.commands import Ran
from safetensors.torch import load_file, save_file

from slsgu.utils.alone import alone

Cli = Callable[..., Ran]
Words = Callable[..., list[str]]
NAMES = ("compare.json", "compare.csv", "compare.md", "compare-quality.png")


@pytest.fixture
def words(taught_dir: Path, photos: Path) -> Words:
    def compare(concept: str = "beagle", *more: str | Path, model: Path = taught_dir) -> list[str]:
        few = [x for split in ("gradient", "search", "test") for x in (f"--{split}-images", "4")]
        return [
            "compare", "--concept", concept, "--model", f"local-dir:{model}", "--quick", *few,
            "--data", str(photos / "images"), "--taxonomy", str(photos / "pets.yaml"),
            "--workers", "0", "--out", "out", *map(str, more or ("--methods", "nothing")),
        ]  # fmt: skip

    return compare


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# -- whose folder it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("compare.json", '{"mine": 1}', "is not of slsgu compare, or damaged (schema is missing)"),
        ("compare.json", "my own", "is not of slsgu compare, or damaged"),
        ("compare.csv", "my own", "is not of a comparison, for there is no compare.json beside it"),
        ("compare-quality.png", "my own", "is not of a comparison"),
    ],
)
def test_files_of_somebody_else_stay(
    cli: Cli, words: Words, tmp_path: Path, name: str, text: str, told: str
) -> None:
    (out := tmp_path / "out").mkdir()
    (out / name).write_text(text)
    done = cli(*words())
    assert done.code == 1 and f"out/{name} {told}" in done.err
    assert "give another --out, or move away" in done.err and contents(out) == {name: text.encode()}
    (out / name).rename(out / "notes.txt")
    assert cli(*words()).code == 0  # control: other names are nobody's business


def test_a_folder_is_of_one_concept_and_one_model(
    cli: Cli, words: Words, tmp_path: Path, tiny_dir: Path
) -> None:
    assert cli(*words()).code == 0
    before = contents(tmp_path / "out")
    done = cli(*words("pug"))
    assert done.code == 1 and "out/compare.json compares methods on beagle, not pug" in done.err
    done = cli(*words(model=tiny_dir))
    assert done.code == 1 and "compares methods on beagle in another model, local-dir" in done.err
    assert contents(tmp_path / "out") == before
    done = cli(*words("beagle", "--methods", "nothing,merge"))  # control: more of the same
    assert done.code == 0 and len(json.loads((tmp_path / "out/compare.json").read_text())["rows"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_a_file_stays(cli: Cli, words: Words, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    os.mkfifo(out / "compare.csv")
    done = cli(*words())
    assert done.code == 1 and "out/compare.csv is a pipe or a device" in done.err
    assert (out / "compare.csv").is_fifo()


def test_what_a_kill_has_left_is_no_obstacle(cli: Cli, words: Words, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    (out / "compare.json").symlink_to(".current/compare.json")  # which is not there yet
    assert cli(*words()).code == 0 and json.loads((out / "compare.json").read_text())["rows"]
    (out / "compare.csv").unlink()
    (out / "compare.csv").symlink_to("elsewhere")  # control: somebody else's link
    done = cli(*words())
    assert done.code == 1 and "compare.csv is a link to nothing" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks of folders")
def test_one_comparison_at_a_time(cli: Cli, words: Words, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    with alone(out, "a test"):
        done = cli(*words())
    assert done.code == 1 and "another slsgu compare is at work in out: wait until" in done.err
    assert not contents(out)
    assert cli(*words()).code == 0  # control


def test_a_disk_that_refuses_leaves_the_files_of_one_run(
    cli: Cli, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slsgu.report.plots.compare as plots

    assert cli(*words()).code == 0
    out = tmp_path / "out"
    before = contents(out)
    save = plots.save_figures

    def refusing(value: object, folder: Path) -> list[Path]:
        save(value, folder)  # type: ignore[arg-type]
        raise OSError(27, "File too large")

    with monkeypatch.context() as patch:
        patch.setattr(plots, "save_figures", refusing)
        done = cli(*words("beagle", "--methods", "nothing,merge"))
    assert done.code == 1 and "cannot write out" in done.err and contents(out) == before
    assert not list(out.rglob("*.part"))
    done = cli(*words("beagle", "--methods", "nothing,merge"))  # control
    assert done.code == 0 and contents(out) != before


def test_a_damaged_cell_is_told_and_made_again(cli: Cli, words: Words, tmp_path: Path) -> None:
    assert cli(*words("beagle", "--methods", "merge")).code == 0
    (path,) = (tmp_path / "out" / "cells").iterdir()
    value = json.loads(whole := path.read_text())
    value["score"]["forget_fine"] = -5
    path.write_text(json.dumps(value))
    done = cli(*words("beagle", "--methods", "merge"))
    told = f"note: merge runs again: out/cells/{path.name}: score.forget_fine is -5, and not a"
    assert done.code == 0 and told in done.err and "-5" not in path.read_text()
    assert json.loads(path.read_text())["score"] == json.loads(whole)["score"]
    assert "note: merge" not in cli(*words("beagle", "--methods", "merge")).err  # control
    del value["score"]["quality"]
    value["score"]["forget_fine"] = 0.5
    path.write_text(json.dumps(value))
    assert "score.quality is missing" in cli(*words("beagle", "--methods", "merge")).err


def test_processes_that_do_nothing_are_told(
    cli: Cli, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsgu.cli.compare.spread", lambda jobs, folder: None)
    both = ["--methods", "nothing,merge", "--jobs"]
    done = cli(*words("beagle", *both, "2"))
    told = "note: the processes of --jobs have left 2 of 2 runs undone, which this one makes up for"
    assert done.code == 0 and f"{told}: nothing, merge" in done.err
    assert "undone" not in cli(*words("beagle", *both, "2")).err  # control: by now it is done


# -- a method of the user -------------------------------------------------------------------------


def test_an_exit_is_no_success(cli: Cli, words: Words, tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("import sys\nsys.exit(0)\n")
    done = cli(*words("beagle", "--method", own))
    assert done.code == 2 and "mine.py cannot be run: it ended with SystemExit: 0" in done.err
    own.write_text("import sys\ndef method(*_):\n    sys.exit(0)\n")
    done = cli(*words("beagle", "--method", own))
    assert done.code == 1 and "no method has made an edit\nmine failed: method() ended" in done.err
    done = cli(*words("beagle", "--method", own, "--methods", "nothing"))  # the others go on
    assert done.code == 0 and "mine failed: method() ended with SystemExit: 0" in done.out


def test_what_its_errors_quote_is_safe(cli: Cli, words: Words, tmp_path: Path) -> None:
    own = tmp_path / "mi\u202ene.py"
    own.write_text("def method(*_):\n    raise ValueError('a\\x1b]0;own\\x07\\nb\\ud800')\n")
    done = cli(*words("beagle", "--method", own, "--methods", "nothing"))
    assert (
        done.code == 0 and "mi\ufffdne failed: method() ended with ValueError: a\ufffd" in done.out
    )
    files = [
        path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".md", ".csv")
    ]
    assert len(files) >= 5
    for text in (done.out, done.err, *(path.read_text() for path in files)):
        assert not set(text) & set("\x1b\x07\u202e")


def test_it_can_close_no_stream_of_others(cli: Cli, words: Words, tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("import sys\ndef method(*_):\n    sys.stdout.close()\n    sys.stderr.close()\n")
    done = cli(*words("beagle", "--method", own, "--methods", "nothing"))
    assert done.code == 0 and "mine failed: method() returned None" in done.out
    assert "[2/2] mine" in done.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_its_file_is_a_regular_file_of_sensible_size(
    cli: Cli, words: Words, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    done = cli(*words("beagle", "--method", "pipe.py"))
    assert done.code == 2 and "pipe.py: it is a pipe or a device" in done.err
    (tmp_path / "large.py").touch()
    os.truncate(tmp_path / "large.py", 1 << 40)
    done = cli(*words("beagle", "--method", "large.py"))
    assert done.code == 2 and "large.py: it holds 1,099,511,627,776 bytes" in done.err


def test_what_was_compiled_of_its_file_before_is_not_run(
    cli: Cli, words: Words, tmp_path: Path
) -> None:
    import py_compile

    own = tmp_path / "mine.py"
    own.write_text("import os\nos.mkdir('canary')\n")
    kept = py_compile.compile(
        str(own), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    own.write_text("x = 1\n")
    assert "defines no function `method" in cli(*words("beagle", "--method", own)).err
    assert kept is not None and Path(kept).exists() and not (tmp_path / "canary").exists()


# -- numbers, names and models --------------------------------------------------------------------


def test_names_of_data_sets_are_safe_wherever_they_stand(
    cli: Cli, words: Words, photos: Path, tmp_path: Path
) -> None:
    also = ["--also", f"<b>|\x1b[2J\u202e\udcff={photos / 'images'}", "--methods", "nothing"]
    done = cli(*words("beagle", *also))
    assert done.code == 0 and "also <b>|\ufffd[2J\ufffd" in done.out
    assert "note: nothing" not in cli(*words("beagle", *also)).err  # its cell is as it was
    texts = {name: (tmp_path / "out" / name).read_text() for name in NAMES[:3]}
    for text in texts.values():
        assert "|" in text and not set(text) & set("\x1b\u202e")
    assert "also &lt;b&gt;\\|\ufffd\\[2J\ufffd" in texts["compare.md"]
    assert "also_<b>|\ufffd[2J\ufffd" in texts["compare.csv"]  # control


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--methods", ","], "--methods , names no method. There are slsgu,"),
        (["--methods", " , "], "names no method"),
        (["--seeds", "1" + "0" * 20], "is not in the range 1<=x<=100"),
        (["--cap", "1" + "0" * 21], "is not in the range 32<=x<=1000000"),
    ],
)
def test_values_that_nobody_means_are_refused(
    cli: Cli, words: Words, more: list[str], told: str
) -> None:
    done = cli(*words("beagle", *more))
    assert done.code == 2 and told in done.err


def test_a_share_that_nobody_gave_is_refused(
    cli: Cli, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("x", "2/2", "0/0", "1/1000"):
        monkeypatch.setenv("_SLSGU_COMPARE_SHARE", value)
        done = cli(*words())
        assert done.code == 2 and f"_SLSGU_COMPARE_SHARE is '{value}'" in done.err


@pytest.mark.parametrize("which", ["all weights", "text_projection"])
def test_a_model_without_information_is_refused(
    cli: Cli, words: Words, taught_dir: Path, tmp_path: Path, which: str
) -> None:
    import shutil

    model = Path(shutil.copytree(taught_dir, tmp_path / "model"))
    path = model / "open_clip_model.safetensors"
    state = load_file(path)
    gone = state if which == "all weights" else [which]
    save_file({**state, **{name: torch.zeros_like(state[name]) for name in gone}}, path)
    done = cli(*words(model=model))
    assert done.code == 1 and "the embeddings hold no information" in done.err
    assert "there is nothing to forget" in done.err and "smaller" not in done.err
    assert not list((tmp_path / "out").glob("compare*"))
