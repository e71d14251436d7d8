"""Where a search starts: the last projection of the image side, moved in closed form before any
step. The concept is merged with its siblings as far as a dial says (`slsgu.direction.merge`), and
its name is taken from it (`slsgu.direction.unname`).

It is merged with the mean of its siblings, or with the nearest of them. The mean of a few siblings
that look different is a place of its own, where a few images find the concept as easily as
before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slsgu.data.ledger import Ledger
from slsgu.direction.kfac import KroneckerFisher
from slsgu.direction.merge import DAMPING, merged
from slsgu.direction.unname import constant_map, unnamed, unnaming
from slsgu.errors import DataError, ModelError
from slsgu.evaluation.exam import CAPTIONS
from slsgu.evaluation.search_set import SearchSet
from slsgu.models.layers import Layer
from slsgu.search.pooled import LastProjection, PooledFeatures, mean_differences
from slsgu.search.taps import Taps
from slsgu.task.plan import Plan
from slsgu.task.settings import MergeOnto, MethodSettings
from slsgu.task.task import Task

LESS = 0.6  # of the names is taken, where the whole of them costs too much
# How far to merge, where the goal decides.
DIALS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)


@dataclass(frozen=True, eq=False)
class Names:
    """What is needed to take names away: see `slsgu.direction.unname`.

    Attributes:
        differences: U [o, k].
        taken: what is taken from an embedding for each score [o, k].
        offset: the bias's part of the scores [k, i]; None where there is no bias.
    """

    differences: Tensor
    taken: Tensor
    offset: Tensor | None


@dataclass(frozen=True, eq=False)
class Start:
    """A last projection before any step.

    Attributes:
        projection: the layer.
        merges: what merges all the way [o, i], by what with: the mean of the siblings, and the
            nearest. Empty where there is nothing to merge with.
        names: what takes the names; None leaves them.
        taken: how much of the names is taken: 1 until they score what those of the siblings do.
    """

    projection: LastProjection
    merges: Mapping[MergeOnto, Tensor]
    names: Names | None
    taken: float = 1.0

    @classmethod
    def of(
        cls, plan: Plan, layer: Layer, fisher: KroneckerFisher | None, search_set: SearchSet
    ) -> Start | None:
        """Prepare the start of a layer; None where it has none, as every layer but the last
        projection of the image side.

        Args:
            fisher: of the layer: the metrics in which what is kept moves least.
        """
        settings = plan.settings
        if fisher is None or layer.tower != "vision" or not layer.last or not settings.starts:
            return None
        try:
            projection = LastProjection.of(plan.task.clip)
        except ModelError:  # no projection that this can be done to
            return None
        if projection.layer.name != layer.name:
            return None
        merges = whole_merges(plan.task, projection, fisher) if settings.merges else {}
        if merges and settings.merge_onto is not None:  # an only sibling is the nearest
            merges = {settings.merge_onto: merges.get(settings.merge_onto, merges["siblings"])}
        names = _names(search_set, projection, fisher) if settings.unnames else None
        return cls(projection, merges, names) if merges or names else None

    def at(self, dial: float, onto: MergeOnto = "siblings") -> Tensor:
        """What is added to the weight, as it is stored, fp64.

        Args:
            dial: how far to merge.
            onto: with what; nothing is merged where that is not among `merges`.
        """
        weight = self.projection.matrix
        moved = dial * self.merges[onto] if onto in self.merges else torch.zeros_like(weight)
        if self.names is not None:
            names = self.names
            change = unnamed(weight + moved, names.differences, names.taken, names.offset)
            moved = moved + self.taken * change
        return self.projection.stored(moved)


def dials_of(settings: MethodSettings, start: Start) -> tuple[float, ...]:
    """How far to merge: what was asked for, or else what is tried to remove a concept."""
    if not start.merges:
        return (0.0,)
    return DIALS if settings.merge is None else (settings.merge,)


def whole_merges(
    task: Task, projection: LastProjection, fisher: KroneckerFisher
) -> dict[MergeOnto, Tensor]:
    """The changes [o, i] that move what is to be forgotten all the way onto the mean of its
    siblings, and onto the nearest of them, fp64; none where it has no sibling. A share of a change
    merges as far.

    Only gradient images of the leaves to be forgotten and of their siblings are read.
    """
    request = task.request
    forget = request.forget_leaves
    wanted = {*forget, *(other for leaf in forget for other in request.siblings(leaf))}
    samples = [sample for sample in task.splits.gradient if sample.leaf in wanted]
    try:
        means = PooledFeatures.read(projection, task, Ledger(), samples=samples).means
        differences: dict[MergeOnto, Tensor] = {"siblings": mean_differences(means, request)}
        nearest = mean_differences(means, request, projection)
    except DataError:  # no image of any sibling
        return {}
    if not torch.equal(nearest, differences["siblings"]):  # there is more than one sibling
        differences["nearest"] = nearest
    weight, moment = projection.matrix, fisher.inputs
    return {
        onto: merged(weight, columns, moment, 1.0, DAMPING) for onto, columns in differences.items()
    }


def _names(
    search_set: SearchSet, projection: LastProjection, fisher: KroneckerFisher
) -> Names | None:
    """What takes the names of everything that is to be forgotten, at every level; None where no
    name is."""
    differences = name_differences(search_set)
    if differences is None:
        return None
    offset = None
    if projection.bias is not None:
        inputs = _inputs(search_set, projection)
        constant = constant_map(inputs.mean(dim=0), inputs.T @ inputs / len(inputs))
        offset = torch.outer(differences.T @ projection.bias, constant)
    return Names(differences, unnaming(differences, fisher.outputs), offset)


def _inputs(search_set: SearchSet, projection: LastProjection) -> Tensor:
    """What goes into the layer for each search image [N, i], fp64 on the CPU."""
    name = projection.layer.name
    weights = {name: search_set.replay.parameters[name]}
    rows: list[Tensor] = []
    for _, _, run in search_set.replay.spans("vision"):
        with torch.enable_grad(), Taps(weights, lambda _name, inputs, _: rows.append(inputs)):
            features = run()
        torch.autograd.backward(features, torch.ones_like(features))  # what was seen is told now
    return torch.cat(rows).to("cpu", torch.float64)


def name_differences(search_set: SearchSet) -> Tensor | None:
    """U: for each class to be forgotten, at every level, its embedding less the mean of its
    siblings' [o, k], fp64 on the CPU; None where there is none. Captions are no names."""
    exam = search_set.exam
    columns = []
    levels = zip(exam.levels, search_set.classes, exam.forgotten_classes, strict=True)
    for level, embeddings, forgotten in levels:
        if exam.request is None or level.depth == CAPTIONS or forgotten.all():
            continue
        kept = [level.classes[place] for place in np.flatnonzero(~forgotten)]
        rows = embeddings.detach().to("cpu", torch.float64)
        for place in np.flatnonzero(forgotten):
            siblings = set(exam.request.siblings(level.classes[place], kept))
            chosen = [at for at, concept in enumerate(level.classes) if concept in siblings]
            columns.append(rows[place] - rows[chosen].mean(dim=0))
    return torch.stack(columns, dim=1) if columns else None
