"""`menagerie train` and `check` with a cache or a model that is not what its name says."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import write_local_dir
from safetensors.torch import load_file, save_file

from slsgu.errors import SlsguError
from slsgu.menagerie import MODEL_DIR
from slsgu.menagerie.check import check, load_model
from slsgu.menagerie.pool import draw_pool
from slsgu.menagerie.train import default_cache, train

WEIGHTS = "open_clip_model.safetensors"


def draw(cache: Path, said: list[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return draw_pool(
        ["beagle", "husky"], 2, seed=1, size=16, workers=1, cache=cache, progress=said.append
    )


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.canary),))


def pickled(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.array([Payload(path.with_name("canary"))]))
    path.with_suffix(".npy").replace(path)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(path.with_name("canary"))))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def foreign(path: Path) -> None:
    save_file({"pictures": torch.zeros(4, 16, 16, 3, dtype=torch.uint8)}, path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [cut, flipped, foreign, pickled, bare_pickle, pipe])
def test_a_spoilt_cache_is_drawn_anew(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    said: list[str] = []
    whole = draw(tmp_path, said)
    (file,) = tmp_path.iterdir()
    assert (draw(tmp_path, said) == whole).all() and said == [f"reusing {file}"]  # control
    spoil(file)
    assert (draw(tmp_path, said) == whole).all()
    assert said[1].startswith("drawing anew: ") and len(said) == 2
    assert (draw(tmp_path, said) == whole).all() and said[2] == f"reusing {file}"
    assert not (tmp_path / "canary").exists()


def test_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLSGU_CACHE_DIR", str(tmp_path / "mine"))
    assert tmp_path / "mine" in default_cache().parents
    monkeypatch.delenv("SLSGU_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path / "slsgu" in default_cache().parents


@pytest.mark.parametrize("minutes", [float("nan"), float("inf"), 0.0, -1.0])
def test_minutes_that_are_none(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(SlsguError, match="minutes"):
        train(tmp_path / "out", minutes=minutes, images_per_leaf=1, steps=1)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_size_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    folder = write_local_dir(tmp_path / "model")
    with pytest.raises(SlsguError, match="not a model of the menagerie"):
        check(folder, per_leaf=1)


def changed(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL_DIR, tmp_path / "model"))


def test_a_configuration_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path)
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    path.write_text(json.dumps(content))
    with pytest.raises(SlsguError, match="not a model of the menagerie"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t * torch.nan,
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.int32),
        lambda t: t[:1].clone(),
    ],
)
def test_weights_that_are_none(
    change: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    folder = changed(tmp_path)
    weights = load_file(folder / WEIGHTS)
    weights["visual.proj"] = change(weights["visual.proj"].float())
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(SlsguError, match=WEIGHTS):
        load_model(folder)


def test_weights_that_are_no_file(tmp_path: Path) -> None:
    folder = changed(tmp_path)
    load_model(folder)  # control
    (folder / WEIGHTS).write_bytes(b"x" * 100)
    with pytest.raises(SlsguError, match="cannot be read as weights"):
        load_model(folder)
    pipe(folder / WEIGHTS)
    with pytest.raises(SlsguError, match="pipe"):
        load_model(folder)
