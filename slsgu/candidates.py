"""Candidate layers, and the step search on each: the glue between gradients, replay and search."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slsgu.cache import Gradients
from slsgu.clip import Clip
from slsgu.direction import DIRECTIONS, DirectionContext, first_step
from slsgu.errors import SlsguError
from slsgu.evaluate import Answers, Exam
from slsgu.layers import Layer, inventory
from slsgu.losses import FORGET_LOSSES
from slsgu.measures import Measures
from slsgu.pareto import LayerScore
from slsgu.patch import Patch
from slsgu.plan import Plan
from slsgu.prompts import PromptBook
from slsgu.replay import Replay
from slsgu.search import Goal, Trial, search_step
from slsgu.taxonomy import Concept

CHECK_STEP = 0.01  # share of the first step at which the directional check looks
RESOLUTION = 0.1  # the default search stops once the step is known to 10 %


@dataclass(frozen=True)
class Candidate:
    """A layer that was searched: its scores, its trials, or why it was passed over."""

    score: LayerScore
    trials: tuple[Trial, ...] = ()
    passed_over: str | None = None

    def to_json(self, best: Trial | None) -> dict[str, Any]:
        row = self.score.to_json() | {
            "trials": len(self.trials),
            "passed_over": self.passed_over,
            "curve": [trial.to_json() for trial in sorted(self.trials, key=lambda t: t.step)],
        }
        return row | ({"step_size": None} if best is None else best.to_json())


@dataclass(frozen=True, eq=False)
class Scene:
    """The search split, embedded, ready to be asked what an edit does.

    Attributes:
        exam: labels of its images.
        replay: their embeddings under edits.
        book: the prompts of every class.
        before: answers of the unedited model.
        caption_shares: how much of each prompt of the book the forget caption of each image is
            [N, P]; rows of retained images are zero.
    """

    exam: Exam
    replay: Replay
    book: PromptBook
    before: Answers
    caption_shares: Tensor
    forget_loss: str

    @classmethod
    def of(cls, plan: Plan, leaves: Sequence[Concept], pixels: Tensor) -> Scene:
        """Embed the search split.

        Args:
            leaves: the leaf of each image.
            pixels: the images [N, 3, H, W].
        """
        exam = Exam(leaves, plan.taxonomy, plan.request)
        book = PromptBook.of(exam.concepts, plan.templates)
        replay = Replay(plan.clip, pixels, book.texts, batch_size=plan.settings.batch_size)
        shares = torch.stack([book.shares(plan.request.forgotten_names(leaf)) for leaf in leaves])
        before = exam.answer(*replay.base, book)
        return cls(exam, replay, book, before, shares, plan.settings.forget_loss)

    def measure(self, layer: Layer, weight: Tensor) -> Measures:
        """What replacing one layer does to the answers."""
        after = self.exam.answer(*self.replay.with_weight(layer, weight), self.book)
        return self.exam.measure(self.before, after)

    def loss(self, images: Tensor, prompts: Tensor) -> float:
        """The forget loss on the forget images, from embeddings."""
        rows = torch.from_numpy(self.exam.forget)
        values = FORGET_LOSSES[self.forget_loss](
            images[rows.to(images.device)], prompts, self.caption_shares[rows].to(images)
        )
        return float(values.double().mean())


def pick_candidates(plan: Plan, scores: Sequence[LayerScore]) -> list[tuple[Layer, LayerScore]]:
    """The layers to search: the fronts of both towers, or what an expert fixed, shallow to deep.

    Raises:
        SlsguError: the named layer does not exist, or can not be edited.
    """
    layers = {layer.name: layer for layer in inventory(plan.clip.model, norms=True)}
    by_name = {score.layer: score for score in scores}
    settings = plan.settings
    fixed = check_choice(plan)
    if fixed is not None:
        chosen = [fixed]
    else:
        chosen = [
            layers[score.layer]
            for score in scores
            if score.on_front and settings.tower in (None, score.tower)
        ]
    position = {name: index for index, name in enumerate(layers)}

    def place(layer: Layer) -> tuple[str, int, int]:
        return layer.tower, -1 if layer.block is None else layer.block, position[layer.name]

    return [(layer, by_name[layer.name]) for layer in sorted(chosen, key=place)]


def check_choice(plan: Plan) -> Layer | None:
    """The layer an expert fixed, if any. Cheap: a slip of the pen costs no pass over the images.

    Raises:
        SlsguError: the named layer does not exist, can not be edited, or is in the other tower.
    """
    settings = plan.settings
    if settings.layer is None:
        return None
    layers = {layer.name: layer for layer in inventory(plan.clip.model, norms=True)}
    chosen = find_layer(settings.layer, layers)
    if settings.tower not in (None, chosen.tower):
        raise SlsguError(
            f"layer {settings.layer} is in the {chosen.tower} tower, not {settings.tower}"
        )
    return chosen


def find_layer(name: str, layers: Mapping[str, Layer]) -> Layer:
    """A layer by its name in the model.

    Raises:
        SlsguError: no such layer; close names are suggested.
    """
    if name in layers:
        return layers[name]
    close = difflib.get_close_matches(name, layers, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise SlsguError(f"no editable layer {name!r}{hint} (`slsgu pareto --all` lists all of them)")


@dataclass(frozen=True, eq=False)
class Climb:
    """A layer and the straight line along which it moves: `weight + step * direction`."""

    layer: Layer
    weight: Tensor
    direction: Tensor

    @classmethod
    def of(cls, clip: Clip, layer: Layer, gradients: Gradients, direction: str) -> Climb:
        weight = dict(clip.model.named_parameters())[layer.name].detach().clone()
        context = DirectionContext(
            layer=layer,
            weight=weight,
            forget=gradients.forget[layer.name].to(weight),
            retain=gradients.retain[layer.name].to(weight),
        )
        return cls(layer, weight, DIRECTIONS[direction](context))

    def at(self, step: float) -> Tensor:
        """The layer's weights after a step."""
        return self.weight + self.delta(step)

    def delta(self, step: float) -> Tensor:
        """What a step adds, fp32."""
        return step * self.direction

    def patch(self, step: float, clip: Clip) -> Patch:
        """A step as a patch, with the layer as it was in its stored precision."""
        name = self.layer.name
        stored = clip.stored_dtypes.get(name, torch.float32)
        return Patch(
            {name: self.delta(step).to("cpu", torch.float32)},
            {name: self.weight.to("cpu", stored)},
        )

    def relative(self, step: float) -> float:
        """The length of a step as a share of the norm of the weights."""
        return step * float(self.direction.norm()) / max(float(self.weight.norm()), 1e-12)

    def rises(self, scene: Scene) -> bool:
        """The directional check: a small step along the direction must raise the forget loss."""
        small = CHECK_STEP * first_step(float(self.weight.norm()), self.direction)
        after = scene.replay.with_weight(self.layer, self.at(small))
        return scene.loss(*after) > scene.loss(*scene.replay.base)


def search_candidate(
    plan: Plan, scene: Scene, climb: Climb, score: LayerScore, goal: Goal
) -> Candidate:
    """Directional check and step search on one layer; every trial is kept."""
    settings = plan.settings
    if float(climb.direction.norm()) == 0:
        return Candidate(score, passed_over="its direction is zero")
    scene.replay.prepare(climb.layer)
    if not climb.rises(scene):
        return Candidate(score, passed_over="a small step does not raise the forget loss")
    if settings.step is not None:
        found = [(settings.step, scene.measure(climb.layer, climb.at(settings.step)))]
    else:
        paper = settings.search == "paper"
        found = search_step(
            lambda step: scene.measure(climb.layer, climb.at(step)),
            first_step(float(climb.weight.norm()), climb.direction),
            reached=(lambda m: m.forget_fine_after == 0) if paper else goal.reached,
            hopeless=lambda m: not paper and bool(goal.broken_floors(m)),
            trials=settings.trials,
            resolution=0.0 if paper else RESOLUTION,
        )
    trials = tuple(
        Trial(climb.layer.name, step, climb.relative(step), measures) for step, measures in found
    )
    return Candidate(score, trials)
