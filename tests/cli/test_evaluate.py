"""`slsgu evaluate`: every image is measured, but for those that the patch was made from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import Ran
from PIL import Image

import slsgu
from slsgu.patch.patch import Patch
from slsgu.task.find import find_images
from slsgu.task.settings import DataSettings

Cli = Callable[..., Ran]
STEP = ["--layer", "visual.proj", "--step", "5", "--force"]


def without(words: list[str], option: str) -> list[str]:
    index = words.index(option)
    return words[:index] + words[index + 2 :]


def with_data(world: list[str], data: Path | str) -> list[str]:
    return [*without(world, "--data"), "--data", str(data)]


def counted(ran: Ran) -> int:
    """How many images were measured at the finest level."""
    assert ran.code == 0, ran
    return sum(row["count"] for row in json.loads(ran.out)["levels"] if row["level"] == 2)


@pytest.fixture
def run(cli: Cli, world: list[str], tmp_path: Path) -> Path:
    """A run that made a patch of one fixed step."""
    cli("apply", "--concept", "beagle", "--run", "run", *world, *STEP)
    assert (tmp_path / "run" / "patch.safetensors").is_file()
    return tmp_path / "run"


# -- which images -------------------------------------------------------------------------------


def test_every_image_is_measured(cli: Cli, world: list[str], photos: Path, tmp_path: Path) -> None:
    assert counted(cli("evaluate", *world, "--json")) == 80
    assert counted(cli("evaluate", *world, "--json", "--test-images", "3")) == 12
    # One image per class is enough to measure, and too few to forget with.
    for folder in (photos / "images").iterdir():
        (tmp_path / "few" / folder.name).mkdir(parents=True)
        shutil.copy(folder / "00.png", tmp_path / "few" / folder.name)
    few = with_data(world, "few")
    assert counted(cli("evaluate", *few, "--json")) == 4
    assert cli("grads", "--concept", "beagle", *few).code == 1  # control


def test_of_a_test_folder_all_is_measured_and_of_train_nothing(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    for folder in (photos / "images").iterdir():
        for number, path in enumerate(sorted(folder.iterdir())):
            part = tmp_path / "parts" / ("train" if number < 8 else "test") / folder.name
            part.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, part)
    parts = with_data(world, "parts")
    assert counted(cli("evaluate", *parts, "--json")) == 48
    # A patch was made from train/, so that all of test/ is measured with it too.
    cli("apply", "--concept", "beagle", "--run", "mine", *parts, *STEP)
    ran = cli("evaluate", "--patch", "mine/patch.safetensors", *parts, "--json")
    assert counted(ran) == 48 and json.loads(ran.out)["left_out"] == 0 and "note" not in ran.err


def test_drawings_keep_their_number() -> None:
    clip = slsgu.load()
    taxonomy = slsgu.Taxonomy.load("menagerie")
    unlimited = DataSettings(limits=slsgu.Limits(test=None))
    assert len(find_images(clip, None, taxonomy, unlimited).samples) == 46 * 50
    few = DataSettings(limits=slsgu.Limits(test=2))
    assert len(find_images(clip, None, taxonomy, few).samples) == 46 * 2  # control


@pytest.mark.parametrize("source", ["the file", "the folder", "the run"])
def test_images_that_the_patch_was_made_from_are_left_out(
    cli: Cli, world: list[str], run: Path, source: str
) -> None:
    words = {
        "the file": ["--patch", run / "patch.safetensors", *world],
        "the folder": ["--patch", run, *world],
        "the run": ["--run", run],
    }[source]
    ran = cli("evaluate", *words, "--json")
    value = json.loads(ran.out)
    result = json.loads((run / "result.json").read_text())
    assert value["left_out"] == 56 and "note: 56 image(s) are left out" in ran.err
    assert value["levels"] == result["levels"]  # the same images in the same order
    assert value["q_u"] == result["q_u"]
    assert value["intervals"].items() <= result["intervals"].items()
    # Control: without the patch nothing is left out.
    assert counted(cli("evaluate", *world, "--json")) == 80


def test_another_seed_measures_none_of_them_either(cli: Cli, world: list[str], run: Path) -> None:
    first = json.loads(cli("evaluate", "--run", run, "--json").out)
    other = json.loads(cli("evaluate", "--run", run, "--seed", "3", "--json").out)
    by_file = cli("evaluate", "--patch", run / "patch.safetensors", *world, "--seed", "3", "--json")
    for value in (other, json.loads(by_file.out)):
        assert value["left_out"] == 56 and value["after"] == first["after"]


def test_numbers_of_images_that_only_the_run_knows(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    """A patch does not say how many images it was made from; its run does."""
    words = ["--gradient-images", "4", "--search-images", "3", "--test-images", "2"]
    cli("apply", "--concept", "beagle", "--run", "few", *world, *words, *STEP)
    ran = cli("evaluate", "--run", "few", "--json")
    assert json.loads(ran.out)["left_out"] == 28 and counted(ran) == 52 and "may be" not in ran.err
    ran = cli("evaluate", "--patch", "few/patch.safetensors", *world, "--json")
    assert json.loads(ran.out)["left_out"] is None and counted(ran) == 80
    assert "images that the patch was made from may be among those measured" in ran.err
    assert "dog/beagle" in ran.err and "--run DIR" in ran.err


def test_a_copy_in_another_file_format_is_left_out(
    cli: Cli, world: list[str], run: Path, photos: Path, tmp_path: Path
) -> None:
    for path in (photos / "images").rglob("*.png"):
        copy = tmp_path / "copies" / path.parent.name / f"{path.stem}.bmp"
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(copy)
    ran = cli("evaluate", "--run", run, "--data", "copies", "--json")
    assert counted(ran) == 24 and json.loads(ran.out)["left_out"] == 56
    assert counted(cli("evaluate", *with_data(world, "copies"), "--json")) == 80  # control


def test_a_run_whose_images_have_changed_says_so(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "images", tmp_path / "images")
    cli("apply", "--concept", "beagle", "--run", "run", *with_data(world, "images"), *STEP)
    assert "note" not in cli("evaluate", "--run", "run").err.replace("note: 56", "")  # control
    for path in sorted((tmp_path / "images" / "pug").iterdir())[:12]:
        path.unlink()
    ran = cli("evaluate", "--run", "run")
    assert ran.code == 0 and "may be among those measured: the images of the run run are" in ran.err
    shutil.rmtree(tmp_path / "images")
    ran = cli("evaluate", "--run", "run", "--data", photos / "images")
    assert ran.code == 0 and "cannot be found again" in ran.err


def test_nothing_is_left_to_measure(
    cli: Cli, world: list[str], run: Path, photos: Path, tmp_path: Path
) -> None:
    task = slsgu.make_task(
        slsgu.load(world[1], device="cpu"),
        ["beagle"],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
    )
    for sample in task.splits.gradient:
        target = tmp_path / "used" / sample.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "images" / sample.name, target)
    ran = cli("evaluate", "--run", run, "--data", "used")
    assert (
        ran.code == 1
        and "no image of beagle in used can be measured (40 left out, because" in ran.err
    )


# -- what a run says ----------------------------------------------------------------------------


def test_a_run_gives_what_is_not_typed(
    cli: Cli, world: list[str], taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "templates.txt").write_text("a bad photo of a {}\n")
    words = [*world, "--templates", "templates.txt", "--seed", "7"]
    cli("apply", "--concept", "beagle", "--run", "run", *words, *STEP)
    whole = ["evaluate", "--patch", "run/patch.safetensors", *words, "--json"]
    by_hand: dict[str, Any] = json.loads(cli(*whole).out)
    by_run = json.loads(cli("evaluate", "--run", "run", "--json").out)
    assert {**by_run, "patches": 0} == {**by_hand, "patches": 0}
    # What is typed overrides: other templates, no patch but another concept, a flat taxonomy.
    (tmp_path / "templates.txt").unlink()
    gone = cli("evaluate", "--run", "run")
    assert gone.code == 1 and "templates.txt" in gone.err
    assert cli("evaluate", "--run", "run", "--templates", "simple").code == 0
    (tmp_path / "templates.txt").write_text("a bad photo of a {}\n")
    named = json.loads(cli("evaluate", "--run", "run", "--concept", "cat", "--json").out)
    assert named["request"]["paths"] == ["cat"]
    (tmp_path / "flat.yaml").write_text("[beagle, pug, tabby, siamese]\n")
    ran = cli("evaluate", "--run", "run", "--taxonomy", "flat.yaml", "--concept", "pug", "--json")
    assert json.loads(ran.out)["request"]["paths"] == ["pug"]
    # A typed model brings its own weights: the run's checkpoint file does not go with it.
    assert cli("evaluate", "--run", "run", "--model", f"local-dir:{taught_dir}").code == 0


def test_a_run_without_a_patch_measures_the_model(cli: Cli, world: list[str]) -> None:
    cli("grads", "--concept", "beagle", "--run", "run", *world)
    ran = cli("evaluate", "--run", "run", "--json")
    value = json.loads(ran.out)
    assert value["patches"] == [] and value["before"] == value["after"]
    assert value["request"]["paths"] == ["dog/beagle"] and value["left_out"] == 56
    assert "accuracy" in cli("evaluate", "--run", "run").out


def test_a_run_whose_patch_is_no_file_is_not_measured_without_it(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    cli("grads", "--concept", "beagle", "--run", "run", *world)
    patch = tmp_path / "run" / "patch.safetensors"
    assert cli("evaluate", "--run", "run").code == 0  # control
    os.mkfifo(patch)
    ran = cli("evaluate", "--run", "run")
    assert ran.code == 1 and "run/patch.safetensors: it is a pipe" in ran.err
    assert "it is a pipe" in cli("patch", "show", "run").err
    patch.unlink()
    patch.mkdir()
    ran = cli("evaluate", "--run", "run")
    assert ran.code == 1 and "run/patch.safetensors: it is a folder" in ran.err


def test_a_folder_that_is_no_run(cli: Cli, world: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        ran = cli("evaluate", "--run", name)
        assert ran.code == 1 and f"{name} is not a run folder" in ran.err
    ran = cli("evaluate", "--patch", "empty", *world)
    assert ran.code == 1 and "empty is a folder without patch.safetensors" in ran.err


def test_a_run_by_pairs_measures_its_test_images(
    cli: Cli, taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "images" / "beagle", tmp_path / "beagles")
    model = ["--model", f"local-dir:{taught_dir}", "--taxonomy", photos / "pets.yaml"]
    words = ["--forget", "beagles", "--retain", photos / "images", "--name", "beagle", *model]
    cli("apply", *words, "--run", "run", *STEP)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    ran = cli("evaluate", "--run", "run", "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out)["levels"] == result["levels"] and "may be" not in ran.err
    # Control: other images, by --data; those that the run used are not among them.
    assert counted(cli("evaluate", "--run", "run", "--data", photos / "images", "--json")) < 80


# -- the wrong model ----------------------------------------------------------------------------


def test_a_model_that_holds_the_patch_already(
    cli: Cli, world: list[str], taught_dir: Path, run: Path
) -> None:
    assert cli("patch", "apply", run, taught_dir, "--out", "patched").code == 0
    result = json.loads((run / "result.json").read_text())
    holds = ["--model", "local-dir:patched"]
    ran = cli("evaluate", "--patch", run, *without(world, "--model"), *holds)
    assert ran.code == 1 and "applied already" in ran.err and "Leave --patch out" in ran.err
    ran = cli("evaluate", "--run", run, *holds, "--json")
    value = json.loads(ran.out)
    assert "holds the patch of the run already" in ran.err and value["left_out"] == 56
    assert value["before"] == value["after"] == result["after"] != result["before"]


def test_the_drawings_of_a_run_are_measured_on_a_model_that_is_typed(
    cli: Cli, tmp_path: Path
) -> None:
    """The embedded model has the drawings as its default; a patched copy of it has none."""
    words = ["--gradient-images", "2", "--search-images", "2", "--test-images", "2"]
    cli("apply", "--concept", "beagle", "--run", "run", "--save-model", "copy", *words, *STEP)
    assert (tmp_path / "copy").is_dir()
    holds = ["--model", "local-dir:copy"]
    few = ["--test-images", "2", "--json"]
    ran = cli("evaluate", "--run", "run", *holds, *few)
    assert counted(ran) == 46 * 2 and "holds the patch of the run already" in ran.err
    # The advice of the refusal, followed: --run in place of --patch.
    ran = cli("evaluate", "--patch", "run", *holds, "--data", "menagerie")
    assert ran.code == 1 and "with --run DIR" in ran.err
    assert counted(cli("evaluate", "--run", "run", *holds, "--data", "menagerie", *few)) == 46 * 2
    ran = cli("evaluate", *holds)  # control: without the run nothing says which images
    assert ran.code == 1 and "give --data a folder" in ran.err


def test_a_patch_of_another_model_says_for_which_it_was_made(
    cli: Cli, world: list[str], run: Path, tiny_dir: Path, taught_dir: Path
) -> None:
    other = ["--model", f"local-dir:{tiny_dir}"]
    ran = cli("evaluate", "--patch", run, *without(world, "--model"), *other)
    assert ran.code == 1 and f"but for local-dir:{taught_dir}" in ran.err


def test_the_figures_of_a_sum_leave_out_the_images_of_each_part(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    for concept, seed in (("beagle", "0"), ("tabby", "5")):
        words = ["--concept", concept, "--seed", seed, "--run", concept]
        cli("apply", *words, *world, *STEP)
    alone = json.loads(cli("evaluate", "--patch", "beagle", *world, "--json").out)["left_out"]
    assert cli("patch", "merge", "beagle", "tabby", "--out", "sum.safetensors").code == 0
    for source in (["--patch", "sum.safetensors"], ["--patch", "beagle", "--patch", "tabby"]):
        ran = cli("evaluate", *source, *world, "--json")
        value = json.loads(ran.out)
        assert value["left_out"] > alone == 56 and "may be" not in ran.err
        assert value["request"]["paths"] == ["dog/beagle", "cat/tabby"]
    # Control: a part of which nothing is known.
    loaded = Patch.load(tmp_path / "sum.safetensors")
    parts = [{k: v for k, v in part.items() if k != "data"} for part in loaded.parts]
    Patch(loaded.delta, loaded.original, {"sum_of": [loaded.parts[0], parts[1]]}).save("unknown")
    ran = cli("evaluate", "--patch", "unknown", *world, "--json")
    assert json.loads(ran.out)["left_out"] is None and "cat/tabby" in ran.err
    assert torch.equal(loaded.delta["visual.proj"], Patch.load("unknown").delta["visual.proj"])
