"""The single-gradient method as one method among others: by every goal, and as it was published."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from slsgu.data.ledger import Ledger
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.compute import compute_gradients
from slsgu.search.method import Edit
from slsgu.search.single_gradient import search_edit
from slsgu.task.plan import Plan
from slsgu.task.settings import MethodSettings
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress


@dataclass(frozen=True)
class SingleGradient:
    """The whole method with some settings, from gradients to an edit.

    Attributes:
        settings: of the method.
        variant: what is special about it.
    """

    settings: MethodSettings
    variant: str = ""

    def __call__(self, task: Task, ledger: Ledger, progress: Progress = SILENT) -> Edit:
        """Compute the gradients, search, choose; nothing is taken from an earlier run.

        Raises:
            ConceptError: the model does not know the concept, or no layer can be stepped along.
            DataError: images cannot be used.
        """
        start = time.perf_counter()
        plan = Plan(task, self.settings)
        gradients = compute_gradients(plan, ledger, progress)
        computed = time.perf_counter()
        search_set = SearchSet.read(plan, ledger, progress)
        edit = search_edit(plan, gradients, search_set, progress)
        seconds = {"gradients": computed - start, "search": time.perf_counter() - computed}
        return replace(edit, seconds=seconds)


REMOVE = SingleGradient(MethodSettings(goal="remove"), "ours, all defaults: --goal remove")
SUPPRESS = SingleGradient(MethodSettings(goal="suppress"), "ours, --goal suppress")
PAPER = SingleGradient(
    MethodSettings(search="paper"),
    "the single-gradient paper's own search, chosen on the search split (--search paper)",
)
