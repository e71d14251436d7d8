"""Tiny real models, made once a session, and the shared photographs where they are."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from helpers.commands import Ran
from helpers.models import ALONE, NAME, TINY_CFG, TREE, write_local_dir
from PIL import Image
from safetensors.torch import save_file
from slsgu.cli import main

import slsgu.models.clip as slsgu_clip
import slsgu.report.html


def pytest_sessionstart() -> None:
    # More threads than this gain nothing on tiny models, and sums stay the same from run to run.
    torch.set_num_threads(1)
    # A shell ignores Ctrl-C in what it runs in the background, and so would every process that
    # the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Whichever tests ran before, and in whichever order."""
    torch.manual_seed(0)


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


@pytest.fixture(scope="session")
def taught_dir(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A local-dir that knows `photos` at both levels; made with OpenCLIP and Adam alone."""
    folder = write_local_dir(tmp_path_factory.mktemp("taught") / "model", seed=1)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    names = [*(leaf for leaves in TREE.values() for leaf in leaves), *TREE]
    templates = open_clip.SIMPLE_IMAGENET_TEMPLATES
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    tokens = tokenizer([template(name) for name in names for template in templates])
    files = [
        (f, i) for i, n in enumerate(names[:4]) for f in sorted((photos / "images" / n).iterdir())
    ]
    pixels = torch.stack([preprocess(Image.open(file)) for file, _ in files])
    fine = torch.tensor([label for _, label in files])
    taught = torch.arange(len(files)) % 2 == 0  # the rest is held out
    model.token_embedding.weight.requires_grad_(False)  # large, and random rows tell words apart
    learner = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)

    def logits(images: torch.Tensor) -> torch.Tensor:
        texts = model.encode_text(tokens, normalize=True).unflatten(0, (len(names), -1))
        classes = torch.nn.functional.normalize(texts.mean(dim=1), dim=-1)
        return 20 * model.encode_image(images, normalize=True) @ classes.T  # [B, 6]

    model.train()
    for _ in range(40):
        found = logits(pixels[taught])
        loss = torch.nn.functional.cross_entropy(found[:, :4], fine[taught])
        loss = loss + torch.nn.functional.cross_entropy(found[:, 4:], fine[taught] // 2)
        learner.zero_grad()
        loss.backward()
        learner.step()
    model.eval()
    with torch.no_grad():
        found = logits(pixels[~taught])
    for part, labels in ((found[:, :4], fine[~taught]), (found[:, 4:], fine[~taught] // 2)):
        assert (part.argmax(dim=1) == labels).float().mean() > 0.9
    weights = folder / "open_clip_model.safetensors"
    save_file(model.state_dict(), weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def world(taught_dir: Path, photos: Path) -> list[str]:
    """The options that name the taught model, the photographs and their taxonomy."""
    return [
        *("--model", f"local-dir:{taught_dir}"),
        *("--data", str(photos / "images"), "--taxonomy", str(photos / "pets.yaml")),
    ]


@pytest.fixture
def taught(taught_dir: Path) -> slsgu_clip.Clip:
    """The taught model, loaded afresh."""
    return slsgu_clip.load(f"local-dir:{taught_dir}", device="cpu")


@pytest.fixture
def cli(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Run `slsgu` in this process, in the empty folder `tmp_path`. Anything but an exit status
    fails the test: a user must never see a traceback. The report is left out unless asked for,
    since drawing it takes longer than all the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLSGU_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))

    def run(*args: str | Path, report: bool = False) -> Ran:
        words = [str(arg) for arg in args]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["slsgu", *words])
            if not report:
                patch.setattr(slsgu.report.html, "write", lambda result, path, **_: path.touch())
            done = CliRunner().invoke(main, words, prog_name="slsgu")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "Traceback" not in done.output
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run
