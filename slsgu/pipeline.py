"""The whole request: gradients, candidates, step, patch, and the proof on images not used before.

    request -> data -> gradients -> pareto -> direction -> search -> patch -> evaluate -> report

Three disjoint sets of images: gradients are taken on one, layer and step are chosen on another,
and what is reported is measured on a third.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from slsgu import __version__
from slsgu.also import Also, AlsoKept, find_others
from slsgu.cache import Gradients
from slsgu.candidates import (
    Candidate,
    check_choice,
    pick_candidates,
    search_candidates,
)
from slsgu.clip import Clip
from slsgu.data.batches import Ledger, collect
from slsgu.errors import ConceptError, NotReachedError, SlsguError
from slsgu.files import json_sha256
from slsgu.pairs import Pairs
from slsgu.pareto import LayerScore, score_layers
from slsgu.patch import Patch
from slsgu.plan import Plan, make_plan
from slsgu.progress import SILENT, Progress
from slsgu.proof import Proof, prove
from slsgu.retain_cache import RetainCache
from slsgu.runs import RunFolder, obtain_gradients
from slsgu.scene import Scene
from slsgu.search import Goal, Trial, choose, choose_paper
from slsgu.settings import Settings
from slsgu.taxonomy import Taxonomy


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
        about: what a person wrote about the request: `asked_by`, `reason`.
        also: what the step does to other data sets; one whose floor breaks is no success.
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
    about: Mapping[str, str] = field(default_factory=dict)
    also: tuple[AlsoKept, ...] = ()

    @property
    def goal(self) -> Goal:
        """What counted as success."""
        return Goal(self.plan.settings.target, self.plan.settings.floors)

    @property
    def tower(self) -> str:
        return next(s.tower for s in self.scores if s.layer == self.chosen.layer)


def unlearn(
    clip: Clip,
    *concepts: str,
    data: str | Path | None = None,
    taxonomy: str | Path | Taxonomy | None = None,
    pairs: Pairs | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> Result:
    """Forget concepts: the whole pipeline, in memory.

    Args:
        clip: the model; it is unchanged.
        concepts: what to forget, by name, alias or path; none with `pairs`.
        data: a folder with one folder per class; None for the menagerie's drawings.
        taxonomy: a YAML file or a `Taxonomy`; None for the menagerie's or a flat list of folders.
        pairs: what to forget and to keep, given by images in place of concepts and data.
        settings: how; None for the defaults.

    Raises:
        ConceptError: a concept is unknown, ambiguous, or not known to the model.
        DataError: images or taxonomy can not be used.
        NotReachedError: the goal was not met; its `result` holds the best of the steps tried.
    """
    plan = make_plan(clip, concepts, data=data, taxonomy=taxonomy, pairs=pairs, settings=settings)
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
    about: Mapping[str, str] | None = None,
    also: Sequence[Also] = (),
    cache: RetainCache | None = None,
) -> Result:
    """Carry out a plan.

    Args:
        folder: where gradients are reused from and saved to; None keeps them in memory.
        command: the command line, recorded in the patch.
        about: free text that is recorded with it: `asked_by`, `reason`.
        also: other data sets that must stay as they are.
        cache: of retain gradients; None keeps none.
    """
    about = about or {}
    start = time.perf_counter()
    check_choice(plan)
    # Now, so that a data set that is not there costs no search.
    also_images = find_others(plan, also)
    looked_up = time.perf_counter()
    ledger = plan.ledger()
    gradients, _ = obtain_gradients(plan, folder, ledger, progress, cache=cache)
    computed = time.perf_counter()
    scores = rank_layers(gradients, norms=plan.settings.considers_norms, also=plan.settings.layer)
    scene = search_scene(plan, ledger, progress)
    used = ledger.for_others(plan.forget_test_samples if also else ())
    for each in also_images:
        each.check(used)  # now, too: the search would be for nothing
    goal = Goal(plan.settings.target, plan.settings.floors)
    picked = pick_candidates(plan, scores)
    with progress.bar("step search", len(picked)) as advance:
        candidates, climbs = search_candidates(plan, scene, gradients, picked, goal, advance)
    trials = [trial for candidate in candidates for trial in candidate.trials]
    if not trials:
        reasons = "; ".join(f"{c.score.layer}: {c.passed_over}" for c in candidates)
        raise ConceptError(f"no layer can be stepped along ({reasons or 'no candidate'})")
    chosen = (choose_paper if plan.settings.search == "paper" else choose)(trials, goal)
    success = goal.met(chosen.measures)
    climb = climbs[chosen.layer]
    edit = climb.patch(chosen.step, plan.clip)
    if not all(bool(delta.isfinite().all()) for delta in edit.delta.values()):
        raise SlsguError(
            f"step {chosen.step:g} takes {chosen.layer} out of the range of numbers; give a "
            "smaller --step"
        )
    searched = time.perf_counter()
    proof = prove(
        plan.clip,
        plan.splits.test,
        plan.taxonomy,
        plan.templates,
        settings=plan.settings,
        request=plan.request,
        patch=edit,
        ledger=ledger,
        progress=progress,
    )
    ledger.check()
    others = tuple(
        each.measure(plan.clip, settings=plan.settings, patch=edit, ledger=used, progress=progress)
        for each in also_images
    )
    ledger.add(used)
    shortfall = "" if success else describe_shortfall(plan, goal, chosen)
    if misses := [miss for each in others if (miss := each.miss())]:
        success = False
        shortfall = "; ".join(filter(None, [shortfall, f"what else is kept: {', '.join(misses)}"]))
    patch = None
    if success or plan.settings.force:
        metadata = _describe_patch(plan, gradients, chosen, proof, command)
        patch = replace(edit, metadata={**metadata, **about, "success": success})
    end = time.perf_counter()
    return Result(
        plan=plan,
        gradients=gradients,
        scores=tuple(scores),
        candidates=tuple(candidates),
        chosen=chosen,
        success=success,
        shortfall=shortfall,
        proof=proof,
        patch=patch,
        ledger=ledger,
        seconds={
            "gradients": computed - looked_up,
            "search": searched - computed,
            "total": end - start,
        },
        about=about,
        also=others,
    )


def rank_layers(gradients: Gradients, *, norms: bool, also: str | None = None) -> list[LayerScore]:
    """Importance, alignment and the front of each tower; needs no model.

    Args:
        norms: whether gains of LayerNorm and BatchNorm compete too.
        also: one gain that is ranked all the same, since an expert chose it.
    """
    layers = [x for x in gradients.layers if norms or x.kind != "norm" or x.name == also]
    return score_layers(layers, gradients.forget, gradients.retain, gradients.weight_norms)


def describe_shortfall(plan: Plan, goal: Goal, trial: Trial) -> str:
    """Why the best trade-off is not a success, in one sentence."""
    parts = goal.misses(trial.measures, plan.request.title)
    return (
        f"the goal was not met: on the search split, {' and '.join(parts)}; best of the steps "
        f"tried: {trial.layer} at step {trial.step:.6g}, Q-U {(trial.measures.q_u or 0):.1%}"
    )


def search_scene(plan: Plan, ledger: Ledger, progress: Progress) -> Scene:
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
            budget=settings.activation_bytes(torch.device("cpu")),
        )
    scene = Scene.of(plan, samples, pixels)
    unchanged = scene.unchanged
    rows = [row for row in unchanged.levels if row.forgotten and row.fine]
    if rows and not rows[0].measurable and not settings.force:
        row = rows[0]
        raise ConceptError(
            f"the model does not know {plan.request.title!r} in the first place: it names "
            f"{row.before:.1%} of {row.count} images right, and chance is {row.chance:.1%} "
            f"(95 % interval {row.before_interval[0]:.1%} to {row.before_interval[1]:.1%}). "
            "Use --force to go on all the same"
        )
    if unchanged.utility is None and not settings.force:
        raise ConceptError(
            "nothing that must be kept can be measured: "
            + "; ".join(
                f"level {row.level} is right on {row.before:.1%} of {row.count} {row.images} images"
                f", and chance is {row.chance:.1%}"
                for row in unchanged.levels
                if not row.forgotten
            )
            + ". Give a retain set, other classes or another parent, or --force to go on blindly"
        )
    return scene


def _describe_patch(
    plan: Plan, gradients: Gradients, chosen: Trial, proof: Proof, command: str | None
) -> dict[str, Any]:
    """A patch's metadata. Nothing in it depends on the time it was made, or, but for paths that
    were typed, on the place."""
    settings, measures = plan.settings, proof.measures
    return {
        "version": __version__,
        "model": plan.clip.describe(),
        "request": plan.request.describe(),
        "forget_loss": settings.forget_loss_used,
        "direction": settings.direction_used,
        "search": settings.search,
        "step_size": chosen.step,
        "relative_step": chosen.relative_step,
        "seed": settings.seed,
        "data": plan.splits.sha256,
        "gradients": json_sha256(dict(gradients.key)),
        "templates": list(plan.templates),
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
