"""Weights that no model has: a message that names file and tensor, whatever a file claims."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.models import ALONE
from safetensors.torch import load_file, save_file
from torch import Tensor

from slsgu.data.ledger import Ledger
from slsgu.errors import ModelError, SlsguWarning
from slsgu.evaluation.proof import evaluate
from slsgu.gradients.compute import compute_gradients
from slsgu.models.checkpoint import headers, read_state_dict
from slsgu.models.clip import load
from slsgu.models.sense import refuse_uninformative
from slsgu.task.plan import make_plan

MakeDir = Callable[..., Path]
WEIGHTS = "open_clip_model.safetensors"


# -- damaged pickles --------------------------------------------------------------------------


def cut(data: bytes, draws: random.Random) -> bytes:
    return data[: draws.randrange(len(data))]


def flip(data: bytes, draws: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draws.randrange(1, 20)):
        changed[draws.randrange(len(data))] = draws.randrange(256)
    return bytes(changed)


def rewritten_pickle(data: bytes, draws: random.Random) -> bytes:
    """The archive is whole, and the pickle in it is not."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, flip(content, draws) if name.endswith("data.pkl") else content)
    return result.getvalue()


def odd_members(data: bytes, draws: random.Random) -> bytes:
    result = io.BytesIO(data)
    with zipfile.ZipFile(result, "a") as archive:
        for name in draws.sample(["../x", "a/data.pkl", "byteorder", "/etc/x"], 2):
            archive.writestr(name, b"\x80\x02}q\x00.")
    return result.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("damage", [cut, flip, rewritten_pickle, odd_members])
def test_a_damaged_pickle_is_a_model_error(
    damage: Callable[[bytes, random.Random], bytes], legacy: bool, tmp_path: Path
) -> None:
    if legacy and damage in (rewritten_pickle, odd_members):
        pytest.skip("no archive")
    path = tmp_path / "weights.pt"
    tensors = {f"layer.{n}": torch.randn(3, 3) for n in range(3)}
    torch.save({"state_dict": tensors, "epoch": 1}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    assert read_state_dict(path).keys() == tensors.keys()  # control
    refused = 0
    for seed in range(80):
        path.write_bytes(damage(whole, random.Random(seed)))
        try:
            read_state_dict(path)
        except ModelError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 0 or damage is odd_members


CONTENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "numbers as keys": (lambda: {1: torch.ones(1)}, "keys are not names"),
    "bytes as keys": (lambda: {b"a": torch.ones(1)}, "keys are not names"),
    "a number": (lambda: {"a": 1}, "not tensors"),
    "a list": (lambda: [torch.ones(1)], "a list"),
    "a tensor": (lambda: torch.ones(1), "a Tensor"),
    "sparse": (lambda: {"a": torch.ones(2, 2).to_sparse()}, "a is a sparse tensor"),
    "complex": (lambda: {"a": torch.ones(1, dtype=torch.complex64)}, "a holds complex numbers"),
    "meta": (lambda: {"a": torch.ones(1, device="meta")}, "a has no values"),
    "expanded": (lambda: {"a": torch.ones(1).expand(2**45)}, r"claims 140,737,488,355,328 bytes"),
    "quantised": (
        lambda: {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        "a is quantised",
    ),
}


@pytest.mark.parametrize("what", CONTENTS)
@pytest.mark.filterwarnings("ignore")
def test_a_pickle_that_holds_something_else(what: str, tmp_path: Path) -> None:
    make, words = CONTENTS[what]
    path = tmp_path / "weights.pt"
    torch.save(make(), path)
    with pytest.raises(ModelError, match=words):
        read_state_dict(path)


# -- models -----------------------------------------------------------------------------------


def changed(folder: Path, change: Callable[[Tensor], Tensor], part: str = "") -> Path:
    """A local-dir with every tensor whose name has `part` in it changed."""
    path = folder / WEIGHTS
    tensors = {k: change(t) if part in k else t for k, t in load_file(path).items()}
    save_file(tensors, path)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.to(torch.complex64), "complex numbers"),
        (lambda t: t.to(torch.float8_e4m3fn), "float8_e4m3fn values"),
        (lambda t: t.to(torch.int8), "int8 values, where the architecture has floating-point"),
        (lambda t: t > 0, "bool values"),
        (lambda t: t * torch.nan, "not numbers"),
    ],
)
def test_weights_of_another_kind_are_not_cast(
    change: Callable[[Tensor], Tensor], words: str, make_dir: MakeDir, names: None, tmp_path: Path
) -> None:
    folder = changed(make_dir(tmp_path / "model"), change, "visual.proj")
    with pytest.raises(ModelError, match=words):
        load(f"local-dir:{folder}", device="cpu")
    torch.save(load_file(folder / WEIGHTS), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=words):
        load(ALONE, str(tmp_path / "weights.pt"), device="cpu")


def test_weights_larger_than_memory_are_refused_at_once(
    make_dir: MakeDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dir(tmp_path / "model") / WEIGHTS
    assert headers(path)  # control
    monkeypatch.setattr("slsgu.models.tensors.free_bytes", lambda: 1000)
    for read in (headers, read_state_dict):
        with pytest.raises(ModelError, match="1,000 are free"):
            read(path)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_cfg", "layers", 10**9),
        ("text_cfg", "vocab_size", 10**12),
        ("vision_cfg", "image_size", [10**6, 10**6]),
        ("text_cfg", "width", -1),
        ("text_cfg", "context_length", 1e300),
    ],
)
def test_a_configuration_out_of_proportion(
    part: str, key: str, value: Any, make_dir: MakeDir, tmp_path: Path
) -> None:
    folder = make_dir(tmp_path / "model")
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"][part][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=rf"{key} is .*must lie between"):
        load(f"local-dir:{folder}", device="cpu")


def one_token(folder: Path) -> Path:
    """The model with a context that has room for one token."""
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"]["context_length"] = 1
    path.write_text(json.dumps(content))
    weights = load_file(folder / WEIGHTS)
    weights["positional_embedding"] = weights["positional_embedding"][:1].clone()
    if "attn_mask" in weights:
        weights["attn_mask"] = weights["attn_mask"][:1, :1].clone()
    save_file(weights, folder / WEIGHTS)
    return folder


EMPTY: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zeros": (lambda folder: changed(folder, torch.zeros_like), "every image has the same"),
    "blind": (
        lambda folder: changed(folder, torch.zeros_like, "visual.conv1"),
        "every image has the same",
    ),
    "mute": (
        lambda folder: changed(folder, torch.zeros_like, "ln_final"),
        "every text has the same",
    ),
    "one token": (one_token, "every text has the same"),
}


@pytest.mark.parametrize("what", EMPTY)
def test_embeddings_without_information_are_told_and_not_edited(
    what: str, make_dir: MakeDir, photos: Path, tmp_path: Path
) -> None:
    spoil, words = EMPTY[what]
    clip = load(f"local-dir:{spoil(make_dir(tmp_path / 'model'))}", device="cpu")
    plan = make_plan(clip, ["beagle"], data=photos / "images", taxonomy=photos / "pets.yaml")
    with pytest.raises(ModelError, match=rf"no information: {words}.*nothing to forget"):
        compute_gradients(plan, Ledger())
    task = plan.task
    with pytest.warns(SlsguWarning, match=rf"no information: {words}.*figures mean nothing"):
        evaluate(clip, task.splits.test, task.taxonomy, task.templates)


def test_a_preprocessing_out_of_the_range_of_numbers_is_told(
    make_dir: MakeDir, photos: Path, tmp_path: Path
) -> None:
    folder = make_dir(tmp_path / "model")
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    plan_of = {}
    for mean in (0.5, 1e308):
        content["preprocess_cfg"]["mean"] = [mean, 0.5, 0.5]
        path.write_text(json.dumps(content))
        clip = load(f"local-dir:{folder}", device="cpu")
        plan_of[mean] = make_plan(
            clip, ["beagle"], data=photos / "images", taxonomy=photos / "pets.yaml"
        )
    with pytest.raises(ModelError, match=r"model: the forget loss is .* mean and std"):
        compute_gradients(plan_of[1e308], Ledger())
    assert compute_gradients(plan_of[0.5], Ledger()).counts["forget"]  # control


def test_a_model_that_tells_things_apart(make_dir: MakeDir, tmp_path: Path) -> None:
    """Control: random weights are enough, in every precision."""
    folder = make_dir(tmp_path / "model")
    for precision in ("fp32", "bf16"):
        refuse_uninformative(load(f"local-dir:{folder}", device="cpu", precision=precision))
