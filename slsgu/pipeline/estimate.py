"""What a run would cost: `apply --dry-run`. Times a few images on this machine and multiplies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from slsgu.concepts.prompts import PromptBook
from slsgu.data.batches import default_workers
from slsgu.data.images import UnreadableImageError
from slsgu.errors import ArtifactError, DataError
from slsgu.evaluation.other_sets import Also, find_others
from slsgu.gradients.gradients import Gradients
from slsgu.models.clip import Clip
from slsgu.models.footprint import activation_bytes
from slsgu.models.layers import Layer
from slsgu.pipeline.moved import seconds_of_states
from slsgu.pipeline.run_folder import RunFolder, reuse_differences
from slsgu.search.candidates import check_choice, pick_candidates, rank_candidates
from slsgu.search.curve import USUAL
from slsgu.search.readable import reads_projection, reads_states, towers_searched
from slsgu.search.screen import ONE_IN
from slsgu.task.plan import Plan
from slsgu.task.settings import MethodSettings
from slsgu.task.task import Task

SAMPLE = 16  # images that are timed
TIMED_TEXTS = 64  # prompts that are timed
FEW = 5  # names that are shown one by one
STEPS = ("read", "gradients", "search", "test")
LAST_SHARE = 0.05  # of a tower's time that is spent behind its last stage
ASSUMED_FRONT = 6  # layers on the front of a tower, where the gradients are not there to say
SUFFIX_SHARE = 0.5  # of a tower that a trial runs again, on average over its depth


@dataclass(frozen=True)
class Estimate:
    """What would be done, and what it would cost here.

    Attributes:
        candidates: the layers that would be searched; empty where gradients are not there to say.
        layers: how many these are, or are likely to be.
        seconds: `read` images, `gradients`, `search`, `test`, and their sum, `total`, where a last
            projection is good enough; `at_most` where every candidate is searched to the end.
        bytes: `weights`, `gradients`, `activations` of one micro-batch, `search_images`, and
            their sum, `total`.
    """

    run: str
    forget_leaves: list[str]
    images: dict[str, int]
    gradients_reused: bool
    candidates: list[str]
    layers: int
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
            else f"the Pareto fronts (about {self.layers} layers)"
        )
        reused = "reused" if self.gradients_reused else "to be computed"
        return "\n".join(
            [
                f"run        {self.run}",
                f"forget     {_first(self.forget_leaves)}",
                f"images     {counts}",
                f"gradients  {reused}",
                f"search     {layers}, {self._steps()}",
                f"time       about {self.seconds['total']:.0f} s: "
                + ", ".join(f"{k} {v:.1f} s" for k, v in self.seconds.items() if k in STEPS),
                *self._longer(),
                f"memory     about {self.bytes['total'] / 2**20:.0f} MiB beyond the program: "
                + ", ".join(
                    f"{k.replace('_', ' ')} {v / 2**20:.0f}"
                    for k, v in self.bytes.items()
                    if k != "total"
                ),
                "nothing was written",
            ]
        )

    def _steps(self) -> str:
        return f"about {self.trials} evaluations each" if self.trials > 1 else "one step"

    def _longer(self) -> list[str]:
        """What more it may take, if that is much."""
        most = self.seconds["at_most"]
        if most < 1.2 * self.seconds["total"]:
            return []
        return [f"           at most {most:.0f} s, if no last projection is good enough"]


def _first(names: Sequence[str]) -> str:
    """The first few of many names, and how many there are.

    >>> _first(["a", "b"]), _first(list("abcdefg"))
    ('a, b', 'a, b, c, d, ... (7 classes)')
    """
    if len(names) <= FEW:
        return ", ".join(names)
    return f"{', '.join(names[: FEW - 1])}, ... ({len(names)} classes)"


def estimate(plan: Plan, folder: RunFolder, also: Sequence[Also] = ()) -> Estimate:
    """Estimate time and memory of a plan. Reads a handful of images; writes nothing.

    Raises:
        SlsguError: the plan cannot be carried out, or one of the other data sets not be used.
    """
    task, settings = plan.task, plan.settings
    clip, splits = task.clip, task.splits
    check_choice(plan)
    others = find_others(task, also)
    other_count = sum(len(each.images) for each in others)
    start = time.perf_counter()
    pixels = _first_pixels(task)
    read = (time.perf_counter() - start) / len(pixels)
    cached = _matching_cache(plan, folder)
    candidates = _candidates(plan, cached)
    gradient_count = 0 if cached is not None else len(splits.gradient)
    counts = {"gradient": gradient_count, "test": len(splits.test) + other_count}
    times = _seconds(plan, candidates, pixels, counts)
    images_read = gradient_count + len(splits.search) + counts["test"]
    seconds = {"read": read * images_read / _readers(task, images_read), **times}
    most = seconds.pop("search at most")
    total = sum(seconds.values())
    weights = sum(p.numel() * p.element_size() for p in clip.model.parameters())
    micro_batch = task.machine.micro_batch(settings.contrastive_batch)
    sizes = {
        "weights": weights,
        "gradients": 3 * weights,
        "activations": activation_bytes(clip, pixels) * micro_batch // len(pixels),
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
        candidates=[layer.name for layer in candidates],
        layers=len(candidates) or ASSUMED_FRONT * len(towers_searched(settings)),
        trials=_evaluations(settings),
        seconds={**seconds, "total": total, "at_most": total - seconds["search"] + most},
        bytes={**sizes, "total": sum(sizes.values())},
    )


def _candidates(plan: Plan, cached: Gradients | None) -> list[Layer]:
    """The layers that would be searched, as far as that is known without gradients."""
    if cached is not None:
        ranked = rank_candidates(plan, cached)
        return [layer for layer, _ in pick_candidates(plan, ranked)]
    fixed = check_choice(plan)
    return [] if fixed is None else [fixed]


def _seconds(
    plan: Plan, candidates: Sequence[Layer], pixels: Tensor, counts: Mapping[str, int]
) -> dict[str, float]:
    """Wall time of each step but reading. The search has two figures: where a last projection is
    good enough, as it mostly is, and where every candidate is searched to the end."""
    task, settings = plan.task, plan.settings
    forward, both_ways = _seconds_per_image(task.clip, pixels)
    texts = _seconds_of_texts(plan)
    # Embeddings first and back-propagation by chunk, where a micro-batch is not the whole batch.
    again = task.machine.micro_batch(settings.contrastive_batch) < settings.contrastive_batch
    per_gradient = both_ways + (forward if again else 0)
    if settings.layer is not None and not _goes_back(candidates):
        per_gradient = forward
    search_count = len(task.splits.search)
    embedding = forward * search_count + texts
    curvature = 2 * both_ways * search_count * LAST_SHARE
    inner = [layer for layer in candidates if not layer.last]
    towers = [layer.tower for layer in inner]
    if not candidates:
        towers = [x for x in towers_searched(settings) for _ in range(ASSUMED_FRONT)]
    trial = {"vision": forward * search_count, "language": texts}
    screened = settings.search != "paper" and not reads_states(settings)
    on_part = screened and towers.count("vision") > 1
    share = {"vision": 1 / ONE_IN if on_part else 1.0, "language": 1.0}  # of the search images
    steps = sum(_evaluations(settings) * SUFFIX_SHARE * share[x] * trial[x] for x in towers)
    read_elsewhere = seconds_of_states(settings, trial, forward, counts["test"])
    embedding += read_elsewhere[0]
    most = embedding + both_ways * search_count + steps
    stops_early = (
        settings.search != "paper"
        and not settings.thorough
        and len(candidates) != 1
        and reads_projection(plan)
    )
    return {
        "gradients": per_gradient * counts["gradient"] + (3 * texts if counts["gradient"] else 0),
        "search": embedding + curvature if stops_early else most,
        "search at most": most,
        "test": forward * counts["test"] + texts + read_elsewhere[1],
    }


def _evaluations(settings: MethodSettings) -> int:
    """How often a layer is evaluated, about."""
    if settings.step is not None:
        return 1
    every = settings.search == "paper" or reads_states(settings)
    return settings.trials if every else USUAL


def _goes_back(layers: Sequence[Layer]) -> bool:
    """Whether gradients of these layers alone need a pass back through the stages of the image
    tower, and the activations for it."""
    return any(layer.tower == "vision" and not layer.last for layer in layers)


def _readers(task: Task, count: int) -> int:
    """Processes that read images at the same time."""
    workers = task.machine.workers
    return max(1, default_workers(count) if workers is None else workers)


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
    return None if reuse_differences(cached.key, plan.key) else cached


def _seconds_per_image(clip: Clip, pixels: Tensor) -> tuple[float, float]:
    """Seconds of an image forwards, and forwards and backwards. The first pass warms up."""
    times: dict[bool, list[float]] = {False: [], True: []}
    parameter = next(clip.model.get_submodule("visual").parameters())
    for backwards in (False, False, True, True):
        start = time.perf_counter()
        parameter.requires_grad_(backwards)
        try:
            with torch.set_grad_enabled(backwards):
                features = clip.encode_image(pixels)
                if backwards:
                    torch.autograd.grad(features.sum(), parameter)
        finally:
            parameter.requires_grad_(False)
        times[backwards].append(time.perf_counter() - start)
    forward, both_ways = (min(times[backwards]) / len(pixels) for backwards in (False, True))
    return forward, max(both_ways, forward) * (4 / 3)  # gradients of weights come on top


def _seconds_of_texts(plan: Plan) -> float:
    """Seconds to encode every prompt of the taxonomy once."""
    task = plan.task
    book = PromptBook.of(task.taxonomy.concepts, task.templates)
    some = list(book.texts[:TIMED_TEXTS])
    start = time.perf_counter()
    with torch.no_grad():
        task.clip.encode_text(some)
    return (time.perf_counter() - start) / len(some) * len(book.texts)
