"""A result made without a model: real exams, measures and trials on invented answers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.ledger import Ledger
from slsgu.errors import DataError
from slsgu.evaluation.exam import Answers, Exam
from slsgu.evaluation.proof import Proof
from slsgu.patch.patch import Patch
from slsgu.pipeline.result import Outcome
from slsgu.search.choice import Trial, choose
from slsgu.search.goal import Goal
from slsgu.search.layer import Candidate
from slsgu.search.method import Edit, SearchTrace
from slsgu.search.pareto import LayerScore
from slsgu.task.settings import Settings

PETS = {
    "$name": "pets",
    "animal": {
        "dog": {"retriever": ["golden retriever", "labrador"], "hound": ["beagle", "basset"]},
        "cat": {"long hair": ["persian", "ragdoll"], "short hair": ["siamese", "bengal"]},
    },
    "vehicle": {"road": {"car": ["taxi", "van"]}, "water": {"boat": ["canoe", "ferry"]}},
}
LAYERS = [
    *(f"visual.transformer.resblocks.{i}.attn.out_proj.weight" for i in range(6)),
    *(f"visual.transformer.resblocks.{i}.mlp.c_fc.weight" for i in range(6)),
    *(f"transformer.resblocks.{i}.mlp.c_proj.weight" for i in range(4)),
    "visual.proj",
    "text_projection",
]


class FakeSample:
    """A plain picture; None as its colour stands for a file that is gone."""

    def __init__(self, leaf: Concept, index: int, size: int, colour: str | None) -> None:
        self.leaf = leaf
        self.caption = None
        self.name = f"{leaf.name}/{index:04d}.png"
        self.fingerprint = f"{index:064x}"
        self.size, self.colour = size, colour

    def read(self) -> Image.Image:
        if self.colour is None:
            raise DataError(f"{self.name}: it is gone")
        return Image.new("RGB", (self.size, self.size // 2), self.colour)


def answers(exam: Exam, share: float, forgotten: float, seed: int) -> Answers:
    """Answers that are right with a given probability, another where they are to be forgotten."""
    rng = np.random.Generator(np.random.PCG64(seed))
    depths = np.array([level.depth for level in exam.levels])
    gone = exam.forget[:, None] & (depths[None, :] >= exam.forget_depth[:, None])
    right = rng.random(exam.labels.shape) < np.where(gone, forgotten, share)
    counts = np.array([len(level.classes) for level in exam.levels])
    predicted = np.where(right, exam.labels, (exam.labels + 1) % counts)
    return Answers(predicted, predicted == exam.labels)


def fake_scores(front: int, rest: int = 20, *, zeros: bool = False) -> list[LayerScore]:
    """A front of a given size in each tower, and layers behind it."""
    scores = []
    for tower, prefix in (("vision", "visual.transformer."), ("language", "transformer.")):
        for i in range(front):
            name = f"{prefix}resblocks.{i}.attn.out_proj.weight"
            alignment = 0.0 if zeros and i == 0 else 0.01 * 1.3**i
            scores.append(
                LayerScore(name, tower, "matrix", 0.1 * 1.05**i, alignment, alignment, True)
            )
        for i in range(rest):
            name = f"{prefix}resblocks.{i}.mlp.c_fc.weight"
            alignment = 0.0 if zeros and i % 5 == 0 else 0.02 + 0.04 * (i * 7 % 20)
            importance = 0.0 if zeros and i % 7 == 0 else 0.001 * 1.2**i
            scores.append(LayerScore(name, tower, "matrix", importance, alignment, -alignment))
    return scores


def _searched(
    measures: Callable[[float, int], Any], forgotten: float
) -> tuple[list[LayerScore], list[Candidate]]:
    """The scores of all layers, and what the search found on the best of them.

    Args:
        measures: by the accuracy on what is to be forgotten, and a seed.
        forgotten: the accuracy after the longest steps.
    """
    scores = [
        LayerScore(name, "vision" if name.startswith("visual") else "language", "matrix",
                   0.01 * (i + 1), 0.02 * (i + 1), 0.02 * (i + 1), i % 4 == 0)
        for i, name in enumerate(LAYERS)
    ]  # fmt: skip
    candidates = [
        Candidate(score, tuple(
            Trial(score.layer, 0.1 * 2**k, 0.01 * 2**k, m)
            for k in range(5) for m in [measures(max(forgotten, 0.9 - 0.3 * k), k)]
        ))
        for score in scores if score.on_front
    ]  # fmt: skip
    candidates.append(Candidate(scores[1], passed_over="its direction is zero"))
    return scores, candidates


def _proof(exam: Exam, samples: Any, before: Answers, after: Answers) -> Proof:
    """What is measured at the end, with invented similarities."""
    classes = len(exam.levels[-1].classes)
    rng = np.random.Generator(np.random.PCG64(0))
    similarity = rng.uniform(-0.1, 0.3, (classes, classes)) + 0.4 * np.eye(classes)
    similarity[-1] = np.nan  # a class without images
    return Proof(
        exam=exam,
        samples=samples,
        before=before,
        after=after,
        measures=exam.measure_with_intervals(before, after, seed=0),
        similarity=(similarity, similarity - 0.1),
    )


def _task(request: Request, choices: Settings, count: int) -> Any:
    """What stands for a task of a model and `count` test images."""
    splits = SimpleNamespace(
        search=tuple(range(60)),
        description={"kind": "folders", "root": "photos", "counts": {"test": count}},
        notes=("van has only 3 images",),
        left_out=({"set": "retain", "name": "a.csv line 3", "reason": "no such file"},),
    )
    model = {"name": "ViT-B-32", "pretrained": "laion400m_e32", "sha256": "ab" * 32}
    return SimpleNamespace(
        clip=SimpleNamespace(describe=lambda: model),
        request=request,
        taxonomy=request.taxonomy,
        splits=splits,
        seed=choices.seed,
        templates=("a photo of a {}",),
    )


def fake_result(
    *concepts: str,
    tree: Any = None,
    forgotten: float = 0.02,
    images: int = 6,
    size: int = 48,
    **settings: Any,
) -> Outcome:
    """A run that forgot `concepts`.

    Args:
        forgotten: accuracy left on what is to be forgotten.
        images: of each leaf.
        size: pixels, the width of the pictures.
    """
    taxonomy = Taxonomy.parse(PETS if tree is None else tree)
    request = Request.of(taxonomy, concepts or ("golden retriever",))
    choices = Settings(**settings)
    leaves = [leaf for leaf in taxonomy.leaves for _ in range(images)]
    exam = Exam(leaves, taxonomy, request)
    before = answers(exam, 0.97, 0.97, 1)

    def measures(level: float, seed: int) -> Any:
        return exam.measure(before, answers(exam, 0.9, level, seed))

    scores, candidates = _searched(measures, forgotten)
    goal = Goal(choices.target, choices.floors)
    chosen = choose([trial for c in candidates for trial in c.trials], goal)
    samples: Any = tuple(
        FakeSample(leaf, i, size, None if i % 7 == 3 else "orange") for i, leaf in enumerate(leaves)
    )
    proof = _proof(exam, samples, before, answers(exam, 0.95, forgotten, 3))
    ledger = Ledger()
    ledger.skip("dog/<broken>.jpg", "the file is empty")
    ledger.overlap("dog/copy.jpg", "test", "gradient")
    task = _task(request, choices, len(leaves))
    gradients: Any = SimpleNamespace(
        losses={"forget": 0.7, "retain": float("nan")},
        counts={"forget": 50, "retain": 400},
        info={"skipped": [["cat/old.jpg", "it is truncated"]]},
    )
    success = goal.met(chosen.measures)
    trace = SearchTrace(gradients, tuple(scores), tuple(candidates), chosen, choices.method, goal)
    weight = torch.ones(2, 2)
    made = {
        "method": "single-gradient",
        "step_size": chosen.step,
        "relative_step": chosen.relative_step,
        "direction": choices.direction_used,
        "forget_loss": choices.forget_loss_used,
    }
    patch = Patch({chosen.layer: 0.1 * weight}, {chosen.layer: weight}, made)
    return Outcome(
        task=task,
        goal=goal,
        edit=Edit(patch, chosen.measures, settings=choices.to_json(), trace=trace),
        measures=chosen.measures,
        success=success,
        shortfall="" if success else "the goal was not met: too much is left",
        proof=proof,
        patch=None,
        ledger=ledger,
        seconds={"gradients": 1.5, "search": 2.5, "total": 5.0},
    )
