"""What OpenCLIP builds but cannot compute with is refused before anything asks it to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.models import TINY_CFG
from torch import Tensor, nn

import slsgu
from slsgu.errors import ModelError
from slsgu.models.forward import refuse_uncomputable


@pytest.mark.filterwarnings("ignore:.*was made for another image size")
@pytest.mark.parametrize(
    ("tower", "extra", "reason"),
    [
        ("text_cfg", {"norm_kwargs": {"eps": None}}, "'eps'.*must be float"),
        ("vision_cfg", {"norm_kwargs": {"eps": "1"}}, "'eps'.*must be float"),
        ("text_cfg", {"embed_cls": True}, "size of tensor"),
    ],
)
def test_a_value_that_only_the_forward_pass_looks_at(
    make_dir: Callable[..., Path], tmp_path: Path, tower: str, extra: dict[str, Any], reason: str
) -> None:
    sound = make_dir(tmp_path / "sound")
    odd = make_dir(tmp_path / "odd")
    config = json.loads((odd / "open_clip_config.json").read_text())
    config["model_cfg"] = {**TINY_CFG, tower: {**TINY_CFG[tower], **extra}}
    (odd / "open_clip_config.json").write_text(json.dumps(config))
    slsgu.load(f"local-dir:{sound}", device="cpu")  # control
    with pytest.raises(ModelError, match=f"cannot compute with this configuration.*{reason}"):
        slsgu.load(f"local-dir:{odd}", device="cpu")


class Numeric(nn.Module):
    """A network that looks at numbers, which shapes alone do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Identity()
        self.visual.image_size = 4  # type: ignore[assignment]
        self.weight = nn.Parameter(torch.ones(3))
        self.passes = 0

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        self.passes += 1
        return image.sum() * float(self.weight.sum()) + text


def test_what_shapes_alone_cannot_run_is_tried_with_numbers() -> None:
    network = Numeric()
    refuse_uncomputable(network, lambda texts: torch.zeros(1, 2), "it")
    assert network.passes == 2
    with pytest.raises(ModelError, match="it: the tokenizer fails"):
        refuse_uncomputable(network, lambda texts: texts["x"], "it")


def test_a_model_that_computes_is_tried_once_and_without_numbers(tiny_dir: Path) -> None:
    clip = slsgu.load(f"local-dir:{tiny_dir}", device="cpu")
    calls: list[bool] = []
    clip.model.register_forward_hook(lambda *_: calls.append(True))
    clip.model.visual.register_forward_hook(  # type: ignore[union-attr]
        lambda module, args, output: calls.append(args[0].is_meta)
    )
    refuse_uncomputable(clip.model, clip.tokenizer, "it")
    assert calls == [True, True]
