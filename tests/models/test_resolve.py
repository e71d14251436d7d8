"""What cannot be right is refused, with what to do, and before anything is downloaded."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.models import ALONE, NAME, TINY_CFG
from safetensors.torch import load_file, save_file

from slsgu.errors import ModelError, SlsguWarning
from slsgu.models.clip import load


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("ViT-B32", "openai", ["unknown architecture 'ViT-B32'", "ViT-B-32"]),
        ("ViT-B-32", None, ["random", "laion2b_s34b_b79k"]),
        ("ViT-B-32", "laion2b_s34b_b79", ["no tag", "did you mean laion2b_s34b_b79k", "openai"]),
        ("ViT-B-32", "weights.pt", ["no such checkpoint file: weights.pt"]),
        ("ViT-B-32", "openai", ["QuickGELU", "use ViT-B-32-quickgelu with openai"]),
        ("ViT-B-32", "metaclip-400m", ["use ViT-B-32-quickgelu"]),
        ("coca_ViT-B-32", "laion2b_s13b_b90k", ["coca_ViT-B-32", "CoCa", "not support"]),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", ["Hugging Face text tower", "not support"]),
        ("weights.pt", None, ["not an architecture", "--model NAME --pretrained weights.pt"]),
        ("local-dir:/nowhere/at/all", None, ["no such folder", "/nowhere/at/all"]),
        ("local-dir:", None, ["nothing after 'local-dir:'"]),
        ("hf-hub:tiny", None, ["hf-hub:ORG/REPO"]),
        ("hf-hub:org/tiny", "openai", ["brings its own weights", "openai"]),
        ("nowhere.json", "weights.pt", ["no such model configuration"]),
        (None, "openai", ["--model"]),
    ],
)
def test_refused_before_any_download(
    no_download: None, model: str | None, pretrained: str | None, words: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        load(model, pretrained, device="cpu")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("model", "pretrained"),
    [
        ("ViT-B-32", "laion2b_s34b_b79k"),
        ("ViT-B/16", "laion400m-e32"),
        ("ViT-B-32-quickgelu", "openai"),
    ],
)
def test_right_pairs_reach_the_download(
    offline: None, model: str, pretrained: str, tmp_path: Path
) -> None:
    """The control of the test above; and without a network the message says what helps."""
    with pytest.raises(ModelError) as caught:
        load(model, pretrained, device="cpu", cache_dir=str(tmp_path))
    assert "could not be downloaded" in str(caught.value)
    assert "--pretrained FILE" in str(caught.value)


def test_explicit_activation_overrules_the_tag(offline: None, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be downloaded"):
        load("ViT-B-32", "openai", quick_gelu=True, device="cpu", cache_dir=str(tmp_path))


def test_hub_without_network(offline: None, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="needs the network") as caught:
        load("hf-hub:org/tiny", device="cpu", cache_dir=str(tmp_path))
    assert "local-dir:FOLDER" in str(caught.value)


def test_file_warns_where_the_activation_is_in_doubt(names: None, weights: Path) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    with pytest.warns(SlsguWarning, match=f"uses GELU.*use {NAME}-quickgelu"):
        plain = load(NAME, str(weights), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none where the user said which, or there is no choice
        quick = load(NAME, str(weights), device="cpu", quick_gelu=True)
        twin = load(f"{NAME}-quickgelu", str(weights), device="cpu", quick_gelu=True)
        load(f"{NAME}-quickgelu", str(weights), device="cpu", quick_gelu=False)
        load(ALONE, str(weights), device="cpu")
    assert torch.equal(quick.encode_image(pixels), twin.encode_image(pixels))
    assert not torch.equal(quick.encode_image(pixels), plain.encode_image(pixels))
    assert quick.model_cfg["quick_gelu"] and "quick_gelu" not in plain.model_cfg


def test_misfit_lists_keys(names: None, weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights)
    for name in [name for name in tensors if "resblocks.1" in name]:
        tensors[name.replace("resblocks.1", "resblocks.7")] = tensors.pop(name)
    tensors["visual.ln_post.weight"] = torch.ones(33)
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(ModelError) as caught:
        load(ALONE, str(tmp_path / "wrong.safetensors"), device="cpu")
    message = str(caught.value)
    assert "24 missing" in message and "24 unexpected" in message and "and 16 more" in message
    assert "visual.ln_post.weight (33,) (the architecture has (32,))" in message


def test_resized_positions_are_told(
    make_dir: Callable[..., Path], weights: Path, tmp_path: Path
) -> None:
    cfg = {**TINY_CFG, "vision_cfg": {**TINY_CFG["vision_cfg"], "image_size": 48}}
    folder = make_dir(tmp_path / "big", cfg)
    load(f"local-dir:{folder}", device="cpu")  # control: no warning
    shutil.copy(weights, folder)
    with pytest.warns(
        SlsguWarning, match=r"visual.positional_embedding from \(5, 32\) to \(10, 32\)"
    ):
        load(f"local-dir:{folder}", device="cpu")


def test_not_a_number(weights: Path, tiny_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_dir, tmp_path / "nan")
    tensors = load_file(weights)
    tensors["ln_final.weight"][3] = float("nan")
    save_file(tensors, folder / weights.name)
    with pytest.raises(ModelError, match=r"ln_final\.weight holds values that are not numbers"):
        load(f"local-dir:{folder}", device="cpu")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_cfg": 3}', '{"vision_cfg": {}}'])
def test_broken_configuration(content: str, tiny_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_dir, tmp_path / "broken")
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"open_clip_config\.json"):
        load(f"local-dir:{folder}", device="cpu")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("mode", "L", "RGB"),
        ("resize_mode", "bad", "shortest, longest or squash"),
        ("fill_color", "x", "a number, or three"),
        ("fill_color", [1, 2], "a number, or three"),
        ("mean", ["x"], "numbers"),
        ("std", 0, "positive numbers"),
    ],
)
def test_preprocessing_that_makes_no_sense(
    tiny_dir: Path, tmp_path: Path, key: str, value: Any, wanted: str
) -> None:
    folder = shutil.copytree(tiny_dir, tmp_path / "model")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    good = {"mode": "RGB", "resize_mode": None, "fill_color": [1, 2, 3], "mean": 0.5, "std": None}
    config["preprocess_cfg"] = good
    path.write_text(json.dumps(config))
    assert load(f"local-dir:{folder}", device="cpu")  # control
    config["preprocess_cfg"] = {**good, key: value}
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"preprocess_cfg has {key} .*; it must be {wanted}$"):
        load(f"local-dir:{folder}", device="cpu")


def test_architecture_that_can_not_be_built(tiny_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_dir, tmp_path / "odd")
    cfg = {**TINY_CFG, "vision_cfg": {**TINY_CFG["vision_cfg"], "no_such_option": 1}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    with pytest.raises(ModelError, match="no_such_option"):
        load(f"local-dir:{folder}", device="cpu")


def test_folder_without_configuration_or_prefix(tiny_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no open_clip_config\.json"):
        load(f"local-dir:{tmp_path}", device="cpu")
    with pytest.raises(ModelError, match=f"write local-dir:{tiny_dir}"):
        load(str(tiny_dir), device="cpu")


@pytest.mark.parametrize("path", ["~no-such-user/x", "x" * 300])
def test_a_path_that_the_system_cannot_look_up(path: str) -> None:
    for model, pretrained in ((path, None), (f"local-dir:{path}", None), ("ViT-B-32", path)):
        with pytest.raises(ModelError, match=path):
            load(model, pretrained)
