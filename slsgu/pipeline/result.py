"""What a run found: a task, the edit that a method made for it, and the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slsgu.data.ledger import Ledger
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.moved import Moved
from slsgu.evaluation.other_sets import OtherSet
from slsgu.evaluation.proof import Proof
from slsgu.patch.patch import Patch
from slsgu.search.goal import Goal
from slsgu.search.method import Edit, SearchTrace
from slsgu.task.task import Task


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything a run found, whichever method made the edit.

    Attributes:
        task: what was to be forgotten, on which images.
        goal: what counts as success.
        edit: the change that was measured, whether or not it is good enough.
        measures: what it does on the search split, which decides about success.
        success: the forget target is reached and the floors hold, on the search split.
        shortfall: what is missing, in words; empty on success.
        proof: what the test split says.
        patch: the edit with its full record; None where the goal was not met and nobody insisted.
        ledger: the pictures that were used, and those that were left out.
        seconds: wall time of `total`, and of the method's steps.
        about: what a person wrote about the request: `asked_by`, `reason`.
        also: what the edit does to other data sets; one whose floor breaks is no success.
        command: the command line, None from Python.
    """

    task: Task
    goal: Goal
    edit: Edit
    measures: Measures
    success: bool
    shortfall: str
    proof: Proof
    patch: Patch | None
    ledger: Ledger
    seconds: Mapping[str, float]
    about: Mapping[str, str] = field(default_factory=dict)
    also: tuple[OtherSet, ...] = ()
    command: str | None = None

    @property
    def moved(self) -> Moved | None:
        """How far what the system reads that the edit is for moves, on phrasings and images that
        the search has not seen; None without `--for`."""
        return self.proof.measures.moved

    @property
    def trace(self) -> SearchTrace | None:
        """How the single-gradient method found the edit; None for any other method."""
        return self.edit.trace
