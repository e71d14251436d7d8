"""What folding saves: a forward pass of convolutional image towers, with and without.

    OMP_NUM_THREADS=1 python examples/benchmarks/embedding.py

Alternating, processor time of this process, the median. Needs the extra `photographs`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

import slsgu

sys.path.insert(0, str(Path(__file__).parent))
from common import random_clip

BATCH = 16


def seconds(run: Callable[[Tensor], Tensor], pixels: Tensor) -> float:
    """Processor time of one pass."""
    start = time.process_time()
    run(pixels)
    return time.process_time() - start


@click.command()
@click.option("--repeats", default=9, show_default=True)
@torch.no_grad()
def main(repeats: int) -> None:
    """Print the table."""
    click.echo("| image tower | as OpenCLIP runs it | by slsgu | ratio | largest difference |")
    click.echo("|---|---|---|---|---|")
    for clip in (slsgu.load("imagenet-lite0", device="cpu"), random_clip("RN50")):
        pixels = torch.randn(BATCH, 3, *clip.image_size)
        beside = pixels.contiguous(memory_format=torch.channels_last)
        plain = clip.model.get_submodule("visual")
        # The first pass finds what can be folded.
        difference = (clip.image_features(pixels) - plain(beside)).abs().max()
        found = [
            (seconds(plain, beside), seconds(clip.image_features, pixels)) for _ in range(repeats)
        ]
        before, after = (statistics.median(column) for column in zip(*found, strict=True))
        difference = max(difference, (clip.image_features(pixels) - plain(beside)).abs().max())
        click.echo(
            f"| {clip.name} | {1000 * before / BATCH:.1f} ms | {1000 * after / BATCH:.1f} ms | "
            f"{after / before:.2f} | {float(difference):.0e} |"
        )


if __name__ == "__main__":
    main()
