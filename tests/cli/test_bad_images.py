"""Folders and images that cannot be used.

Bad input gets a clear message and the right exit status; nothing is lost, and never a traceback:
the `cli` fixture fails on any exception that is not an exit status.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.bad_input import STEP, refused, with_option
from helpers.commands import Ran
from PIL import Image

Cli = Callable[..., Ran]


def test_a_folder_without_a_leaf(cli: Cli, world: list[str], images: Path, tmp_path: Path) -> None:
    (images / "beagle").rename(images / "beegle")
    ran = cli("apply", "--concept", "pug", *with_option(world, "--data", images))
    refused(ran, "'beegle' is not one of its classes", "did you mean 'beagle'?", "pets")
    (images / "beegle").rename(images / "dog")
    ran = cli("apply", "--concept", "pug", *with_option(world, "--data", images))
    refused(ran, "'dog' is a group of classes", "beagle, pug")
    assert not list(tmp_path.iterdir())


def test_a_leaf_without_images(cli: Cli, world: list[str], images: Path) -> None:
    world = with_option(world, "--data", images)
    shutil.rmtree(images / "tabby")
    refused(cli("grads", "--concept", "tabby", *world), "'cat/tabby'", "0 different image(s)")
    # A leaf that is not to be forgotten may be missing; it is named.
    ran = cli("grads", "--concept", "beagle", *world)
    assert ran.code == 0 and "1 of the 4 classes" in ran.err and "cat/tabby" in ran.err


def test_an_empty_folder(cli: Cli, world: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in (["apply", "--concept", "pug"], ["evaluate"], ["concepts"]):
        options = with_option(world, "--data", empty)
        options = ["--data", str(empty)] if command == ["concepts"] else options
        refused(cli(*command, *options), "is empty", "one folder for each class")
    (empty / "beagle").mkdir()
    refused(cli("evaluate", *with_option(world, "--data", empty)), "no images")


def damage(images: Path) -> list[str]:
    """Truncate, empty and replace three beagles."""
    truncated, zero, foreign = (images / "beagle" / f"{n:02d}.png" for n in range(3))
    truncated.write_bytes(truncated.read_bytes()[:200])
    zero.write_bytes(b"")
    foreign.write_text("no picture at all")
    return [f"beagle/{n:02d}.png" for n in range(3)]


def test_damaged_images_are_skipped_named_and_counted(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    names = damage(images)
    world = with_option(world, "--data", images)
    ran = cli("apply", "--concept", "beagle", *world, *STEP)
    assert "3 image(s) cannot be read" in ran.err
    assert all(f"skipped: {name}: " in ran.err for name in names)
    assert "the file is empty" in ran.err and "it is not a picture" in ran.err
    (result,) = tmp_path.glob("runs/*/result.json")
    value = json.loads(result.read_text())
    assert sorted(row["name"] for row in value["skipped"]) == names

    # The second run reuses the gradients, and names all of them all the same.
    again = cli("apply", "--concept", "beagle", *world, *STEP)
    assert "reusing" in again.err and all(f"skipped: {name}: " in again.err for name in names)

    # --dry-run does not stumble; evaluate names those of the test split.
    assert cli("apply", "--concept", "beagle", *world, "--dry-run").code == 0
    told = cli("evaluate", *world)
    assert told.code == 0
    assert told.err.count("skipped: ") == sum(f"skipped: {n}" in told.err for n in names)


def test_strict_refuses_damaged_images(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    strict = [*with_option(world, "--data", images), "--strict"]
    assert cli("grads", "--concept", "beagle", *strict).code == 0  # control
    names = damage(images)
    ran = cli("apply", "--concept", "beagle", *strict, *STEP)
    refused(ran, "strict")
    assert any(name in ran.err for name in names)
    # Also where gradients that left them out lie ready.
    loose = cli("grads", "--concept", "beagle", *strict[:-1])
    assert loose.code == 0
    if "skipped: " in loose.err:
        refused(cli("grads", "--concept", "beagle", *strict), "strict")


@pytest.mark.parametrize("command", ["grads", "apply", "evaluate"])
def test_a_set_that_becomes_empty(cli: Cli, world: list[str], images: Path, command: str) -> None:
    for path in (images / "beagle").iterdir():
        path.write_text(f"not a picture: {path.name}")
    ran = cli(command, "--concept", "beagle", *with_option(world, "--data", images))
    refused(ran, "no usable", "it is not a picture")


def test_too_few_images(cli: Cli, world: list[str], images: Path) -> None:
    for path in sorted((images / "pug").iterdir())[2:]:
        path.unlink()
    ran = cli("grads", "--concept", "pug", *with_option(world, "--data", images))
    refused(ran, "'dog/pug'", "2 different image(s)", "at least 3")


def test_names_that_are_not_utf8(cli: Cli, world: list[str], images: Path, tmp_path: Path) -> None:
    odd = os.fsencode(images / "beagle") + b"/\xff\xfe.png"
    with open(odd, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(b"broken")
    ran = cli(
        "apply", "--concept", "beagle", *with_option(world, "--data", images), *STEP, report=True
    )
    assert "report " in ran.out and "1 image(s) cannot be read" in ran.err
    assert list(tmp_path.glob("runs/*/patch.safetensors"))
    cli("grads", "--concept", "beagle", *with_option(world, "--data", images))
    # The user's own folders may be named in any bytes, as long as they are not artifacts.
    moved = images.rename(os.fsdecode(os.fsencode(images) + b"\xff"))
    ran = cli("grads", "--concept", "beagle", "--json", *with_option(world, "--data", moved))
    assert ran.code == 0 and json.loads(ran.out)["reused"]
    run = os.fsdecode(b"run-\xff")
    refused(cli("grads", "--concept", "beagle", "--run", run, *world), "not a name in UTF-8")
    refused(cli("patch", "show", run), "not found")


def test_pictures_that_claim_too_much(cli: Cli, world: list[str], images: Path) -> None:
    Image.fromarray(np.zeros((1, 5000, 3), np.uint8)).save(images / "beagle" / "strip.png")
    (images / "beagle" / "loop.png").symlink_to("loop.png")
    (images / "beagle" / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(images / "beagle" / "pipe.png")
    (images / "beagle" / "again").symlink_to(images, target_is_directory=True)
    ran = cli("apply", "--concept", "beagle", *with_option(world, "--data", images), *STEP)
    assert "patch " in ran.out and "3 image(s) cannot be read" in ran.err, ran
