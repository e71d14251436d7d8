"""Screening: layers that lose anyway are searched on a part of the images.

Successive halving, in two rounds. Every layer is searched on a part of the search images: all of
the concept, and a quarter of each of the other classes. What such a part says is uncertain, and the
interval of the share of answers that are lost says how much; a layer's step is evaluated on all
images only if, at the better end of that interval, it would change the choice among those that are
known. The most promising comes first, so that the others have the best to beat: one whose step
holds before one whose step does not. Only the layer that is chosen gets its whole curve on all
images; the others keep that of the part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from slsgu.concepts.request import KEPT
from slsgu.evaluation.exam import Exam
from slsgu.evaluation.metrics import Measures, quality_utility
from slsgu.evaluation.search_set import SearchSet
from slsgu.search.choice import Trial, choose
from slsgu.search.goal import Goal
from slsgu.search.layer import Candidate, search_candidate
from slsgu.search.pareto import LayerScore
from slsgu.search.ray import Ray
from slsgu.task.plan import Plan
from slsgu.utils.progress import Advance
from slsgu.utils.statistics import wilson

ONE_IN = 4  # of the images that are kept, within each class
FEWEST = 60  # of these, for a part to say anything
HARDER = 0.99  # share of what was found before that may be found at best: less than before


def part_of(exam: Exam) -> npt.NDArray[np.intp] | None:
    """The places of the images that layers are screened on; None where they would be too few."""
    classes = {leaf: number for number, leaf in enumerate(dict.fromkeys(exam.leaves))}
    kept = np.flatnonzero(~exam.forget)
    order = np.argsort([classes[exam.leaves[row]] for row in kept], kind="stable")
    chosen = kept[order][::ONE_IN]
    if len(chosen) < FEWEST:
        return None
    return np.sort(np.concatenate([np.flatnonzero(exam.forget), chosen]))


def at_best(trial: Trial, goal: Goal) -> Trial:
    """The best that a step may turn out to do on all images, by what it did on a part of them: as
    little is lost of other classes as the 95 % interval allows, and a few images find the concept
    as often as what the model never knew."""
    measures = trial.measures
    ratios = {key: _at_best(measures, key) for key in KEPT}
    kept = [ratio for ratio in ratios.values() if ratio is not None]
    quality = measures.quality
    forgotten = [] if quality is None else [1 - quality]
    _, utility, q_u = quality_utility(forgotten, kept)
    found = measures.found
    if found is not None:
        after = min(goal.unknown_share(found), HARDER * found.before)
        found = replace(found, after=after, error=0.0, each=())
    best = replace(measures, kept_ratios=ratios, utility=utility, q_u=q_u, found=found, lost=None)
    return replace(trial, measures=best)


def _at_best(measures: Measures, key: str) -> float | None:
    ratio, before, after = measures.kept_ratios[key], measures.before[key], measures.after[key]
    if ratio is None or before is None or after is None or not key.startswith("retain"):
        return ratio  # all images of the concept were asked
    count = measures.counts[key]
    lost, _ = wilson(max(0.0, before - after) * count, count)
    return 1 - lost / before


def may_win(trial: Trial, known: Sequence[Trial], goal: Goal) -> bool:
    """Whether a step that was measured on a part of the images could still change the choice.

    Args:
        known: trials on all images.
    """
    if not known:
        return True
    best = at_best(trial, goal)
    return choose([*known, best], goal) is not choose(known, goal)


def search_screened(
    plan: Plan,
    search_set: SearchSet,
    part: SearchSet,
    members: Sequence[tuple[Ray, LayerScore]],
    known: Sequence[Trial],
    goal: Goal,
    advance: Advance,
) -> list[Candidate]:
    """Search layers of the image side on a part of the images, evaluate the step of those that may
    win on all, and search the one that does on all.

    Args:
        search_set: its image side must be cut before the shallowest of the layers.
        part: the part.
        members: the layers, shallow to deep, and their scores.
        known: trials of other layers on all images.
    """
    candidates = []
    for ray, score in members:
        found = search_candidate(plan, part, ray, None, score, goal)
        if found.trials:
            count = len(part.exam.leaves)
            curve_part = None if found.curve is None else count
            found = replace(found, part=count, curve_part=curve_part)
        candidates.append(found)
        advance(1)
    best = {n: choose(found.trials, goal) for n, found in enumerate(candidates) if found.trials}
    tried = list(known)
    for number in sorted(best, key=lambda n: _place(best[n], members[n][1], goal)):
        if may_win(best[number], tried, goal):
            ray, step = members[number][0], best[number].step
            trial = replace(best[number], measures=search_set.measure(ray.layer, ray.at(step)))
            candidates[number] = replace(candidates[number], trials=(trial,), part=None)
            tried.append(trial)
    if tried:
        chosen = choose(tried, goal)
        for number, found in enumerate(candidates):
            if found.final and found.final[0] is chosen:
                ray, score = members[number]
                candidates[number] = search_candidate(plan, search_set, ray, None, score, goal)
    return candidates


def _place(trial: Trial, score: LayerScore, goal: Goal) -> tuple[float, ...]:
    """By what layers are put in order, the most promising first: whether their step holds, their
    Q-U on the part, then their forgetting per unit of harm."""
    measures = trial.measures
    return (
        -float(goal.holds(measures)),
        -round(measures.q_u or 0.0, 3),
        -(score.efficiency or 0.0),
    )
