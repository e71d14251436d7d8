"""Tiny real models, made once a session, and the shared photographs where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import slsgu.clip as slsgu_clip

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


def pytest_sessionstart() -> None:
    # More threads than this gain nothing on tiny models, and sums stay the same from run to run.
    torch.set_num_threads(1)


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


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local-dir with a tiny random ViT CLIP: 2 blocks a tower, 32 pixels, width 32."""
    return write_local_dir(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def make_dir() -> Callable[..., Path]:
    """`write_local_dir`, for tests that need another architecture, seed or dtype."""
    return write_local_dir


@pytest.fixture
def tiny(tiny_dir: Path) -> slsgu_clip.Clip:
    """The tiny model, loaded afresh."""
    return slsgu_clip.load(f"local-dir:{tiny_dir}", device="cpu")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared photographs and models."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared photographs are not here")
    return folder


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tiny architectures under OpenCLIP names."""
    folder = tmp_path_factory.mktemp("configs")
    for name, extra in ((NAME, {}), (f"{NAME}-quickgelu", {"quick_gelu": True}), (ALONE, {})):
        (folder / f"{name}.json").write_text(json.dumps({**TINY_CFG, **extra}))
    open_clip.add_model_config(folder)


@pytest.fixture
def weights(tiny_dir: Path) -> Path:
    return tiny_dir / "open_clip_model.safetensors"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing may be downloaded before the refusal")

    monkeypatch.setattr(open_clip, "download_pretrained", refuse)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of tiny noisy pictures, each class with a tint of its own, and pets.yaml
    beside them: dog (beagle, pug), cat (tabby, siamese)."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.Generator(np.random.PCG64(0))
    for number, name in enumerate(("beagle", "pug", "tabby", "siamese")):
        folder = root / "images" / name
        folder.mkdir(parents=True)
        tint = rng.integers(0, 200, 3) + 10 * number
        for index in range(20):
            pixels = np.clip(tint + rng.integers(-40, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    (root / "pets.yaml").write_text("dog: [beagle, pug]\ncat: [tabby, siamese]\n")
    return root
