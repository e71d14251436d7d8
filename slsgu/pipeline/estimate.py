"""What a run would cost: `apply --dry-run`. Times a few images on this machine and multiplies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from slsgu.data.images import UnreadableImageError
from slsgu.errors import ArtifactError, DataError
from slsgu.evaluation.other_sets import Also, find_others
from slsgu.gradients.gradients import Gradients
from slsgu.models.clip import Clip
from slsgu.pipeline.run_folder import RunFolder, key_differences
from slsgu.search.candidates import check_choice, pick_candidates
from slsgu.search.pareto import rank_layers
from slsgu.task.plan import Plan
from slsgu.task.task import Task

SAMPLE = 4  # images that are timed
ASSUMED_FRONT = 6  # layers on the front of a tower, where the gradients are not there to say
SUFFIX_SHARE = 0.5  # of a tower that a trial runs again, on average over its depth


@dataclass(frozen=True)
class Estimate:
    """What would be done, and what it would cost here.

    Attributes:
        seconds: `read` images, `gradients`, `search`, `test`, and their sum, `total`.
        bytes: `weights`, `gradients`, `activations` of one micro-batch, `search_images`, and
            their sum, `total`.
    """

    run: str
    forget_leaves: list[str]
    images: dict[str, int]
    gradients_reused: bool
    candidates: list[str]
    trials: int
    seconds: dict[str, float]
    bytes: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """A few lines for a terminal."""
        counts = ", ".join(f"{count} {what}" for what, count in self.images.items())
        layers = (
            f"{len(self.candidates)} layers: {', '.join(self.candidates)}"
            if self.candidates
            else f"the Pareto fronts (about {2 * ASSUMED_FRONT} layers)"
        )
        reused = "reused" if self.gradients_reused else "to be computed"
        return "\n".join(
            [
                f"run        {self.run}",
                f"forget     {', '.join(self.forget_leaves)}",
                f"images     {counts}",
                f"gradients  {reused}",
                f"search     {layers}, up to {self.trials} steps each",
                f"time       at most about {self.seconds['total']:.0f} s: "
                + ", ".join(f"{k} {v:.1f} s" for k, v in self.seconds.items() if k != "total"),
                f"memory     about {self.bytes['total'] / 2**20:.0f} MiB beyond the program: "
                + ", ".join(
                    f"{k.replace('_', ' ')} {v / 2**20:.0f}"
                    for k, v in self.bytes.items()
                    if k != "total"
                ),
                "nothing was written",
            ]
        )


def estimate(plan: Plan, folder: RunFolder, also: Sequence[Also] = ()) -> Estimate:
    """Estimate time and memory of a plan. Reads a handful of images; writes nothing.

    Raises:
        SlsguError: the plan can not be carried out, or one of the other data sets not be used.
    """
    task, settings = plan.task, plan.settings
    clip, splits = task.clip, task.splits
    check_choice(plan)
    others = find_others(task, also)
    other_count = sum(len(each.images) for each in others)
    start = time.perf_counter()
    pixels = _first_pixels(task)
    read = (time.perf_counter() - start) / len(pixels)
    forward = _seconds_per_image(clip, pixels)
    cached = _matching_cache(plan, folder)
    candidates: list[str] = []
    if cached is not None:
        ranked = rank_layers(cached, norms=settings.considers_norms, also=settings.layer)
        candidates = [layer.name for layer, _ in pick_candidates(plan, ranked)]
    elif settings.layer is not None:
        candidates = [settings.layer]
    vision = sum(name.startswith("visual.") for name in candidates)
    vision = vision if candidates else 0 if settings.tower == "language" else ASSUMED_FRONT
    trials = 1 if settings.step is not None else settings.trials
    # Forward, then about twice as much backwards; once more forward in chunks under one batch.
    micro_batch = task.machine.micro_batch(settings.contrastive_batch)
    passes = 3 if micro_batch == settings.contrastive_batch else 4
    gradient_count = 0 if cached is not None else len(splits.gradient)
    seconds = {
        "read": read * (gradient_count + len(splits.search) + len(splits.test) + other_count),
        "gradients": passes * forward * gradient_count,
        "search": forward * len(splits.search) * (2 + vision * trials * SUFFIX_SHARE),
        "test": 2 * forward * (len(splits.test) + other_count),
    }
    weights = sum(p.numel() * p.element_size() for p in clip.model.parameters())
    sizes = {
        "weights": weights,
        "gradients": 3 * weights,
        "activations": _activation_bytes(clip, pixels) * micro_batch // len(pixels),
        "search_images": pixels[0].numel() * 4 * len(splits.search),
    }
    forget = set(task.request.forget_leaves)
    return Estimate(
        run=str(folder.path),
        forget_leaves=[leaf.key for leaf in task.request.forget_leaves],
        images={
            "forget": sum(s.leaf in forget for s in splits.gradient),
            "retain": sum(s.leaf not in forget for s in splits.gradient),
            "search": len(splits.search),
            "test": len(splits.test),
            **({"other data sets": other_count} if also else {}),
        },
        gradients_reused=cached is not None,
        candidates=candidates,
        trials=trials,
        seconds={**seconds, "total": sum(seconds.values())},
        bytes={**sizes, "total": sum(sizes.values())},
    )


def _first_pixels(task: Task) -> Tensor:
    """A few readable gradient images [n, 3, H, W], n at most `SAMPLE`."""
    pixels: list[Tensor] = []
    for sample in task.splits.gradient:
        try:
            pixels.append(task.clip.preprocess(sample.read()))
        except UnreadableImageError:
            if task.data.strict:
                raise
        if len(pixels) == SAMPLE:
            break
    if not pixels:
        raise DataError("no image of the gradient split can be read")
    return torch.stack(pixels)


def _matching_cache(plan: Plan, folder: RunFolder) -> Gradients | None:
    try:
        cached = Gradients.load(folder.gradients)
    except ArtifactError:
        return None
    return None if key_differences(cached.key, plan.key) else cached


def _seconds_per_image(clip: Clip, pixels: Tensor) -> float:
    """Best of three forward passes: the first one warms up."""
    times = []
    with torch.no_grad():
        for _ in range(3):
            start = time.perf_counter()
            clip.encode_image(pixels)
            times.append(time.perf_counter() - start)
    return min(times) / len(pixels)


def _activation_bytes(clip: Clip, pixels: Tensor) -> int:
    """What autograd keeps for the backward pass of a few images."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in clip.model.parameters()}
    inputs = pixels.to(clip.device).requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        embedded = clip.encode_image(inputs)
    del embedded
    return sum(size for pointer, size in kept.items() if pointer not in weights)
