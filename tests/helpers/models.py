"""Tiny OpenCLIP models on disk, and what they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

TINY_CFG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "width": 32,
        "layers": 2,
        "head_width": 16,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}
NAME = "slsgu-test-tiny"  # exists in both activations, like ViT-B-32
ALONE = "slsgu-test-alone"  # has no twin
PREPROCESS_CFG: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}
TREE = {"dog": ("beagle", "pug"), "cat": ("tabby", "siamese")}  # pets.yaml


def write_local_dir(
    folder: Path,
    model_cfg: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A local-dir with random weights, made with OpenCLIP alone (not with the code under test)."""
    cfg = json.loads(json.dumps(TINY_CFG if model_cfg is None else model_cfg))
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_cfg": cfg, "preprocess_cfg": PREPROCESS_CFG})
    (folder / "open_clip_config.json").write_text(text)
    kwargs = {key: value for key, value in cfg.items() if key != "custom_text"}
    build = open_clip.CustomTextCLIP if cfg.get("custom_text") else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build(**kwargs).state_dict()
    tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder
