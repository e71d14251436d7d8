"""A saved model has the configuration and the tokenizer of its source, however it is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from helpers.commands import Ran
from helpers.models import NAME, TINY_CFG
from safetensors.torch import load_file

from slsgu.errors import ModelError, SlsguError
from slsgu.models.clip import load
from slsgu.models.local_dir import save_local_dir

Cli = Callable[..., Ran]
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def files(folder: Path) -> dict[str, bytes]:
    """What lies beside the weights, by name."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != WEIGHTS}


@pytest.fixture
def source(taught_dir: Path, tmp_path: Path) -> Path:
    """A local-dir with other files beside the weights, some of which may hold weights."""
    folder = Path(shutil.copytree(taught_dir, tmp_path / "source"))
    (folder / "tokenizer.json").write_text('{"of": "its own"}  \n')
    (folder / "README.md").write_text("A model.\n")
    (folder / "gradients.safetensors").write_bytes(b"knowledge")
    (folder / "old").mkdir()
    return folder


def test_both_ways_to_write_a_patched_model_write_the_same(
    cli: Cli, world: list[str], source: Path, tmp_path: Path
) -> None:
    words = ["--concept", "beagle", "--model", f"local-dir:{source}", *world[2:], "--run", "run"]
    step = ["--layer", "visual.proj", "--step", "5", "--force"]
    saved = cli("apply", *words, *step, "--save-model", "saved")
    applied = cli("patch", "apply", "run", source, "--out", "applied")
    assert applied.code == 0
    assert files(tmp_path / "saved") == files(tmp_path / "applied")
    assert files(tmp_path / "saved").keys() == {CONFIG, "tokenizer.json", "README.md"}
    assert (tmp_path / "saved" / CONFIG).read_bytes() == (source / CONFIG).read_bytes()
    told = "not copied, since it may hold weights: gradients.safetensors, old/"
    assert told in saved.err and told in applied.err
    one, two, original = (
        load_file(folder / WEIGHTS) for folder in (tmp_path / "saved", tmp_path / "applied", source)
    )
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not torch.equal(one["visual.proj"], original["visual.proj"])  # control


def test_an_activation_that_was_overridden_is_saved(source: Path, tmp_path: Path) -> None:
    plain = load(f"local-dir:{source}", device="cpu")
    quick = load(f"local-dir:{source}", device="cpu", quick_gelu=True)
    assert save_local_dir(plain, tmp_path / "plain") and not save_local_dir(quick, tmp_path / "q")
    assert "quick_gelu" not in json.loads((tmp_path / "plain" / CONFIG).read_text())["model_cfg"]
    assert json.loads((tmp_path / "q" / CONFIG).read_text())["model_cfg"]["quick_gelu"] is True


def test_a_named_model_is_saved_with_all_of_its_configuration(
    names: None, weights: Path, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="does not say which activation"):
        clip = load(NAME, str(weights), device="cpu")
    save_local_dir(clip, tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / CONFIG).read_text())
    assert config == {"model_cfg": TINY_CFG, "preprocess_cfg": clip.preprocess_cfg}
    assert {"mean", "std", "size", "interpolation"} <= config["preprocess_cfg"].keys()
    model = open_clip.create_model(f"local-dir:{tmp_path / 'saved'}")
    assert torch.equal(model.visual.proj, load_file(weights)["visual.proj"])


def test_a_model_whose_folder_is_gone_is_saved_all_the_same(source: Path, tmp_path: Path) -> None:
    clip = load(f"local-dir:{source}", device="cpu")
    shutil.rmtree(source)
    assert save_local_dir(clip, tmp_path / "saved") == []
    again = load(f"local-dir:{tmp_path / 'saved'}", device="cpu")
    assert (again.sha256, again.model_cfg) == (clip.sha256, clip.model_cfg)


def test_a_copy_within_the_source_is_refused(source: Path, tmp_path: Path) -> None:
    clip = load(f"local-dir:{source}", device="cpu")
    before = sorted(source.rglob("*"))
    with pytest.raises(SlsguError, match="which is not changed"):
        save_local_dir(clip, source / "new")
    assert sorted(source.rglob("*")) == before
    assert save_local_dir(clip, tmp_path / "new") == ["gradients.safetensors", "old/"]  # control


def test_a_configuration_that_lies_elsewhere_is_not_left_out_in_silence(
    source: Path, tmp_path: Path
) -> None:
    clip = load(f"local-dir:{source}", device="cpu")
    (source / CONFIG).rename(tmp_path / "elsewhere.json")
    (source / CONFIG).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ModelError, match=f"{CONFIG} of .* is a link to a file elsewhere"):
        save_local_dir(clip, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (source / CONFIG).unlink()
    (source / CONFIG).hardlink_to(tmp_path / "elsewhere.json")
    save_local_dir(clip, tmp_path / "out")  # control
    assert (tmp_path / "out" / CONFIG).is_file()
