"""Models that cannot be used.

Bad input gets a clear message and the right exit status; nothing is lost, and never a traceback:
the `cli` fixture fails on any exception that is not an exit status.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bad_input import STEP, WEIGHTS, files, refused, with_option
from helpers.commands import Ran
from safetensors.torch import load_file, save_file

Cli = Callable[..., Ran]


def copy_model(taught_dir: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """The taught model with other tensors."""
    shutil.copytree(taught_dir, folder)
    tensors: dict[str, Any] = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return f"local-dir:{folder}"


def test_a_checkpoint_that_does_not_fit(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path
) -> None:
    def change(tensors: dict[str, Any]) -> None:
        del tensors["visual.proj"]
        tensors["nonsense"] = torch.zeros(2)
        tensors["text_projection"] = torch.zeros(3, 3)

    model = copy_model(taught_dir, tmp_path / "model", change)
    ran = cli("apply", "--concept", "beagle", *with_option(world, "--model", model))
    refused(ran, "does not fit", "1 missing", "visual.proj", "1 unexpected", "nonsense")
    refused(ran, "1 of another shape", "text_projection (3, 3)")


def test_weights_that_are_no_numbers(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path
) -> None:
    model = copy_model(
        taught_dir, tmp_path / "model", lambda tensors: tensors["visual.proj"].fill_(torch.nan)
    )
    for command in (["apply", "--concept", "beagle"], ["evaluate"]):
        ran = cli(*command, *with_option(world, "--model", model))
        refused(ran, "visual.proj holds values that are not numbers")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64])
def test_damaged_weights(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path, content: bytes
) -> None:
    shutil.copytree(taught_dir, tmp_path / "model")
    (tmp_path / "model" / WEIGHTS).write_bytes(content)
    ran = cli("evaluate", *with_option(world, "--model", f"local-dir:{tmp_path / 'model'}"))
    refused(ran, "again")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        '{"model_cfg": 3}',
        '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}',
        '{"model_cfg": {"embed_dim": "x", "vision_cfg": {"layers": -1}, "text_cfg": {"y": 1}}}',
        "[" * 100_000,
    ],
    ids=range(7),
)
def test_damaged_configurations(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path, config: str
) -> None:
    shutil.copytree(taught_dir, tmp_path / "model")
    (tmp_path / "model" / "open_clip_config.json").write_text(config)
    refused(cli("evaluate", *with_option(world, "--model", f"local-dir:{tmp_path / 'model'}")))


def test_a_configuration_with_odd_preprocessing(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path
) -> None:
    config = json.loads((taught_dir / "open_clip_config.json").read_text())
    shutil.copytree(taught_dir, tmp_path / "model")
    world = with_option(world, "--model", f"local-dir:{tmp_path / 'model'}")
    for preprocess in (3, [], {"mean": "x"}, {"std": [0, 0, 0]}, {"interpolation": "nonsense"}):
        config["preprocess_cfg"] = preprocess
        (tmp_path / "model" / "open_clip_config.json").write_text(json.dumps(config))
        ran = cli("evaluate", *world)
        assert ran.code == 0 or "Error: " in ran.err


def test_nothing_is_saved_inside_the_models_own_folder(
    cli: Cli, world: list[str], made: tuple[Path, Path], tmp_path: Path
) -> None:
    model = Path(world[world.index("--model") + 1].removeprefix("local-dir:"))
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    before = files(copy)
    options = with_option(world, "--model", f"local-dir:{copy}")
    ran = cli("apply", "--concept", "beagle", *options, *STEP, "--save-model", copy / "inside")
    refused(ran, "lies in", "--save-model elsewhere")
    for form, name in (("local-dir", "x"), ("pt", "x.pt"), ("safetensors", "x.safetensors")):
        words = ("patch", "apply", made[1], copy, "--to", form, "--out")
        refused(cli(*words, copy / name), "lies in", "--out elsewhere")
        assert cli(*words, tmp_path / name).code == 0  # control
    assert files(copy) == before
