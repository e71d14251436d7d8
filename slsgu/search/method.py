"""What a method of unlearning hands over: an edit, and what it says of how it was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from slsgu.data.ledger import Ledger
from slsgu.evaluation.metrics import Measures
from slsgu.gradients.gradients import Gradients
from slsgu.patch.patch import Patch
from slsgu.search.choice import Trial, choose, choose_paper
from slsgu.search.goal import Goal
from slsgu.search.layer import Candidate
from slsgu.search.pareto import LayerScore
from slsgu.task.settings import MethodSettings
from slsgu.task.task import Task
from slsgu.utils.progress import Progress


@dataclass(frozen=True, eq=False)
class SearchTrace:
    """How the single-gradient method came to its edit: for reports and for those who ask why.

    Attributes:
        gradients: of both losses, with what made them.
        scores: importance and alignment of every layer considered.
        candidates: the layers searched, with every trial.
        chosen: the trial that was taken, measured on the search split.
        settings: of the method.
        goal: what counted as success.
    """

    gradients: Gradients
    scores: tuple[LayerScore, ...]
    candidates: tuple[Candidate, ...]
    chosen: Trial
    settings: MethodSettings
    goal: Goal

    @property
    def tower(self) -> str:
        """Of the layer that was chosen."""
        return next(s.tower for s in self.scores if s.layer == self.chosen.layer)

    @property
    def scores_with_efficiency(self) -> tuple[LayerScore, ...]:
        """The scores, with the efficiency of the layers of which the search measured it."""
        measured = {candidate.score.layer: candidate.score for candidate in self.candidates}
        return tuple(measured.get(score.layer, score) for score in self.scores)

    def best(self, candidate: Candidate) -> Trial | None:
        """A candidate's best trial, by the rule that chose among all."""
        if not candidate.trials:
            return None
        pick = choose_paper if self.settings.search == "paper" else choose
        return pick(candidate.trials, self.goal)


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of the weights that a method proposes, before it is proved.

    Attributes:
        patch: the change. Its metadata says how it was made: at least `method`, its name.
        measures: what it does on the search split; None lets the pipeline measure it there.
        seconds: wall time of the method's own steps, by name.
        settings: every setting of the method as JSON values.
        gradients: image gradients that were computed: passes forward and back of one image.
        trace: how the single-gradient method found it; None for any other.
    """

    patch: Patch
    measures: Measures | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    gradients: int = 0
    trace: SearchTrace | None = None


Method: TypeAlias = Callable[[Task, Ledger, Progress], Edit]
"""A way to unlearn: from a task to an edit. It takes its images through the ledger, so that no
picture that it learns from is used to judge it."""
