"""The command line: what each command prints, writes and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Ran

from slsgu.patch.patch import Patch
from slsgu.utils.files import file_sha256

Cli = Callable[..., Ran]
COMMANDS = [
    [],
    ["concepts"],
    ["select"],
    ["grads"],
    ["pareto"],
    ["apply"],
    ["evaluate"],
    ["patch"],
    ["patch", "show"],
    ["patch", "apply"],
    ["patch", "revert"],
    ["cache"],
    ["cache", "list"],
    ["menagerie"],
]
FEW = ["--trials", "4"]


def files(folder: Path) -> set[str]:
    """Everything below a folder, by relative name; what links in it lead to once."""
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {x.as_posix() for x in names if not any(part.startswith(".files-") for part in x.parts)}


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


# -- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command(cli: Cli, command: list[str]) -> None:
    ran = cli(*command, "--help")
    assert ran.code == 0 and ran.out.startswith("Usage: slsgu") and not ran.err
    assert cli(*command, "-h").out == ran.out


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys, time, runpy\n"
        "sys.argv = ['slsgu', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('slsgu', run_name='__main__')\n"
        "except SystemExit as done:\n    assert not done.code\n"
        "assert time.process_time() < 1\n"
        "heavy = {'torch', 'open_clip', 'numpy', 'matplotlib', 'PIL', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    for command in COMMANDS[:7]:
        done = subprocess.run(
            [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    # Control: a command that does work imports them, and the same check says so.
    done = subprocess.run(
        [sys.executable, "-c", code, "concepts", "dog"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "'yaml'" in done.stderr


def test_version(cli: Cli) -> None:
    import slsgu

    assert cli("--version").out == f"slsgu, version {slsgu.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["apply"],
        ["apply", "--concept"],
        ["apply", "--concept", "pug", "--search", "best"],
        ["apply", "--concept", "pug", "--nonsense"],
        ["patch", "apply", "x"],
        ["grads", "--concept", "pug", "--batch-size", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(cli: Cli, words: list[str]) -> None:
    ran = cli(*words)
    assert ran.code == 2 and not ran.out
    assert ran.err.startswith(("Usage: slsgu", "Error: ")) and "Error: " in ran.err


# -- concepts -----------------------------------------------------------------------------------


def test_concepts_are_listed_as_a_tree(cli: Cli, photos: Path) -> None:
    ran = cli("concepts", "--taxonomy", photos / "pets.yaml")
    assert ran.code == 0
    assert ran.out.splitlines() == ["dog", "  beagle", "  pug", "cat", "  tabby", "  siamese"]
    assert "4 leaves; classes: 2 at level 1, 4 at level 2" in ran.err


def test_concepts_search(cli: Cli, photos: Path) -> None:
    taxonomy = ["--taxonomy", str(photos / "pets.yaml")]
    assert cli("concepts", "BEA", *taxonomy).out == "dog/beagle\n"
    found = json.loads(cli("concepts", "dog", "--json", *taxonomy).out)
    assert [(row["name"], row["leaves"]) for row in found] == [("dog", 2)]
    none = cli("concepts", "beegle", *taxonomy)
    assert none.code == 1 and not none.out and "did you mean 'beagle'?" in none.err


def test_concepts_of_a_bundled_taxonomy(cli: Cli) -> None:
    imagenet = ("--taxonomy", "imagenet")
    (pug,) = json.loads(cli("concepts", "254", "--json", *imagenet).out)
    assert (pug["path"], pug["id"], pug["index"]) == ("animal/dog/pug", "n02110958", 254)
    assert cli("concepts", "n02110958", *imagenet).out.startswith("animal/dog/pug  (")
    assert len(cli("concepts", "n0211", *imagenet).out.splitlines()) > 10  # an id's beginning
    assert len(cli("concepts", "sunglasses", *imagenet).out.splitlines()) == 2
    lines = cli("concepts", *imagenet)
    assert "1000 leaves" in lines.err and lines.out.count("\n") > 1100
    unknown = cli("concepts", "--taxonomy", "imagnet")
    assert unknown.code == 1 and "did you mean 'imagenet'?" in unknown.err


def test_concepts_of_the_menagerie_and_of_folders(cli: Cli, photos: Path) -> None:
    assert "golden retriever" in cli("concepts").out
    assert cli("concepts", "--data", photos / "images").out.splitlines() == [
        *("beagle", "pug", "siamese", "tabby")
    ]


# -- grads and pareto ---------------------------------------------------------------------------


def test_grads_then_pareto_then_apply_reuse(cli: Cli, world: list[str], tmp_path: Path) -> None:
    first = cli("grads", "--concept", "beagle", *world)
    assert first.code == 0 and "beagle: 10 forget images" in first.out
    run = only(tmp_path, "runs/beagle-*")
    assert files(run) == {"gradients.safetensors", "request.yaml"}
    stamp = (run / "gradients.safetensors").stat().st_mtime_ns

    again = cli("grads", "--concept", "Beagle", *world, "--json")
    assert "reusing" in again.err and json.loads(again.out)["reused"] is True

    ranked = cli("pareto")
    assert ranked.code == 0 and "importance" in ranked.out and "*" in ranked.out
    assert files(run) == {"gradients.safetensors", "layers.json", "request.yaml"}
    drawn = cli("pareto", "--plot", "--json", "--run", run)
    assert drawn.code == 0
    rows = json.loads(drawn.out)
    written = json.loads((run / "layers.json").read_text())
    assert (written["concepts"], written["layers"]) == (["beagle"], rows)
    assert (run / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    assert {row["tower"] for row in rows if row["on_front"]} == {"vision", "language"}

    unmarked = (run / "pareto.png").read_bytes()
    applied = cli("apply", "--concept", "beagle", *world, *FEW)
    assert applied.code == 0 and f"reusing runs/{run.name}" in applied.err
    assert (run / "gradients.safetensors").stat().st_mtime_ns == stamp

    assert (run / "pareto.png").read_bytes() != unmarked  # now it is known what was chosen
    assert cli("pareto", "--plot", "--fast", "--run", run).code == 0
    marked = (run / "pareto.png").read_bytes()
    (run / "result.json").write_text("{")
    plain = cli("pareto", "--plot", "--fast", "--run", run)
    assert plain.code == 0 and "the chosen layer is not marked" in plain.err
    assert (run / "pareto.png").read_bytes() != marked

    # Control: another seed matters, so it is another run.
    other = cli("grads", "--concept", "beagle", *world, "--seed", "1")
    assert other.code == 0 and "reusing" not in other.err
    assert len(list(tmp_path.glob("runs/beagle-*"))) == 2


def test_gradients_that_do_not_match_are_computed_again(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    cli("grads", "--concept", "beagle", *world)
    cache = only(tmp_path, "runs/beagle-*/gradients.safetensors")
    whole = cache.read_bytes()
    cache.write_bytes(whole[:1000])
    ran = cli("grads", "--concept", "beagle", *world)
    assert ran.code == 0 and "not reusing" in ran.err and "damaged" in ran.err
    assert cache.read_bytes() == whole


def test_pareto_without_a_run_explains(cli: Cli, tmp_path: Path) -> None:
    ran = cli("pareto")
    assert ran.code == 1 and not ran.out and "slsgu grads --concept NAME" in ran.err
    assert not list(tmp_path.iterdir())
    ran = cli("pareto", "--run", "nowhere")
    assert ran.code == 1 and "there is no folder nowhere" in ran.err
    (tmp_path / "empty").mkdir()  # control: it is there, and is no run
    ran = cli("pareto", "--run", "empty")
    assert ran.code == 1 and "there is no folder" not in ran.err
    (tmp_path / "empty").rmdir()
    assert not list(tmp_path.iterdir())


def test_an_explicit_run_that_does_not_match_is_an_error(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    assert cli("grads", "--concept", "beagle", "--run", "mine", *world).code == 0
    before = (tmp_path / "mine" / "gradients.safetensors").read_bytes()
    for command in ("grads", "apply"):
        ran = cli(command, "--concept", "pug", "--run", "mine", *world)
        assert ran.code == 1 and not ran.out
        assert "was made for something else" in ran.err and "beagle" in ran.err
    assert (tmp_path / "mine" / "gradients.safetensors").read_bytes() == before
    assert files(tmp_path) == {"mine/gradients.safetensors", "mine/request.yaml"}
    assert cli("grads", "--concept", "beagle", "--run", "mine", *world).code == 0


# -- apply --------------------------------------------------------------------------------------


def test_apply_prints_the_table_and_writes_the_run(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    ran = cli("apply", "--concept", "beagle", *world, report=True)
    assert ran.code == 0
    run = only(tmp_path, "runs/*")
    assert files(run) == {
        *("gradients.safetensors", "patch.safetensors", "result.json", "report.html"),
        *("request.yaml", "layers.json"),
    }
    for word in ("beagle: ", "Q-U", "requested", "others", "forget", "keep", "patch ", "report "):
        assert word in ran.out
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert "slsgu apply --concept beagle" in (run / "report.html").read_text()


def test_apply_json_is_all_of_stdout(cli: Cli, world: list[str], tmp_path: Path) -> None:
    ran = cli("apply", "--concept", "beagle", "--json", *world)
    value = json.loads(ran.out)
    keys = {
        *("request", "model", "layer", "tower", "step_size", "direction", "forget_loss"),
        *("success", "before", "after", "counts", "levels", "quality", "utility", "q_u"),
        *("candidates", "seconds", "patch", "report"),
    }
    assert keys <= value.keys()
    four = {"forget_fine", "forget_coarse", "retain_fine", "retain_coarse"}
    assert all(value[part].keys() == four for part in ("before", "after", "counts"))
    level = {"level", "images", "before", "after", "count", "forgotten"}
    assert value["levels"] and all(level <= row.keys() for row in value["levels"])
    row = {"layer", "tower", "importance", "alignment", "step_size", "trials"}
    assert value["candidates"] and all(row <= found.keys() for found in value["candidates"])
    assert {"gradients", "search", "total"} <= value["seconds"].keys()
    assert value["request"]["concepts"] == ["beagle"] and value["success"] is True
    assert all(0 <= value[name] <= 1 for name in ("quality", "utility", "q_u"))
    assert json.loads(Path(only(tmp_path, "runs/*/result.json")).read_text()) == value
    assert Path(value["patch"]).is_file() and Path(value["report"]).is_file()


def test_an_explicit_run_is_read_once(
    cli: Cli, world: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading means hashing all of it."""
    from slsgu.gradients.gradients import Gradients

    words = ["grads", "--concept", "beagle", "--run", "mine", *world]
    assert cli(*words).code == 0
    load, read = Gradients.load, []
    monkeypatch.setattr(Gradients, "load", lambda path: read.append(path) or load(path))
    ran = cli(*words)
    assert ran.code == 0 and "reusing" in ran.err and len(read) == 1


def test_a_result_says_which_patch_it_is_of(
    cli: Cli, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs in one folder may take turns at writing; which files belong together is told."""
    command = ("apply", "--concept", "beagle", "--run", "run", *world, *FEW, "--force")
    cli(*command, report=True)
    patch, result = tmp_path / "run" / "patch.safetensors", tmp_path / "run" / "result.json"
    own = file_sha256(patch)
    assert json.loads(result.read_text())["patch_sha256"] == own
    assert own in (tmp_path / "run" / "report.html").read_text()

    save = Patch.save

    def overtaken(self: Patch, path: Path) -> None:
        save(self, path)
        save(2.0 * self, path)  # by the other run, before this one writes its result

    monkeypatch.setattr(Patch, "save", overtaken)
    cli(*command)
    assert json.loads(result.read_text())["patch_sha256"] == own != file_sha256(patch)


def test_several_concepts(cli: Cli, world: list[str], tmp_path: Path) -> None:
    ran = cli("apply", "--concept", "beagle", "--concept", "TABBY", "--json", "--force", *world)
    value = json.loads(ran.out)
    assert value["request"]["concepts"] == ["beagle", "tabby"]
    assert only(tmp_path, "runs/*").name.startswith("beagle-and-tabby-")
    assert value["counts"]["forget_fine"] == 12


def test_a_goal_that_is_not_met_exits_1_and_writes_no_patch(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    fixed = ["--layer", "visual.proj", "--step", "1e-6"]
    ran = cli("apply", "--concept", "beagle", *world, *fixed, "--save-model", "patched")
    assert ran.code == 1 and "the goal was not met" in ran.err and "No patch was written" in ran.err
    assert "visual.proj" in ran.out  # the best trade-off is shown
    run = only(tmp_path, "runs/*")
    assert files(run) == {
        *("gradients.safetensors", "layers.json"),
        *("result.json", "report.html", "request.yaml"),
    }
    assert not (tmp_path / "patched").exists() and "earlier run" not in ran.err
    value = json.loads((run / "result.json").read_text())
    assert value["patch"] is value["patch_sha256"] is None

    forced = cli(
        "apply", "--concept", "beagle", *world, *fixed, "--save-model", "patched", "--force"
    )
    assert forced.code == 1 and (run / "patch.safetensors").is_file()
    assert "because of --force" in forced.err and "because of --force" not in ran.err
    assert (tmp_path / "patched" / "open_clip_config.json").is_file()
    kept = (run / "patch.safetensors").read_bytes()
    again = cli("apply", "--concept", "beagle", *world, *fixed[:4])
    assert again.code == 1 and "patch of an earlier run is kept as" in again.err
    assert json.loads((run / "result.json").read_text())["patch_sha256"] is None  # not that one's
    assert (run / "earlier-patch.safetensors").read_bytes() == kept
    assert not (run / "patch.safetensors").exists()


def test_a_dry_run_writes_nothing(cli: Cli, world: list[str], tmp_path: Path) -> None:
    ran = cli("apply", "--concept", "beagle", "--dry-run", "--save-model", "out", *world)
    assert ran.code == 0 and "nothing was written" in ran.out and "MiB" in ran.out
    value = json.loads(cli("apply", "--concept", "beagle", "--dry-run", "--json", *world).out)
    assert value["images"] == {"forget": 10, "retain": 30, "search": 16, "test": 24}
    assert not list(tmp_path.iterdir())
    # Control: with gradients there, they are found, and the fronts are known by name.
    cli("grads", "--concept", "beagle", *world)
    before = files(tmp_path)
    value = json.loads(cli("apply", "--concept", "beagle", "--dry-run", "--json", *world).out)
    assert value["gradients_reused"] and value["candidates"]
    assert files(tmp_path) == before


# -- evaluate and patch -------------------------------------------------------------------------


@pytest.fixture
def patched(cli: Cli, world: list[str], tmp_path: Path) -> Path:
    """A patch that forgets the beagle by one fixed step."""
    ran = cli("apply", "--concept", "beagle", "--tower", "language", *world, *FEW, "--force")
    assert "patch " in ran.out, ran
    return only(tmp_path, "runs/*/patch.safetensors")


def test_evaluate(cli: Cli, world: list[str], patched: Path) -> None:
    plain = cli("evaluate", *world)
    assert plain.code == 0 and "accuracy" in plain.out and "2 (fine)" in plain.out
    value: dict[str, Any] = json.loads(cli("evaluate", "--json", *world).out)
    assert value["request"] is None and value["before"] == value["after"]
    both = cli("evaluate", "--patch", patched, *world)
    assert both.code == 0 and "before" in both.out and "Q-U" in both.out
    value = json.loads(cli("evaluate", "--patch", patched, "--json", *world).out)
    assert value["request"]["paths"] == ["dog/beagle"]
    assert value["after"]["forget_fine"] < value["before"]["forget_fine"]
    # The same images and numbers as in the result of the run that made the patch.
    result = json.loads((patched.parent / "result.json").read_text())
    assert value["levels"] == result["levels"]


def test_patch_show(cli: Cli, patched: Path) -> None:
    ran = cli("patch", "show", patched)
    assert ran.code == 0 and "forgets    dog/beagle" in ran.out and "layer " in ran.out
    value = json.loads(cli("patch", "show", "--json", patched).out)
    assert value["request"]["concepts"] == ["beagle"] and len(value["layers"]) == 1
    # A step beyond all sense, whose square float32 cannot hold.
    (1e30 * Patch.load(patched)).save("huge.safetensors")
    assert "e+" in (line := cli("patch", "show", "huge.safetensors").out.splitlines()[-1])
    assert " times its norm" in line and "%" not in line
    assert cli("patch", "show", "--json", "huge.safetensors").code == 0


def test_patch_apply_and_revert(
    cli: Cli, world: list[str], taught_dir: Path, patched: Path, tmp_path: Path
) -> None:
    ran = cli("patch", "apply", patched, f"local-dir:{taught_dir}", "--out", "local-dir:new")
    assert ran.code == 0 and "patched" in ran.out and (tmp_path / "new").is_dir()
    ran = cli("patch", "revert", patched, "new", "--out", "old")
    assert ran.code == 0 and "reverted" in ran.out
    name = "open_clip_model.safetensors"
    original = (taught_dir / name).read_bytes()
    assert (tmp_path / "old" / name).read_bytes() == original
    assert (tmp_path / "new" / name).read_bytes() != original
    # A checkpoint file alone, and half a step.
    ran = cli("patch", "apply", patched, taught_dir / name, "--out", "half.pt", "--scale", "0.5")
    assert ran.code == 0
    ran = cli("patch", "revert", patched, "half.pt", "--out", "back.safetensors")
    assert ran.code == 1 and "holds neither this patch" in ran.err  # control: the scale matters
    ran = cli("patch", "revert", patched, "half.pt", "--out", "back.safetensors", "--scale", "0.5")
    assert ran.code == 0


def test_what_is_written_to_a_reader_that_leaves(tmp_path: Path) -> None:
    """`slsgu concepts | head -1` ends quietly."""
    command = f"{sys.executable} -m slsgu concepts | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert done.stdout.startswith("animal") and "Traceback" not in done.stderr
