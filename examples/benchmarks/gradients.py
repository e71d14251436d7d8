"""The gradient pass: against its floor, against a straightforward loop, and its memory.

    python examples/benchmarks/gradients.py floor
    python examples/benchmarks/gradients.py naive
    python examples/benchmarks/gradients.py memory

ViT-B-32 with random weights, pictures of noise that are decoded beforehand (so that reading them
is not timed), everything in one run, the sides alternating, the best of each. What is timed is the
processor time of one thread: what else runs on a machine adds to the clock, and little to that.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import click
import numpy as np
import torch
from common import Noise, classes, machine, print_table, processor_time, random_clip
from torch import Tensor

from slsgu.data.batches import Batch
from slsgu.gradients.accumulate import forget_loss_of, retain_loss_of, run_pass
from slsgu.losses.forget import cosine
from slsgu.losses.retain import contrastive
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.utils.surroundings import give_freed_memory_back, keep_freed_memory

TEMPLATES = [
    "a photo of a {}",
    "a picture of the {}",
    "a drawing of a {}",
    "the {} in a scene",
]


class Work:
    """Forget and retain pictures of a model, and what they are captioned with."""

    def __init__(self, clip: Clip, forget: int, retain: int, kinds: int) -> None:
        self.clip = clip
        leaves = classes(kinds).leaves
        self.captions = [t.replace("{}", leaf.name) for leaf in leaves for t in TEMPLATES]
        self.forget = torch.randn(forget, 3, 224, 224)
        self.retain = torch.randn(retain, 3, 224, 224)
        self.labels = torch.arange(retain) % len(self.captions)
        self.samples = [Noise(leaves[i % kinds], i) for i in range(max(forget, retain))]
        self.layers = inventory(clip.model, norms=True)

    def describe(self) -> str:
        images = f"{len(self.forget)} forget and {len(self.retain)} retain images"
        return f"{images}, {len(self.captions)} captions"

    def batches(self, pixels: Tensor, size: int) -> list[Batch]:
        parts = zip(pixels.split(size), range(0, len(pixels), size), strict=True)
        return [
            Batch(tuple(self.samples[at : at + len(part)]), part, at + len(part))
            for part, at in parts
        ]

    def ours(self, micro: int, logical: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        own = len(TEMPLATES)
        weights = torch.full((1, own), 1 / own)
        forget = run_pass(
            self.clip, self.layers, self.batches(self.forget, micro), self.captions[:own],
            forget_loss_of(lambda b: weights.expand(len(b.samples), -1), cosine),
            logical_batch=logical,
        )  # fmt: skip
        retain = run_pass(
            self.clip, self.layers, self.batches(self.retain, micro), self.captions,
            retain_loss_of(
                self.clip,
                lambda b: self.labels[[s.number for s in b.samples]],
                contrastive,
            ),
            logical_batch=logical,
        )  # fmt: skip
        return forget.gradients, retain.gradients

    def floor(self, micro: int, logical: int) -> None:
        """Forward and backward of the same unique inputs and nothing else."""
        for pixels, captions in (
            (self.forget, self.captions[: len(TEMPLATES)]),
            (self.retain, self.captions),
        ):
            parameters = dict(self.clip.model.named_parameters())
            wanted = [parameters[layer.name] for layer in self.layers]
            for parameter in wanted:
                parameter.requires_grad_(True)
            for part in pixels.split(micro):
                if micro < logical:
                    with torch.no_grad():
                        self.clip.encode_image(part)
                self.clip.encode_image(part).sum().backward()
            self.clip.encode_text(captions).sum().backward()
            for parameter in wanted:
                parameter.requires_grad_(False)
                parameter.grad = None

    def naive(self, size: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As in the published code: a batch at a time, gradients zeroed and added to a copy, the
        captions of every image encoded, all parameters differentiated."""
        model, tokenize = self.clip.model, self.clip.tokenize
        scale = model.logit_scale.detach().exp()
        found = []
        for which, pixels in (("forget", self.forget), ("retain", self.retain)):
            model.requires_grad_(True)
            sums = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
            for at in range(0, len(pixels), size):
                part = pixels[at : at + size]
                model.zero_grad()
                images = model.encode_image(part, normalize=True)
                if which == "forget":
                    own = self.captions[: len(TEMPLATES)]
                    texts = model.encode_text(tokenize(own * len(part)), normalize=True)
                    cosines = images @ texts.reshape(len(part), len(own), -1).mean(1).T
                    loss = (1 - cosines.diagonal()).mean()
                else:
                    rows = self.labels[at : at + size]
                    captions = [self.captions[int(i)] for i in rows]
                    texts = model.encode_text(tokenize(captions), normalize=True)
                    loss = contrastive(images, texts, torch.arange(len(part)), scale)
                loss.backward()
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        sums[name] += parameter.grad.clone() * len(part) / len(pixels)
            model.zero_grad()
            model.requires_grad_(False)
            found.append({layer.name: sums[layer.name] for layer in self.layers})
        return found[0], found[1]


@click.group()
def main() -> None:
    """Benchmarks of the gradient pass."""
    torch.set_num_threads(1)


def sizes(command: click.Command) -> click.Command:
    for option in (
        click.option("--forget", default=64, show_default=True, help="Images."),
        click.option("--retain", default=128, show_default=True, help="Images."),
        click.option("--kinds", default=20, show_default=True, help="Classes."),
        click.option("--repeats", default=3, show_default=True),
    ):
        command = option(command)
    return command


@main.command("floor")
@sizes
def floor_(forget: int, retain: int, kinds: int, repeats: int) -> None:
    """Ours over forward and backward of the same unique inputs."""
    work = Work(random_clip(), forget, retain, kinds)
    rows = []
    for micro, logical in ((32, 32), (16, 64)):
        work.floor(micro, logical)  # warm
        pairs = [
            (processor_time(lambda m=micro, n=logical: work.ours(m, n)),
             processor_time(lambda m=micro, n=logical: work.floor(m, n)))
            for _ in range(repeats)
        ]  # fmt: skip
        ours, least = np.min(pairs, axis=0)
        rows.append(
            [f"{micro} in {logical}", f"{ours:.1f} s", f"{least:.1f} s", f"{ours / least:.2f}"]
        )
    print(
        f"{machine()}; {forget} forget and {retain} retain images, {len(work.captions)} captions\n"
    )
    print_table(["micro-batch in logical batch", "ours", "floor", "ratio"], rows)


@main.command()
@sizes
def naive(forget: int, retain: int, kinds: int, repeats: int) -> None:
    """A straightforward loop over ours; the gradients must agree."""
    work = Work(random_clip(), forget, retain, kinds)
    one, other = work.ours(16, 16), work.naive(16)
    worst = max(
        float((a[n] - b[n]).norm() / (b[n].norm() + 1e-12))
        for a, b in zip(one, other, strict=True)
        for n in a
    )
    assert worst < 1e-3, worst
    pairs = [
        (processor_time(lambda: work.naive(16)), processor_time(lambda: work.ours(16, 16)))
        for _ in range(repeats)
    ]
    loop, ours = np.min(pairs, axis=0)
    print(
        f"{machine()}; {forget} forget and {retain} retain images, {len(work.captions)} captions\n"
    )
    print_table(
        ["straightforward loop", "ours", "ratio", "largest difference of a gradient"],
        [[f"{loop:.1f} s", f"{ours:.1f} s", f"{loop / ours:.2f}", f"{worst:.0e}"]],
    )


@main.command()
@click.option("--micro", default=16, show_default=True)
@click.option("--inside", is_flag=True, hidden=True)
def memory(micro: int, inside: bool) -> None:
    """Peak memory above the process after imports, over what must be held."""
    if not inside:
        command = [sys.executable, __file__, "memory", "--micro", str(micro), "--inside"]
        print(machine() + "\n")
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return
    keep_freed_memory()  # as the command line does at its start
    start = peak()
    clip = random_clip()
    give_freed_memory_back()  # and again for a model of this size
    work = Work(clip, micro, 2 * micro, 10)
    weights = sum(p.nbytes for p in work.clip.model.parameters())
    gradients = 2 * sum(
        dict(work.clip.model.named_parameters())[x.name].nbytes for x in work.layers
    )
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in work.clip.model.parameters()}
    part = work.forget.clone().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        graph = work.clip.encode_image(part)
    activations = sum(size for at, size in kept.items() if at not in own)
    pixels = work.forget.nbytes + work.retain.nbytes + part.nbytes
    del graph, part
    kept.clear()
    held = work.ours(micro, micro)
    assert len(held) == 2
    used = peak() - start
    needed = weights + gradients + activations + pixels
    mib = [f"{value / 2**20:.0f} MiB" for value in (used, weights, gradients, activations, pixels)]
    print_table(
        ["peak", "weights", "gradients", "activations", "pictures", "peak / sum"],
        [[*mib, f"{used / needed:.2f}"]],
    )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
