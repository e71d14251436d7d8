"""`slsgu patch`: patches are added, shown and applied, from files and from run folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Ran
from safetensors.torch import load_file

import slsgu
from slsgu.patch.patch import Patch

Cli = Callable[..., Ran]
WEIGHTS = "open_clip_model.safetensors"


def make(
    folder: Path, weights: Path, concept: str, layer: str, model: str = "tiny", sha: str = ""
) -> Path:
    """A run folder with a small patch of one layer.

    Args:
        model: what the patch says that it was made for.
        sha: the hash of that model; by default the one that the weights have.
    """
    original = load_file(weights)[layer]
    sha = sha or slsgu.load(f"local-dir:{weights.parent}", device="cpu").sha256
    folder.mkdir()
    size = 0.01 * len(concept)
    Patch(
        {layer: torch.full(original.shape, size)},
        {layer: original},
        {
            "request": {"paths": [concept]},
            "model": {"name": model, "pretrained": None, "sha256": sha},
            "version": "0.1.0",
            "step_size": size,
        },
    ).save(folder / "patch.safetensors")
    return folder


@pytest.fixture
def runs(taught_dir: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two run folders whose patches change the same layer."""
    weights = taught_dir / WEIGHTS
    return (
        make(tmp_path / "one", weights, "dog/beagle", "visual.proj"),
        make(tmp_path / "two", weights, "dog/pug", "visual.proj"),
    )


def moved(model: Path, like: Path) -> torch.Tensor:
    """By how much a model's layer differs from another's."""
    return load_file(model / WEIGHTS)["visual.proj"] - load_file(like / WEIGHTS)["visual.proj"]


def test_patches_are_merged_and_the_sum_does_what_both_do(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path, tmp_path: Path
) -> None:
    one, two = runs
    ran = cli("patch", "merge", one, two / "patch.safetensors", "--out", "sum.safetensors")
    assert ran.code == 0 and "forgets    dog/beagle, dog/pug" in ran.out
    assert cli("patch", "apply", "sum.safetensors", taught_dir, "--out", "both").code == 0
    wanted = sum(Patch.load(run / "patch.safetensors").delta["visual.proj"] for run in runs)
    assert torch.allclose(moved(tmp_path / "both", taught_dir), torch.as_tensor(wanted), atol=1e-6)
    # Several patches given to `apply` are the same as their sum, and go out together again.
    assert cli("patch", "apply", one, two, taught_dir, "--out", "direct").code == 0
    both, direct = (tmp_path / name / WEIGHTS for name in ("both", "direct"))
    assert both.read_bytes() == direct.read_bytes()
    assert cli("patch", "revert", two, one, "direct", "--out", "back").code == 0
    assert (tmp_path / "back" / WEIGHTS).read_bytes() == (taught_dir / WEIGHTS).read_bytes()
    # Control: one alone does less, and neither comes out alone of what holds both.
    assert cli("patch", "apply", one, taught_dir, "--out", "less").code == 0
    assert (tmp_path / "less" / WEIGHTS).read_bytes() != both.read_bytes()
    ran = cli("patch", "revert", one, "both", "--out", "no")
    assert ran.code == 1 and "applied together" in ran.err


def test_a_second_patch_of_one_layer_names_the_command_that_merges(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path
) -> None:
    one, two = runs
    assert cli("patch", "apply", one, taught_dir, "--out", "first").code == 0
    ran = cli("patch", "apply", two, "first", "--out", "second")
    assert ran.code == 1 and "slsgu patch merge A B --out C" in ran.err
    useful, _, rest = ran.err.partition("slsgu patch merge A B --out C")
    assert "not made for" not in useful and "but for tiny" in rest  # what may be done comes first


def test_a_patched_model_replaces_no_link(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path, tmp_path: Path
) -> None:
    for name, target in (("loop", "loop"), ("nowhere", "none")):
        (tmp_path / name).symlink_to(target)
        ran = cli("patch", "apply", runs[0], taught_dir, "--out", name)
        assert ran.code == 1 and f"{name} exists already" in ran.err
        assert (tmp_path / name).is_symlink()
    assert cli("patch", "apply", runs[0], taught_dir, "--out", "new").code == 0  # control


def test_a_sum_replaces_nothing_unless_forced(
    cli: Cli, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "there.safetensors").write_text("mine")
    words = ["patch", "merge", *runs, "--out"]
    ran = cli(*words, "there.safetensors")
    assert ran.code == 1 and "exists already" in ran.err
    assert (tmp_path / "there.safetensors").read_text() == "mine"
    (tmp_path / "folder.safetensors").mkdir()
    ran = cli(*words, "folder.safetensors", "--force")
    assert ran.code == 1 and "is a folder, not a regular file" in ran.err
    assert cli(*words, "there.safetensors", "--force").code == 0  # control
    assert Patch.load(tmp_path / "there.safetensors").layers == ("visual.proj",)
    ran = cli("patch", "merge", runs[0], "--out", "alone.safetensors")
    assert ran.code == 2 and "at least two" in ran.err
    assert not (tmp_path / "alone.safetensors").exists()


def test_patches_that_do_not_go_together(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    foreign = make(tmp_path / "foreign", tiny_dir / WEIGHTS, "cat", "visual.proj", model="other")
    ran = cli("patch", "merge", runs[0], foreign, "--out", "sum.safetensors")
    assert ran.code == 1 and "different weights of visual.proj" in ran.err
    assert not (tmp_path / "sum.safetensors").exists()
    # On other layers they may go together; that the models differ is told.
    text = make(tmp_path / "text", taught_dir / WEIGHTS, "cat", "text_projection", "other", "f00d")
    ran = cli("patch", "merge", runs[0], text, "--out", "sum.safetensors")
    assert ran.code == 0 and "models that differ (tiny " in ran.err and ", other f00d)" in ran.err


def test_a_run_folder_stands_for_its_patch(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path, tmp_path: Path
) -> None:
    by_folder, by_file = (cli("patch", "show", x) for x in (runs[0], runs[0] / "patch.safetensors"))
    assert by_folder.code == 0 and by_folder.out == by_file.out
    assert "forgets    dog/beagle" in by_folder.out
    assert json.loads(cli("patch", "show", runs[0], "--json").out)["request"]["paths"]
    (tmp_path / "empty").mkdir()
    for words in (["show", "empty"], ["apply", "empty", taught_dir, "--out", "x"]):
        ran = cli("patch", *words)
        assert ran.code == 1 and "empty is a folder without patch.safetensors" in ran.err


def test_figures_are_shown_in_words(cli: Cli, tmp_path: Path) -> None:
    weight = torch.ones(2)
    figures = {"forget_fine": 0.9, "retain_coarse": None}
    test = {"before": figures, "after": {**figures, "forget_fine": 0.1}, "q_u": 0.8}
    Patch({"w": weight.clone()}, {"w": weight}, {"method": "mine", "test": test}).save(
        tmp_path / "p"
    )
    out = cli("patch", "show", "p").out
    assert "requested images at the finest level" in out and " 90.0% ->  10.0%" in out
    assert "forget_fine" not in out and "None" not in out


def test_files_that_hold_the_same_patch_are_named(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path
) -> None:
    one, two = runs
    file = one / "patch.safetensors"
    patch = Patch.load(file)
    for name, value in (("half", 0.5 * patch), ("twice", patch + patch)):
        value.save(one.parent / f"{name}.safetensors")
    Patch(patch.delta, patch.original).save(one.parent / "anonymous.safetensors")
    for words in ((one, file), ("anonymous.safetensors", "anonymous.safetensors")):
        ran = cli("patch", "merge", *words, "--out", "sum.safetensors")
        assert ran.code == 1 and f"{Path(words[1]).name} is given twice" in ran.err
    for other in ("half.safetensors", "twice.safetensors"):
        ran = cli("patch", "apply", one, other, taught_dir, "--out", "sum")
        assert ran.code == 1 and f"{file} and {other} hold the same patch" in ran.err
    # Control: another patch is added, and a sum that was made on purpose is a patch like others.
    assert cli("patch", "merge", one, two, "--out", "sum.safetensors").code == 0
    assert cli("patch", "show", "twice.safetensors").code == 0
    ran = cli("patch", "merge", one, "anonymous.safetensors", "--out", "third.safetensors")
    assert ran.code == 0 and "None" not in ran.err and "unknown" in ran.err


def test_a_scale_that_leaves_little_of_a_layer_is_told(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path
) -> None:
    ran = cli("patch", "apply", runs[0], taught_dir, "--out", "far", "--scale", "1e20")
    assert ran.code == 0 and "Warning: visual.proj is changed by" in ran.err
    assert "times its norm" in ran.err and "the scale" in ran.err
    ran = cli("patch", "revert", runs[0], "far", "--out", "back", "--scale", "1e20")
    assert ran.code == 0 and "all weights are those of the original" in ran.out and not ran.err
    ran = cli("patch", "apply", runs[0], taught_dir, "--out", "near", "--scale", "2")  # control
    assert ran.code == 0 and not ran.err


def test_a_model_is_not_written_into_itself(
    cli: Cli, runs: tuple[Path, Path], taught_dir: Path
) -> None:
    before = sorted(taught_dir.iterdir())
    ran = cli("patch", "apply", runs[0], taught_dir, "--out", taught_dir / "new")
    assert ran.code == 1 and "give an --out elsewhere" in ran.err
    assert sorted(taught_dir.iterdir()) == before
