"""Candidate layers, and the step search on each: the glue between gradients, replay and search."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from slsgu.direction.direction import DIRECTIONS
from slsgu.direction.kfac import KroneckerFisher
from slsgu.errors import SlsguError
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.gradients import Gradients
from slsgu.models.layers import Layer, inventory
from slsgu.search.choice import NEAR, choose, ruins
from slsgu.search.curvature import kept_fisher
from slsgu.search.goal import Goal
from slsgu.search.layer import Candidate, search_layer
from slsgu.search.pareto import LayerScore, rank_layers
from slsgu.search.ray import Ray
from slsgu.search.readable import check_readable, readable
from slsgu.search.screen import part_of, search_screened
from slsgu.search.start import Start
from slsgu.task.plan import Plan
from slsgu.utils.progress import Advance

SATISFIED = 0.995  # Q-U on the search split that counts as near-perfect


def rank_candidates(plan: Plan, gradients: Gradients) -> list[LayerScore]:
    """Importance, alignment and the fronts of the layers that may be candidates, and of any other
    that competes in no front.

    Raises:
        SlsguError: there is no such system as the patch is for.
    """
    settings = plan.settings
    layers = inventory(plan.task.clip.model, norms=True)
    return rank_layers(
        gradients,
        norms=settings.considers_norms,
        also=settings.layer,
        reads=readable(settings.system, layers),
    )


def pick_candidates(plan: Plan, scores: Sequence[LayerScore]) -> list[tuple[Layer, LayerScore]]:
    """The layers to search: the fronts of both towers and, by default, their last projections; or
    what an expert fixed. Last projections, which cost least, come first, then shallow to deep.

    Raises:
        SlsguError: the named layer does not exist, or cannot be edited.
    """
    layers = {layer.name: layer for layer in inventory(plan.task.clip.model, norms=True)}
    by_name = {score.layer: score for score in scores}
    settings = plan.settings
    paper = settings.search == "paper"
    fixed = check_choice(plan)
    if fixed is not None:
        chosen = [fixed]
    else:
        chosen = [
            layers[score.layer]
            for score in scores
            if settings.tower in (None, score.tower)
            and (score.on_front or (not paper and layers[score.layer].last))
        ]
    position = {name: index for index, name in enumerate(layers)}

    def place(layer: Layer) -> tuple[bool, bool, int, int]:
        block = -1 if layer.block is None else layer.block
        return not layer.last, layer.tower == "language", block, position[layer.name]

    return [(layer, by_name[layer.name]) for layer in sorted(chosen, key=place)]


def check_choice(plan: Plan) -> Layer | None:
    """The layer an expert fixed, if any. Cheap: a slip of the pen costs no pass over the images.

    Raises:
        SlsguError: the named layer does not exist, cannot be edited, is in the other tower, or is
            not read by the system that the patch is for.
    """
    settings = plan.settings
    check_readable(plan)
    if settings.layer is None:
        return None
    layers = {layer.name: layer for layer in inventory(plan.task.clip.model, norms=True)}
    chosen = find_layer(settings.layer, layers, f"--norms {plan.task.clip.typed}")
    if settings.tower not in (None, chosen.tower):
        raise SlsguError(
            f"layer {settings.layer} is in the {chosen.tower} tower, not {settings.tower}"
        )
    return chosen


def find_layer(name: str, layers: Mapping[str, Layer], typed: str = "") -> Layer:
    """A layer by its name in the model.

    Args:
        typed: the options that name the model on the command line.

    Raises:
        SlsguError: no such layer; close names are suggested.
    """
    if name in layers:
        return layers[name]
    matches = difflib.get_close_matches(name, layers, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    raise SlsguError(f"no editable layer {name!r}{hint}", see=f"slsgu layers {typed}".rstrip())


def search_candidates(
    plan: Plan,
    search_set: SearchSet,
    gradients: Gradients,
    picked: Sequence[tuple[Layer, LayerScore]],
    goal: Goal,
    advance: Advance,
) -> tuple[list[Candidate], dict[str, Ray]]:
    """Search every layer that was picked, in order.

    Once a last projection reaches a near-perfect Q-U (to remove a concept, less what may be given
    up for that), and the choice so far ruins no class, layers that cost more to search are passed
    over, unless the search is to be thorough. What the direction needs to know about layers is
    taken in one run for each tower, from where the shallowest of them was cut.

    Returns:
        The candidates, and the rays of those that were searched, by layer name.
    """
    settings = plan.settings
    candidates: list[Candidate] = []
    rays: dict[str, Ray] = {}
    blind = goal.is_blind(search_set.unchanged)
    may_stop = settings.search != "paper" and not settings.thorough and not blind
    for _, group in itertools.groupby(picked, key=lambda pair: (pair[0].last, pair[0].tower)):
        members = list(group)
        layers = [layer for layer, _ in members]
        trials = [trial for candidate in candidates for trial in candidate.final]
        spares = [t for t in trials if goal.holds(t.measures) and not ruins(t.measures)]
        best = max((trial.measures.q_u or 0.0 for trial in spares), default=0.0)
        enough = SATISFIED - (NEAR if goal.name == "remove" else 0)
        near_perfect = may_stop and not layers[0].last and best >= enough
        if near_perfect and not ruins(choose(trials, goal).measures):
            reason = f"a layer that is cheaper to search has a step that holds, with Q-U {best:.1%}"
            candidates += [Candidate(score, passed_over=reason) for _, score in members]
            advance(len(members))
            continue
        search_set.replay.prepare(layers[0])
        fishers: dict[str, KroneckerFisher] = {}
        if "curvature" in DIRECTIONS[settings.direction_used].needs:
            fishers = kept_fisher(search_set, layers, seed=plan.task.seed)
        scored = [
            (
                Ray.of(plan, layer, gradients, fishers.get(layer.name)),
                with_efficiency(score, gradients, fishers.get(layer.name)),
            )
            for layer, score in members
        ]
        part = None if blind else _part(plan, search_set, layers)
        if part is not None:
            found = search_screened(plan, search_set, part, scored, trials, goal, advance)
            candidates += found
            rays |= {ray.layer.name: ray for ray, _ in scored}
            continue
        for base, score in scored:
            start = Start.of(plan, base.layer, fishers.get(base.layer.name), search_set)
            ray, candidate = search_layer(plan, search_set, base, start, score, goal)
            rays[ray.layer.name] = ray
            candidates.append(candidate)
            advance(1)
    return candidates, rays


def _part(plan: Plan, search_set: SearchSet, layers: Sequence[Layer]) -> SearchSet | None:
    """The images on which layers are screened; None where they are not: a layer by itself, and
    those that cost next to nothing to search."""
    settings = plan.settings
    if len(layers) < 2 or layers[0].last or layers[0].tower != "vision":
        return None
    if settings.search == "paper" or settings.step is not None or search_set.probe is not None:
        return None
    rows = part_of(search_set.exam)
    return None if rows is None else search_set.part(rows)


def with_efficiency(
    score: LayerScore, gradients: Gradients, fisher: KroneckerFisher | None
) -> LayerScore:
    """A score with the layer's forgetting per unit of harm, if its Fisher matrix is known."""
    if fisher is None:
        return score
    return replace(score, efficiency=fisher.efficiency(gradients.forget[score.layer]))
