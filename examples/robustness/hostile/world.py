"""Real artifacts on a tiny model: what the campaign damages.

Everything is made once, by OpenCLIP and by the commands themselves, so that each artifact is one
that slsgu would accept as it stands.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from hostile.running import run_here

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "layers": 2, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}
CLASSES = ("beagle", "pug", "tabby", "siamese")
EACH = 9  # pictures of a class


@dataclass(frozen=True)
class World:
    """The folder of the artifacts, and the options that name its parts."""

    root: Path

    @property
    def model(self) -> list[str]:
        return ["--model", f"local-dir:{self.root / 'model'}"]

    @property
    def data(self) -> list[str]:
        return ["--data", str(self.root / "images")]

    @property
    def taxonomy(self) -> list[str]:
        return ["--taxonomy", str(self.root / "pets.yaml")]

    @property
    def quick(self) -> list[str]:
        return ["--workers", "0", "--batch-size", "16"]

    @property
    def all(self) -> list[str]:
        return [*self.model, *self.data, *self.taxonomy, *self.quick]

    @property
    def patch(self) -> Path:
        return self.root / "run" / "patch.safetensors"


def picture(number: int, side: int = 32) -> bytes:
    """A small noisy PNG, another for each number."""
    rng = np.random.Generator(np.random.PCG64(number))
    tint = rng.integers(0, 200, 3)
    pixels = np.clip(tint + rng.integers(-40, 40, (side, side, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def build_world(root: Path) -> World:
    """Make every artifact below `root`, which must not exist."""
    root.mkdir(parents=True)
    world = World(root)
    _model(root)
    _pictures(root)
    _tables(root)
    _run(world)
    return world


def _model(root: Path) -> None:
    folder = root / "model"
    folder.mkdir()
    text = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    torch.manual_seed(0)
    state = open_clip.CLIP(**CONFIG).state_dict()
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    torch.save(state, root / "model.pt")


def _pictures(root: Path) -> None:
    for number, name in enumerate(CLASSES):
        folder = root / "images" / name
        folder.mkdir(parents=True)
        for index in range(EACH):
            (folder / f"{index:02}.png").write_bytes(picture(100 * number + index))
    tree = '$templates: ["a photo of a {}"]\ndog: [beagle, pug]\ncat: [tabby, siamese]\n'
    (root / "pets.yaml").write_text(tree, encoding="utf-8")
    (root / "classes.txt").write_text("\n".join((*CLASSES, "")), encoding="utf-8")
    (root / "templates.txt").write_text("a photo of a {}.\na drawing of a {}\n", encoding="utf-8")


def _tables(root: Path) -> None:
    rows = [(n, f"{n}/{i:02}.png") for n in CLASSES for i in range(EACH)]
    for name, delimiter in (("csv", ","), ("tsv", "\t")):
        lines = [delimiter.join(("filepath", "title", "label"))]
        lines += [delimiter.join((f"images/{p}", f"a photo of a {n}", n)) for n, p in rows]
        (root / f"pairs.{name}").write_text("\n".join((*lines, "")), encoding="utf-8")
    lines = [
        json.dumps({"filepath": f"images/{p}", "title": f"a photo of a {n}", "label": n})
        for n, p in rows
    ]
    (root / "pairs.jsonl").write_text("\n".join((*lines, "")), encoding="utf-8")
    for shard, names in (("forget", CLASSES[:1]), ("retain", CLASSES[1:])):
        with tarfile.open(root / f"{shard}.tar", "w") as tar:
            for name, path in (row for row in rows if row[0] in names):
                key = path.replace("/", "-").removesuffix(".png")
                content = (root / "images" / path).read_bytes()
                members = (("png", content), ("txt", f"a {name}".encode()), ("cls", name.encode()))
                for kind, data in members:
                    info = tarfile.TarInfo(f"{key}.{kind}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def _run(world: World) -> None:
    root, fixed = world.root, [*world.model, *world.quick]
    limits = ["--tower", "language", "--trials", "2", "--force"]
    everything = [
        ["apply", "--concept", "beagle", "--run", "run", *limits, *world.all],
        ["pareto", "--run", "run", "--fast"],
        ["compare", "--concept", "beagle", "--quick", "--out", "cmp", "--methods", "merge,nothing",
         *world.all],
        ["patch", "apply", str(world.patch), "model", "--out", "patched"],
        ["grads", "--forget", "forget.tar", "--retain", "retain.tar", "--name", "beagle",
         "--classes", "classes.txt", "--run", "pairs-run", *fixed],
    ]  # fmt: skip
    for words in everything:
        answer = run_here(words, folder=root, env={"SLSGU_CACHE_DIR": str(root / "cache")})
        if answer.code not in (0, 1) or answer.crash:
            raise SystemExit(
                f"slsgu {' '.join(words)} ends with {answer.code} where nothing is damaged:\n"
                f"{answer.err}{answer.crash}"
            )
    parts = (world.patch, *(root / name for name in ("patched", "cache", "cmp/compare.json")))
    missing = [p for p in parts if not p.exists()]
    if missing:
        raise SystemExit(f"the world is not whole: there is no {missing[0]}")
