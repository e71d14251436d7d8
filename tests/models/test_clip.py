"""Loading: every form of a spec gives the same model, ready for edits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.models import ALONE, NAME, PREPROCESS_CFG, TINY_CFG
from helpers.networks import build_network, images, tokenize
from PIL import Image
from safetensors.torch import load_file, save_file

from slsgu.errors import ModelError
from slsgu.models.clip import Clip, load, weights_sha256


def hub_cache(folder: Path, cache: Path) -> str:
    """The folder as a repository in a Hugging Face cache, as a download would leave it."""
    commit, repo = "0" * 40, cache / "models--org--tiny"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    return "hf-hub:org/tiny"


def test_pixels_are_laid_out_as_the_tower_likes_them(tiny: Clip) -> None:
    """Which changes rounding, so it must leave transformers, and the embedded model, alone."""
    for name, convolutional in (("timm-efficientnet", True), ("resnet", True), ("vit", False)):
        clip = dataclasses.replace(tiny, model=build_network(name), tokenizer=tokenize)
        pixels = images(clip, 3)
        seen: list[tuple[int, ...]] = []
        first = next(m for m in clip.model.modules() if isinstance(m, torch.nn.Conv2d))
        first.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].stride()))
        with torch.no_grad():
            found = clip.image_features(pixels)
            expected = clip.model.encode_image(pixels)  # type: ignore[operator]
        by_channel, plain = seen
        assert (by_channel != plain) == convolutional
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(found, expected) or convolutional


# -- every form of a spec ---------------------------------------------------------------------


def test_every_spec_gives_the_same_model(
    names: None, offline: None, tiny: Clip, tiny_dir: Path, weights: Path, tmp_path: Path
) -> None:
    pt = tmp_path / "weights.pt"
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in load_file(weights).items()}}, pt
    )
    config = tmp_path / "arch.json"
    config.write_text(json.dumps(TINY_CFG))
    hub = hub_cache(tiny_dir, tmp_path / "cache")
    specs: list[tuple[str, str | None]] = [
        (ALONE, str(weights)), (ALONE, str(pt)), (hub, None), (str(config), str(pt)),
    ]  # fmt: skip
    pixels = torch.rand(2, 3, 32, 32)
    expected = tiny.encode_image(pixels)
    for model, pretrained in specs:
        clip = load(model, pretrained, device="cpu", cache_dir=str(tmp_path / "cache"))
        assert clip.sha256 == tiny.sha256, model
        assert torch.equal(clip.encode_image(pixels), expected), model
        assert (clip.name, clip.pretrained) == (model, pretrained)


def test_another_seed_is_another_model(
    make_dir: Callable[..., Path], tiny: Clip, tmp_path: Path
) -> None:
    other = load(f"local-dir:{make_dir(tmp_path / 'other', seed=1)}", device="cpu")
    assert other.sha256 != tiny.sha256


def test_tag(names: None, weights: Path, tiny: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = {"file": str(weights), "mean": [0.1, 0.2, 0.3], "quick_gelu": False}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: cfg)
    clip = load(NAME, "some_tag", device="cpu")
    assert clip.describe() == {"name": NAME, "pretrained": "some_tag", "sha256": tiny.sha256}
    assert clip.preprocess_cfg["mean"] == [0.1, 0.2, 0.3]


def test_default_is_the_menagerie(
    tiny_dir: Path, monkeypatch: pytest.MonkeyPatch, tiny: Clip
) -> None:
    monkeypatch.setattr("slsgu.menagerie.MODEL_DIR", tiny_dir)
    clip = load(device="cpu")
    assert (clip.name, clip.is_menagerie) == ("menagerie", True)
    assert not tiny.is_menagerie
    assert tiny.name.startswith("local-dir:")


def test_the_model_of_the_photographs(shared_data: Path) -> None:
    clip = load(f"local-dir:{shared_data / 'cifar10-clip'}", device="cpu")
    assert clip.encode_text(["a photo of a dog"]).shape == (1, 128)


# -- what comes back --------------------------------------------------------------------------


def test_ready_for_edits(tiny: Clip) -> None:
    assert not any(module.training for module in tiny.model.modules())
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in tiny.model.parameters())
    assert tiny.image_size == (32, 32)
    assert {k: tiny.preprocess_cfg[k] for k in PREPROCESS_CFG} == PREPROCESS_CFG


def test_patch_dropout_is_off(make_dir: Callable[..., Path], tmp_path: Path) -> None:
    cfg = {**TINY_CFG, "vision_cfg": {**TINY_CFG["vision_cfg"], "patch_dropout": 0.5}}
    folder = make_dir(tmp_path / "drop", cfg)
    clip = load(f"local-dir:{folder}", device="cpu")
    careless = open_clip.create_model(f"local-dir:{folder}")
    pixels = torch.rand(2, 3, 32, 32)
    expected = clip.encode_image(pixels)
    for model, same in ((clip.model, True), (careless, False)):
        in_train_mode = model.train().encode_image(pixels, normalize=True)
        assert torch.allclose(in_train_mode, expected, atol=1e-5) == same
    assert clip.model_cfg["vision_cfg"]["patch_dropout"] == 0.5  # saved again as it was


def test_preprocess_crosses_processes(tiny: Clip) -> None:
    picture = Image.fromarray(np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3))
    again = pickle.loads(pickle.dumps(tiny.preprocess))
    assert torch.equal(again(picture), tiny.preprocess(picture))
    assert tiny.preprocess(picture).shape == (3, 32, 32)


def test_embeddings_are_normalised_and_agree_with_openclip(tiny: Clip) -> None:
    texts = ["a dog", "a golden retriever", "a ship"]
    tokens = open_clip.get_tokenizer("", context_length=16)(texts)
    expected = tiny.model.encode_text(tokens, normalize=True)  # type: ignore[operator]
    got = tiny.encode_text(texts, batch_size=2)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(3))
    assert not torch.allclose(got[0], got[1])
    assert tiny.encode_text([]).shape == (0, 32)
    assert tiny.tokenize(texts).shape == (3, 16)


def test_precision_is_that_of_the_forward_pass(tiny_dir: Path) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    gradients = []
    for precision in ("fp32", "bf16"):
        clip = load(f"local-dir:{tiny_dir}", device="cpu", precision=precision)
        weight = clip.model.get_parameter("visual.proj").requires_grad_()
        embeddings = clip.encode_image(pixels)
        embeddings[:, 0].sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        gradients.append(weight.grad)
        assert embeddings.dtype == torch.float32
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    assert not torch.equal(*gradients)  # autocast did something
    torch.testing.assert_close(*gradients, atol=0.05, rtol=0.05)


def test_hash_is_of_values_not_of_precision(make_dir: Callable[..., Path], tmp_path: Path) -> None:
    half = make_dir(tmp_path / "half", dtype=torch.float16)
    upcast = shutil.copytree(half, tmp_path / "upcast")
    file = upcast / "open_clip_model.safetensors"
    save_file({k: v.float() for k, v in load_file(file).items()}, file)
    a, b = (load(f"local-dir:{folder}", device="cpu") for folder in (half, upcast))
    assert a.sha256 == b.sha256
    assert set(a.stored_dtypes.values()) == {torch.float16}
    assert set(b.stored_dtypes.values()) == {torch.float32}
    assert a.stored_dtypes.keys() == a.model.state_dict().keys()
    assert a.as_stored("ln_final.weight").dtype == torch.float16
    with torch.no_grad():
        for each in (a, b):
            each.model.get_parameter("ln_final.weight")[0] += 2**-20
    assert weights_sha256(b.model) != a.sha256
    weight = a.model.get_parameter("ln_final.weight")  # which half precision has no number for
    assert torch.equal(a.as_stored("ln_final.weight"), weight)


def test_hash_by_hand() -> None:
    linear = torch.nn.Linear(2, 1)
    digest = hashlib.sha256()
    for name, tensor in (("bias", linear.bias), ("weight", linear.weight)):
        digest.update(name.encode() + b"\0" + struct.pack("<q", tensor.ndim))
        digest.update(b"".join(struct.pack("<q", n) for n in tensor.shape))
        digest.update(b"".join(struct.pack("<f", x) for x in tensor.flatten().tolist()))
    assert weights_sha256(linear) == digest.hexdigest()


def test_loading_leaves_the_process_as_it_was(tiny_dir: Path) -> None:
    code = (
        "import logging, torch, slsgu.models.clip\n"
        "torch.manual_seed(0); before = torch.get_rng_state()\n"
        f"slsgu.models.clip.load({f'local-dir:{tiny_dir}'!r}, device='cpu')\n"
        "assert torch.equal(before, torch.get_rng_state())\n"
        "assert not logging.getLogger().handlers and not logging.getLogger().filters\n"
        "import contextlib, io, open_clip  # the control: OpenCLIP alone changes all of it\n"
        "with contextlib.redirect_stderr(io.StringIO()) as noise:\n"
        f"    open_clip.create_model({f'local-dir:{tiny_dir}'!r}, load_weights=False)\n"
        "assert noise.getvalue() and logging.getLogger().handlers\n"
        "assert not torch.equal(before, torch.get_rng_state())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_other_log_lines_pass_while_loading(
    tiny_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = open_clip.load_checkpoint

    def chatty(*args: Any, **kwargs: Any) -> Any:
        logging.warning("from the user's own thread")
        return original(*args, **kwargs)

    monkeypatch.setattr(open_clip, "load_checkpoint", chatty)
    with caplog.at_level(logging.INFO):
        load(f"local-dir:{tiny_dir}", device="cpu")
    assert caplog.messages == ["from the user's own thread"]


def test_devices_and_precision(tiny_dir: Path) -> None:
    spec = f"local-dir:{tiny_dir}"
    for device in ("cuda:99", "warp", "xpu"):
        with pytest.raises(ModelError, match=device):
            load(spec, device=device)
    with pytest.raises(ModelError, match="fp8"):
        load(spec, device="cpu", precision="fp8")  # type: ignore[arg-type]
    assert load(spec).device.type in ("cuda", "mps", "cpu")


def test_a_clip_is_a_value(tiny: Clip) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.name = "other"  # type: ignore[misc]
