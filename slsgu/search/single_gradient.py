"""The single-gradient method, from gradients to an edit: rank the layers, search a step on each
candidate, choose (Algorithm 1)."""

from __future__ import annotations

from slsgu.errors import ConceptError, SlsguError
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.gradients import Gradients
from slsgu.patch.patch import Patch
from slsgu.search.candidates import pick_candidates, rank_candidates, search_candidates
from slsgu.search.choice import Trial, choose, choose_paper
from slsgu.search.goal import Goal
from slsgu.search.method import Edit, SearchTrace
from slsgu.search.probe import with_probe
from slsgu.search.ray import Ray
from slsgu.task.plan import Plan
from slsgu.utils.files import json_sha256
from slsgu.utils.progress import SILENT, Progress

METHOD = "single-gradient"


def search_edit(
    plan: Plan, gradients: Gradients, search_set: SearchSet, progress: Progress = SILENT
) -> Edit:
    """Choose one layer and one step.

    Args:
        plan: what to do.
        gradients: of the plan.
        search_set: the search split of the plan, embedded.

    Raises:
        ConceptError: no layer can be stepped along.
        SlsguError: a step that was fixed is out of the range of numbers.
    """
    settings = plan.settings
    goal = Goal.of(settings)
    search_set = with_probe(plan, search_set)
    scores = rank_candidates(plan, gradients)
    picked = pick_candidates(plan, scores)
    with progress.bar("step search", len(picked)) as advance:
        candidates, rays = search_candidates(plan, search_set, gradients, picked, goal, advance)
    trials = [trial for candidate in candidates for trial in candidate.final]
    if not trials:
        reasons = "; ".join(f"{c.score.layer}: {c.passed_over}" for c in candidates)
        raise ConceptError(f"no layer can be stepped along ({reasons or 'no candidate'})")
    chosen = (choose_paper if settings.search == "paper" else choose)(trials, goal)
    patch = rays[chosen.layer].patch(chosen.step, plan.task.clip)
    if not all(bool(delta.isfinite().all()) for delta in patch.delta.values()):
        raise SlsguError(
            f"step {chosen.step:g} takes {chosen.layer} out of the range of numbers; give a "
            "smaller --step"
        )
    return Edit(
        patch=Patch(
            patch.delta,
            patch.original,
            _describe(plan, gradients, chosen, rays[chosen.layer]),
        ),
        measures=chosen.measures,
        settings=plan.settings_used,
        gradients=sum(gradients.counts.values()),
        trace=SearchTrace(gradients, tuple(scores), tuple(candidates), chosen, settings, goal),
    )


def _describe(plan: Plan, gradients: Gradients, chosen: Trial, ray: Ray) -> dict[str, object]:
    """How the patch was made, as JSON values. Nothing in it depends on the time it was made."""
    settings = plan.settings
    return {
        "method": METHOD,
        "forget_loss": settings.forget_loss_used,
        "direction": settings.direction_used,
        "search": settings.search,
        "goal": settings.goal_used,
        "merge": ray.merge,
        "merge_onto": ray.onto,
        "unnamed": ray.unnamed,
        "step_size": chosen.step,
        "relative_step": chosen.relative_step,
        "gradients": json_sha256(dict(gradients.key)),
    }
