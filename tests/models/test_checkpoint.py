"""Checkpoint files: what is written is read back, and what cannot be read is explained."""

from __future__ import annotations

import dataclasses
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from slsgu.errors import ModelError, SlsguError
from slsgu.models.checkpoint import (
    PREFERRED,
    headers,
    read_state_dict,
    weights_file,
    write_state_dict,
)
from slsgu.models.clip import Clip, load
from slsgu.models.config import PREPROCESS_KEYS
from slsgu.models.local_dir import save_local_dir


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {
        "a.weight": torch.arange(6.0).reshape(2, 3),
        "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "steps": torch.tensor(7),
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a
    )


# -- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_round_trip(suffix: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    write_state_dict(path, tensors)
    assert same(read_state_dict(path), tensors)
    assert headers(path) == {k: (t.dtype, tuple(t.shape)) for k, t in tensors.items()}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_same_weights_same_bytes(suffix: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two", "three")]
    for path in paths:
        write_state_dict(path, tensors)
    write_state_dict(paths[2], {**tensors, "steps": torch.tensor(8)})
    one, two, three = (path.read_bytes() for path in paths)
    assert one == two != three


def test_shared_and_strided_tensors_are_written(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": base, "part": base[1], "turned": base.T, "again": base}
    write_state_dict(tmp_path / "w.safetensors", tensors)
    assert same(read_state_dict(tmp_path / "w.safetensors"), tensors)


def test_metadata_is_kept(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    like, path = tmp_path / "like.safetensors", tmp_path / "new.safetensors"
    save_file(tensors, like, metadata={"made by": "somebody"})
    for source, expected in ((like, {"made by": "somebody"}), (None, {"format": "pt"})):
        write_state_dict(path, tensors, like=source)
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == expected


def test_metadata_stands_in_one_order(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """safetensors writes several entries in another order each time."""
    said = {key: f"{key} \u00e9 \n" for key in "qwertyuiop"}
    like, written = tmp_path / "like.safetensors", []
    save_file(tensors, like, metadata=said)
    for number in range(4):
        path = tmp_path / f"{number}.safetensors"
        write_state_dict(path, tensors, like=like)
        written.append(path.read_bytes())
    assert len(set(written)) == 1
    with safe_open(path, framework="pt") as file:  # control: it says what it said
        assert file.metadata() == said
    assert same(read_state_dict(path), tensors)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_wrapper_and_prefix_are_kept(
    wrapped: bool, prefix: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    inner = {prefix + name: tensor for name, tensor in tensors.items()}
    like, path = tmp_path / "like.pt", tmp_path / "new.pt"
    torch.save({"epoch": 3, "state_dict": inner} if wrapped else inner, like)
    read = read_state_dict(like)
    assert same(read, tensors)
    write_state_dict(path, {**read, "steps": torch.tensor(8)}, like=like)
    written = torch.load(path, weights_only=True)
    if wrapped:
        assert written["epoch"] == 3
        written = written["state_dict"]
    assert written.keys() == inner.keys()
    assert written[f"{prefix}steps"] == 8


def test_in_place(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """A file is replaced while its own tensors are mapped into memory."""
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"w{suffix}"
        write_state_dict(path, tensors)
        read = read_state_dict(path)
        write_state_dict(path, read | {"steps": torch.tensor(8)}, like=path)
        assert same(read_state_dict(path), tensors | {"steps": torch.tensor(8)})
        assert same(read, tensors)


def test_a_failed_write_leaves_the_old_file(
    tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pt"
    write_state_dict(path, tensors)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SlsguError, match="no space left"):
        write_state_dict(path, {})
    assert same(read_state_dict(path), tensors)
    assert [file.name for file in tmp_path.iterdir()] == ["w.pt"]


def test_unknown_suffix(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.npz.*\.safetensors"):
        write_state_dict(tmp_path / "w.npz", tensors)
    (tmp_path / "w.npz").touch()
    with pytest.raises(ModelError, match=r"w\.npz.*\.safetensors"):
        weights_file(tmp_path / "w.npz")


# -- files that are no good -------------------------------------------------------------------


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not run",))


def _script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; archives of it are not rare
        torch.jit.script(nn.Linear(2, 2)).save(str(path))


def _cut(path: Path) -> None:
    write_state_dict(path, {"weight": torch.rand(64, 64)})
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("script.pt", _script, ["TorchScript", "'openai'", "torch.jit.load"]),
        ("code.pt", lambda p: torch.save({"w": _Code()}, p), ["run code", "state_dict()"]),
        ("old.pt", lambda p: p.write_bytes(pickle.dumps(_Code())), ["old.pt"]),
        ("module.pt", lambda p: torch.save(nn.Linear(2, 2), p), ["run code", "state_dict()"]),
        ("cut.pt", _cut, ["cannot be read", "again"]),
        ("cut.safetensors", _cut, ["cannot be read", "again"]),
        ("empty.pt", lambda p: p.touch(), ["is empty"]),
        ("empty.safetensors", lambda p: p.touch(), ["is empty"]),
        ("text.pt", lambda p: p.write_text("<html>not found"), ["cannot be read"]),
        ("text.safetensors", lambda p: p.write_text("<html>not found"), ["cannot be read"]),
        ("list.pt", lambda p: torch.save([torch.ones(2)], p), ["no state dict, but a list"]),
        ("none.pt", lambda p: torch.save({}, p), ["an empty dict"]),
        ("none.safetensors", lambda p: save_file({}, p), ["no tensors"]),
        ("other.pt", lambda p: torch.save({"epoch": 3, "w": torch.ones(2)}, p), ["'epoch'"]),
    ],
)
def test_explained(
    name: str,
    write: Callable[[Path], None],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    write(path)
    for read in (read_state_dict, headers):
        with pytest.raises(ModelError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        for word in words:
            assert word in str(caught.value)
    assert "this must not run" not in capsys.readouterr().out


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such checkpoint.*gone\.pt"):
        read_state_dict(tmp_path / "gone.pt")


# -- local-dirs -------------------------------------------------------------------------------


def test_preferred_names_in_openclips_order(tmp_path: Path) -> None:
    from open_clip.factory import _find_checkpoint_in_dir  # the order we promise to follow

    (tmp_path / "aaa.safetensors").touch()
    for name in reversed(PREFERRED):
        (tmp_path / name).touch()
        assert weights_file(tmp_path) == tmp_path / name
        assert _find_checkpoint_in_dir(tmp_path) == str(tmp_path / name)


def test_no_preferred_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no weights: put them there"):
        weights_file(tmp_path)
    (tmp_path / "gradients.safetensors").touch()
    with pytest.raises(ModelError, match=r"only gradients\.safetensors: rename"):
        weights_file(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_save_local_dir_is_the_model_again(
    dtype: torch.dtype, make_dir: Callable[..., Path], tmp_path: Path
) -> None:
    clip = load(f"local-dir:{make_dir(tmp_path / 'source', dtype=dtype)}", device="cpu")
    save_local_dir(clip, tmp_path / "saved")
    again = load(f"local-dir:{tmp_path / 'saved'}", device="cpu")
    assert again.sha256 == clip.sha256
    assert again.stored_dtypes == clip.stored_dtypes
    assert (again.model_cfg, again.preprocess_cfg) == (clip.model_cfg, clip.preprocess_cfg)
    weights = "open_clip_model.safetensors"
    source, saved = (load_file(tmp_path / d / weights) for d in ("source", "saved"))
    assert same(source, saved)
    config = json.loads((tmp_path / "saved" / "open_clip_config.json").read_text())
    assert config.keys() == {"model_cfg", "preprocess_cfg"}
    with pytest.raises(SlsguError, match="exists already"):
        save_local_dir(clip, tmp_path / "saved")


def test_all_of_the_preprocessing_is_kept(make_dir: Callable[..., Path], tmp_path: Path) -> None:
    """Down to the colour that fills a picture up; only the size is the model's."""
    source = make_dir(tmp_path / "source")
    path = source / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"] = {
        "size": 99, "mode": "RGB", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
        "interpolation": "bilinear", "resize_mode": "longest", "fill_color": 200,
    }  # fmt: skip
    path.write_text(json.dumps(config))
    wide = Image.new("RGB", (64, 16), (0, 0, 0))
    preprocess = open_clip.create_model_and_transforms(f"local-dir:{source}")[2]
    expected = preprocess(wide)
    assert float(expected[0, 0, 0]) > 1 > float(expected[0, 16, 0])  # the fill, and the picture
    clip = load(f"local-dir:{source}", device="cpu")
    save_local_dir(clip, tmp_path / "saved")
    assert (tmp_path / "saved" / path.name).read_bytes() == path.read_bytes()
    for again in (clip, load(f"local-dir:{tmp_path / 'saved'}", device="cpu")):
        assert torch.equal(again.preprocess(wide), expected)
    config["preprocess_cfg"]["fill_color"] = 0  # control
    path.write_text(json.dumps(config))
    black = load(f"local-dir:{source}", device="cpu").preprocess(wide)
    assert not torch.equal(black, expected)
    save_local_dir(clip, tmp_path / "since")  # of another source than the file that is there now
    saved = json.loads((tmp_path / "since" / "open_clip_config.json").read_text())
    assert saved["preprocess_cfg"]["fill_color"] == 200


def test_every_key_of_openclip_s_preprocessing_is_known() -> None:
    known = {field.name for field in dataclasses.fields(PreprocessCfg)}
    assert set(PREPROCESS_KEYS) == known - {"size"}


def test_saved_edit_is_saved(tiny: Clip, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny.model.get_parameter("visual.proj")[0, 0] += 1
    save_local_dir(tiny, tmp_path / "edited")
    assert load(f"local-dir:{tmp_path / 'edited'}", device="cpu").sha256 != tiny.sha256


def test_overflow_is_refused(tiny: Clip, tmp_path: Path) -> None:
    half = dataclasses.replace(tiny, stored_dtypes=dict.fromkeys(tiny.stored_dtypes, torch.float16))
    with torch.no_grad():
        tiny.model.get_parameter("visual.proj")[0, 0] = 1e6
    with pytest.raises(ModelError, match=r"visual\.proj does not fit .*float16"):
        save_local_dir(half, tmp_path / "half")
    assert not list(tmp_path.iterdir())
    save_local_dir(tiny, tmp_path / "full")  # control: fp32 holds it


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError(13, "Permission denied", path)

    assert read_state_dict(weights)  # control
    monkeypatch.setattr("slsgu.utils.reading.open_descriptor", refuse)
    with pytest.raises(ModelError, match=f"cannot read checkpoint {weights}: Permission denied"):
        read_state_dict(weights)


def test_a_file_that_is_larger_than_all_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapping it fails where the process has a limit of memory."""
    path = tmp_path / "large.safetensors"
    save_file({"a": torch.zeros(1)}, path)

    def refuse(*_args: object, **_options: object) -> None:
        raise MemoryError("Cannot allocate memory")

    assert read_state_dict(path, whole=False)  # control
    monkeypatch.setattr("slsgu.models.checkpoint.safe_open", refuse)
    with pytest.raises(ModelError, match=r"large\.safetensors .*Cannot allocate memory"):
        read_state_dict(path, whole=False)
