"""The whole request: gradients, candidates, step, patch, and the proof on images not used before.

    request -> data -> gradients -> pareto -> direction -> search -> patch -> evaluate -> report

Three disjoint sets of images: gradients are taken on one, layer and step are chosen on another,
and what is reported is measured on a third.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slsgu import __version__
from slsgu.cache import Gradients
from slsgu.candidates import Candidate, Climb, Scene, pick_candidates, search_candidate
from slsgu.clip import Clip
from slsgu.data.batches import Ledger, collect, stream
from slsgu.data.samples import Sample
from slsgu.errors import ConceptError, NotReachedError
from slsgu.evaluate import Answers, Exam
from slsgu.files import json_sha256
from slsgu.layers import inventory
from slsgu.measures import Measures
from slsgu.pareto import LayerScore, score_layers
from slsgu.patch import Patch
from slsgu.plan import Plan, make_plan
from slsgu.progress import SILENT, Progress
from slsgu.prompts import PromptBook
from slsgu.replay import edited
from slsgu.runs import RunFolder, obtain_gradients
from slsgu.search import Goal, Trial, choose, choose_paper
from slsgu.settings import Settings
from slsgu.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class Proof:
    """What the test split says: answers to one exam before and after, and mean embeddings.

    Attributes:
        samples: the N test images, in order.
        similarity: cosine between the mean image embedding of class i and the class embedding of
            class j at the finest level, (before, after), each [C, C].
    """

    exam: Exam
    samples: tuple[Sample, ...]
    before: Answers
    after: Answers
    measures: Measures
    similarity: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Result:
    """Everything a run found. `patch` is None where the goal was not met and nobody insisted.

    Attributes:
        scores: importance and alignment of every layer considered.
        candidates: the layers searched, with every trial.
        chosen: the trial that was taken, measured on the search split.
        success: the forget target is reached and the floors hold, on the search split.
        proof: what the test split says about the chosen trial.
        seconds: wall time of `gradients`, `search` and `total`.
    """

    plan: Plan
    gradients: Gradients
    scores: tuple[LayerScore, ...]
    candidates: tuple[Candidate, ...]
    chosen: Trial
    success: bool
    shortfall: str
    proof: Proof
    patch: Patch | None
    ledger: Ledger
    seconds: dict[str, float]

    @property
    def tower(self) -> str:
        return next(s.tower for s in self.scores if s.layer == self.chosen.layer)


def unlearn(
    clip: Clip,
    *concepts: str,
    data: str | Path | None = None,
    taxonomy: str | Path | Taxonomy | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> Result:
    """Forget concepts: the whole pipeline, in memory.

    Args:
        clip: the model; it is unchanged.
        concepts: what to forget, by name, alias or path.
        data: a folder with one folder per class; None for the menagerie's drawings.
        taxonomy: a YAML file or a `Taxonomy`; None for the menagerie's or a flat list of folders.
        settings: how; None for the defaults.

    Raises:
        ConceptError: a concept is unknown, ambiguous, or not known to the model.
        DataError: images or taxonomy can not be used.
        NotReachedError: the goal was not met; its `result` holds the best trade-off found.
    """
    plan = make_plan(clip, concepts, data=data, taxonomy=taxonomy, settings=settings)
    result = run_plan(plan, progress=progress)
    if result.patch is None:
        raise NotReachedError(result.shortfall, result)
    return result


def run_plan(
    plan: Plan,
    *,
    folder: RunFolder | None = None,
    progress: Progress = SILENT,
    command: str | None = None,
) -> Result:
    """Carry out a plan.

    Args:
        folder: where gradients are reused from and saved to; None keeps them in memory.
        command: the command line, recorded in the patch.
    """
    start = time.perf_counter()
    ledger = Ledger()
    gradients, _ = obtain_gradients(plan, folder, ledger, progress)
    computed = time.perf_counter()
    scores = rank_layers(plan, gradients)
    scene = _search_scene(plan, ledger, progress)
    goal = Goal(plan.settings.target, plan.settings.floors)
    candidates, climbs = [], {}
    picked = pick_candidates(plan, scores)
    with progress.bar("step search", len(picked)) as advance:
        for layer, score in picked:
            climb = Climb.of(plan.clip, layer, gradients, plan.settings.direction)
            candidates.append(search_candidate(plan, scene, climb, score, goal))
            climbs[layer.name] = climb
            advance(1)
    trials = [trial for candidate in candidates for trial in candidate.trials]
    if not trials:
        reasons = "; ".join(f"{c.score.layer}: {c.passed_over}" for c in candidates)
        raise ConceptError(f"no layer can be stepped along ({reasons or 'no candidate'})")
    chosen = (choose_paper if plan.settings.search == "paper" else choose)(trials, goal)
    success = goal.met(chosen.measures)
    climb = climbs[chosen.layer]
    searched = time.perf_counter()
    proof = prove(plan, climb, chosen.step, ledger, progress)
    ledger.check()
    patch = None
    if success or plan.settings.force or plan.settings.search == "paper":
        patch = _make_patch(plan, gradients, climb, chosen, proof.measures, success, command)
    end = time.perf_counter()
    return Result(
        plan=plan,
        gradients=gradients,
        scores=tuple(scores),
        candidates=tuple(candidates),
        chosen=chosen,
        success=success,
        shortfall="" if success else describe_shortfall(plan, goal, chosen),
        proof=proof,
        patch=patch,
        ledger=ledger,
        seconds={
            "gradients": computed - start,
            "search": searched - computed,
            "total": end - start,
        },
    )


def rank_layers(plan: Plan, gradients: Gradients) -> list[LayerScore]:
    """Importance, alignment and the fronts, over the layers that the settings consider."""
    layers = inventory(plan.clip.model, norms=plan.settings.considers_norms)
    if plan.settings.layer is not None:
        layers = inventory(plan.clip.model, norms=True)
    return score_layers(layers, gradients.forget, gradients.retain, gradients.weight_norms)


def describe_shortfall(plan: Plan, goal: Goal, trial: Trial) -> str:
    """Why the best trade-off is not a success, in one sentence."""
    measures = trial.measures
    parts = []
    if not goal.reached(measures):
        parts.append(
            f"{plan.request.title} is still recognised {measures.forget_accuracy:.1%} of the time "
            f"(target {goal.target:.0%})"
        )
    for name in goal.broken_floors(measures):
        ratio = measures.kept_ratios[name]
        parts.append(f"{name} falls to {ratio:.1%} of what it was (floor {goal.floors[name]:.0%})")
    return (
        f"the goal was not met: on the search split, {' and '.join(parts)}; best trade-off found: "
        f"{trial.layer} at step {trial.step:.6g}, Q-U {(trial.measures.q_u or 0):.1%}"
    )


def _search_scene(plan: Plan, ledger: Ledger, progress: Progress) -> Scene:
    """Read and embed the search split, and refuse a concept the model does not know."""
    settings = plan.settings
    with progress.bar("search images", len(plan.splits.search)) as advance:
        samples, pixels = collect(
            plan.splits.search,
            plan.clip.preprocess,
            split="search",
            ledger=ledger,
            batch_size=settings.batch_size,
            workers=settings.workers,
            strict=settings.strict,
            progress=advance,
            required=plan.request.forget_leaves,
        )
    scene = Scene.of(plan, [sample.leaf for sample in samples], pixels)
    unchanged = scene.exam.measure(scene.before, scene.before)
    rows = [row for row in unchanged.levels if row.forgotten and row.fine]
    if rows and not rows[0].measurable and not settings.force:
        row = rows[0]
        raise ConceptError(
            f"the model does not know {plan.request.title!r} in the first place: it names "
            f"{row.before:.1%} of {row.count} images right, and chance is {row.chance:.1%} "
            f"(95 % interval {row.before_interval[0]:.1%} to {row.before_interval[1]:.1%}). "
            "Use --force to go on all the same"
        )
    return scene


def prove(
    plan: Plan, climb: Climb, step: float, ledger: Ledger, progress: Progress = SILENT
) -> Proof:
    """Measure one edit on the test split; images are streamed and embedded with and without it."""
    clip, settings, layer = plan.clip, plan.settings, climb.layer
    exam_concepts = Exam((), plan.taxonomy).concepts
    book = PromptBook.of(exam_concepts, plan.templates)
    parameter = dict(clip.model.named_parameters())[layer.name]
    moved = climb.at(step)
    samples: list[Sample] = []
    images: dict[str, list[Tensor]] = {"before": [], "after": []}
    with torch.no_grad(), progress.bar("test images", len(plan.splits.test)) as advance:
        prompts = {"before": clip.encode_text(book.texts)}
        with edited(parameter, moved if layer.tower == "language" else None):
            prompts["after"] = clip.encode_text(book.texts)
        for batch in stream(
            plan.splits.test,
            clip.preprocess,
            split="test",
            ledger=ledger,
            batch_size=settings.batch_size,
            workers=settings.workers,
            strict=settings.strict,
            progress=advance,
        ):
            samples += batch.samples
            images["before"].append(clip.encode_image(batch.pixels))
            if layer.tower == "vision":
                with edited(parameter, moved):
                    images["after"].append(clip.encode_image(batch.pixels))
    exam = Exam([sample.leaf for sample in samples], plan.taxonomy, plan.request)
    if not exam.forget.any() or exam.forget.all():
        which = "forget" if not exam.forget.any() else "other"
        raise ConceptError(f"the test split has no usable {which} image: nothing can be proved")
    embedded = {moment: torch.cat(parts) for moment, parts in images.items() if parts}
    embedded.setdefault("after", embedded["before"])
    answers = {m: exam.answer(embedded[m], prompts[m], book) for m in ("before", "after")}
    measures = exam.measure_with_intervals(answers["before"], answers["after"], seed=settings.seed)
    similarity = [
        class_similarity(exam, embedded[m], prompts[m], book) for m in ("before", "after")
    ]
    return Proof(
        exam,
        tuple(samples),
        answers["before"],
        answers["after"],
        measures,
        (similarity[0], similarity[1]),
    )


def class_similarity(
    exam: Exam, images: Tensor, prompts: Tensor, book: PromptBook
) -> npt.NDArray[np.float64]:
    """Figure 3: mean cosine between the images of class i and the text of class j [C, C], at the
    finest level. A class without images has a row of NaN."""
    classes = exam.levels[-1].classes
    texts = book.class_embeddings(prompts, classes)  # [C, d]
    labels = torch.from_numpy(exam.labels[:, -1]).to(images.device)
    rows = [
        images[labels == index].mean(dim=0)
        if bool((labels == index).any())
        else torch.full_like(texts[0], torch.nan)
        for index in range(len(classes))
    ]
    return (torch.stack(rows) @ texts.T).double().cpu().numpy()


def _make_patch(
    plan: Plan,
    gradients: Gradients,
    climb: Climb,
    chosen: Trial,
    measures: Measures,
    success: bool,
    command: str | None,
) -> Patch:
    """The step as a patch. Nothing in it depends on the time or the place it was made."""
    name = climb.layer.name
    stored = plan.clip.stored_dtypes.get(name, torch.float32)
    metadata = {
        "version": __version__,
        "model": plan.clip.describe(),
        "request": plan.request.describe(),
        "layer": name,
        "tower": climb.layer.tower,
        "forget_loss": plan.settings.forget_loss,
        "direction": plan.settings.direction,
        "search": plan.settings.search,
        "step_size": chosen.step,
        "relative_step": chosen.relative_step,
        "seed": plan.settings.seed,
        "data": plan.splits.sha256,
        "gradients": json_sha256(dict(gradients.key)),
        "templates": list(plan.templates),
        "success": success,
        "test": {
            "before": measures.before,
            "after": measures.after,
            "counts": measures.counts,
            "quality": measures.quality,
            "utility": measures.utility,
            "q_u": measures.q_u,
        },
        "command": command,
    }
    return Patch(
        {name: climb.delta(chosen.step).float().cpu()},
        {name: climb.weight.cpu().to(stored)},
        metadata,
    )
