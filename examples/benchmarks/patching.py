"""What it costs to apply a patch: to a checkpoint of a billion weights on disk, and in memory.

    OMP_NUM_THREADS=1 python examples/benchmarks/patching.py

The checkpoint (float16, 2 GB) is made in a temporary folder and removed at the end. Applying a
patch to it is compared with `shutil.copyfile` and `os.fsync` of the same file, alternating. The
memory is the peak of the process above what it held after its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import timed
from safetensors.torch import save_file
from torch import nn

from slsgu.interop import toggle
from slsgu.patch.patch import Patch
from slsgu.patch.rewrite import rewrite_model

WIDTH, BLOCKS = 1280, 51  # of a transformer with 12 * WIDTH^2 weights in a block: 1.0 billion
LAYER = f"blocks.{BLOCKS // 2}.mlp.c_fc.weight"


def checkpoint(path: Path, dtype: torch.dtype) -> int:
    """Write a transformer with random weights.

    Returns:
        How many weights it has.
    """
    shapes = {"attn.in_proj_weight": 3, "attn.out_proj.weight": 1, "mlp.c_fc.weight": 4}
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for block in range(BLOCKS):
        for name, times in (*shapes.items(), ("mlp.c_proj.weight", 4)):
            weight = torch.randn(times * WIDTH, WIDTH, generator=random).mul_(0.02).to(dtype)
            tensors[f"blocks.{block}.{name}"] = weight
    save_file(tensors, path)
    layer = tensors[LAYER].clone()
    delta = 0.01 * torch.randn(layer.shape, generator=random)
    Patch({LAYER: delta}, {LAYER: layer}).save(path.with_name("patch.safetensors"))
    return sum(tensor.numel() for tensor in tensors.values())


def kibibytes(key: str) -> int:
    """A line of what Linux says of this process."""
    match = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert match is not None, key
    return int(match[1])


def apply_once(folder: Path) -> None:
    """In a process of its own: seconds and peak memory of one application, as JSON."""
    before = kibibytes("VmRSS")
    start = time.perf_counter()
    patch = Patch.load(folder / "patch.safetensors")
    rewrite_model(folder / "model.safetensors", folder / "out.safetensors", patch.apply_to)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "mib": (kibibytes("VmHWM") - before) / 1024}))


def copy_once(folder: Path) -> float:
    """Seconds for a copy of the checkpoint that is on the disk in the end."""
    start = time.perf_counter()
    shutil.copyfile(folder / "model.safetensors", folder / "out.safetensors")
    with (folder / "out.safetensors").open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def on_disk(folder: Path, repeats: int) -> None:
    """The two in turn, each after the disk has come to rest."""
    copies, patched = [], []
    for _ in range(repeats + 1):  # the first round warms the disk's caches and is left out
        for times in (copies, patched):
            (folder / "out.safetensors").unlink(missing_ok=True)
            os.sync()
            if times is copies:
                copies.append({"seconds": copy_once(folder), "mib": 0.0})
            else:
                words = [sys.executable, __file__, "--once", str(folder)]
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                patched.append(json.loads(done.stdout))
    pairs = list(zip(copies[1:], patched[1:], strict=True))
    for copied, ours in pairs:
        ratio = ours["seconds"] / copied["seconds"]
        print(
            f"copyfile and fsync {copied['seconds']:6.2f} s, apply {ours['seconds']:6.2f} s, ratio "
            f"{ratio:.2f}, peak {ours['mib']:.0f} MiB above the imports"
        )
    ratios = [ours["seconds"] / copied["seconds"] for copied, ours in pairs]
    most = 4 * WIDTH * WIDTH * 2 / 2**20 + 200
    print(
        f"median ratio {statistics.median(ratios):.2f}; targets: 1.20 and {most:.0f} MiB, the "
        "layer and 200 more"
    )


def in_memory(repeats: int) -> None:
    """One layer of 768 x 768 in a model in use."""
    model = nn.Linear(768, 768)
    weight = model.weight.detach().clone()
    patch = Patch({"weight": torch.full_like(weight, 0.01)}, {"weight": weight})

    def applied() -> None:
        with patch.applied(model):
            pass

    switch = toggle(model, patch)

    def switched() -> None:
        switch.on()
        switch.off()

    for name, run in (("patch.applied, in and out", applied), ("toggle, on and off", switched)):
        times = [1000 * timed(run) for _ in range(repeats + 1)][1:]
        print(f"{name}: median {statistics.median(times):.2f} ms, slowest {max(times):.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once is not None:
        apply_once(arguments.once)
        return
    in_memory(50)
    needed = 3 * 12 * WIDTH * WIDTH * BLOCKS * 2  # the checkpoint, its copy, and some air
    with tempfile.TemporaryDirectory(prefix="slsgu-") as name:
        if (free := shutil.disk_usage(name).free) < needed:
            sys.exit(f"{name} has {free:,} bytes free, and {needed:,} are needed: set TMPDIR")
        count = checkpoint(Path(name, "model.safetensors"), torch.float16)
        print(f"{count / 1e9:.2f} billion weights, layer {LAYER} {[4 * WIDTH, WIDTH]} float16")
        on_disk(Path(name), arguments.repeats)


if __name__ == "__main__":
    main()
