"""What the benchmarks share: a model with random weights, random pictures, and tables."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.models.clip import Clip


def random_clip(name: str = "ViT-B-32") -> Clip:
    """An OpenCLIP architecture with random weights: timing needs no training and no download."""
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval().requires_grad_(False)
    return Clip(
        model=model,
        preprocess=preprocess,
        tokenizer=open_clip.get_tokenizer(name),
        name=name,
        pretrained=None,
        sha256="random",
        device=torch.device("cpu"),
        precision="fp32",
        stored_dtypes={},
        model_cfg=dict(open_clip.get_model_config(name)),
        preprocess_cfg={},
        is_menagerie=False,
    )


def classes(count: int) -> Taxonomy:
    """Classes in two groups, so that there is a coarser level."""
    names = [f"kind {i}" for i in range(count)]
    half = count // 2
    return Taxonomy.parse({"these": names[:half], "those": names[half:]})


@dataclass(frozen=True)
class Noise:
    """A picture of noise, made when it is read."""

    leaf: Concept
    number: int
    side: int = 224
    caption: None = None

    @property
    def name(self) -> str:
        return f"noise {self.number}"

    @property
    def fingerprint(self) -> str:
        return f"{self.number:064x}"

    def read(self) -> Image.Image:
        rng = np.random.default_rng(self.number)
        return Image.fromarray(rng.integers(0, 256, (self.side, self.side, 3), dtype=np.uint8))


def timed(run: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def processor_time(run: Callable[[], Any]) -> float:
    """Seconds of processor time that a call takes, in all threads."""
    start = time.process_time()
    run()
    return time.process_time() - start


def machine() -> str:
    """One line about where the figures were taken."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}, fp32"


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Markdown."""
    print(f"| {' | '.join(heads)} |")
    print(f"|{'---|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
