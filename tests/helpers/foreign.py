"""Tiny models of other libraries with the weights of a tiny OpenCLIP model, saved as they save."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from helpers.models import TINY_CFG
from torch import Tensor, nn

from slsgu.models.transformers_names import to_transformers
from slsgu.patch.patch import Patch

HIDDEN_ACT = {True: "quick_gelu", False: "gelu"}
TEXTS = ["a photo of a dog", "two cats on a red sofa", "x"]


def openclip_model(*, quick: bool, seed: int = 0) -> nn.Module:
    """The tiny model of OpenCLIP, with gains and biases that are not what they begin as."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**TINY_CFG, quick_gelu=quick)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def text_config(*, quick: bool, layers: int = 2) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(**_sizes(quick, layers), vocab_size=49408, max_position_embeddings=16)


def vision_config(*, quick: bool) -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(**_sizes(quick, 2), image_size=32, patch_size=16)


def clip_config(*, quick: bool) -> Any:
    from transformers import CLIPConfig

    towers = (text_config(quick=quick), vision_config(quick=quick))
    text, vision = (tower.to_dict() for tower in towers)
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)


def _sizes(quick: bool, layers: int) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "projection_dim": 32,
        "hidden_act": HIDDEN_ACT[quick],
    }


def filled(model: nn.Module, source: nn.Module) -> Any:
    """A model of transformers, in eval mode, with the weights of OpenCLIP: all that it has."""
    own = model.state_dict()
    given = to_transformers(source.state_dict(), own)
    model.load_state_dict({**own, **given}, strict=True)
    return model.eval().requires_grad_(False)


def clip_model(source: nn.Module, *, quick: bool) -> Any:
    from transformers import CLIPModel

    return filled(CLIPModel(clip_config(quick=quick)), source)


def saved(model: Any, folder: Path, **options: Any) -> Path:
    """Save a model as transformers does, quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, **options)
    return folder


def write_tokenizer(folder: Path, **vocabulary: int) -> None:
    """The files of CLIP's tokenizer as Hugging Face has them.

    Args:
        vocabulary: tokens that get another number.
    """
    own = open_clip.SimpleTokenizer()
    plain = list(own.encoder)[:-2]
    tokens = [*plain, "<|startoftext|>", "<|endoftext|>"]
    numbers = {token: number for number, token in enumerate(tokens)} | vocabulary
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in own.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")


def write_preprocessor(folder: Path, **changes: Any) -> None:
    """The configuration of CLIP's image processor, of the size of the tiny model."""
    config = {
        "do_resize": True,
        "size": {"shortest_edge": 32},
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.25, 0.26, 0.27],
        "resample": 3,
        "image_processor_type": "CLIPImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps({**config, **changes}))


def write_clip_folder(folder: Path, source: nn.Module, *, quick: bool, **options: Any) -> Path:
    """A folder of a `CLIPModel`, with tokenizer and preprocessor."""
    saved(clip_model(source, quick=quick), folder, **options)
    write_tokenizer(folder)
    write_preprocessor(folder)
    return folder


def random_patch(model: nn.Module, *names: str, activation: str | None = None) -> Patch:
    """A patch that changes layers by random numbers of a tenth."""
    draws = torch.Generator().manual_seed(1)
    original = {name: model.get_parameter(name).detach().clone() for name in names}
    delta = {n: 0.1 * torch.randn(t.shape, generator=draws) for n, t in original.items()}
    model_says = {"name": "tiny", **({"activation": activation} if activation else {})}
    return Patch(delta, original, {"model": model_says})


def token_ids() -> Tensor:
    tokens: Tensor = open_clip.SimpleTokenizer(context_length=16)(TEXTS)
    return tokens


def pixels() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
