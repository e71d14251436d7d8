"""One run from its start to its outcome, whichever method makes the edit: the edit is held to the
goal on the search split, measured on the test split and on other data sets, and recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from slsgu.data.ledger import Ledger
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.other_sets import Also, OtherSet, find_others
from slsgu.evaluation.proof import Proof, evaluate
from slsgu.patch.patch import Patch
from slsgu.pipeline.moved import measure_moved
from slsgu.pipeline.result import Outcome
from slsgu.search.goal import Goal
from slsgu.search.method import Edit
from slsgu.task.task import Task
from slsgu.task.text_task import TextTask
from slsgu.utils.progress import Progress
from slsgu.utils.wording import listed
from slsgu.version import __version__


class Run:
    """One run from its start to the outcome, whichever method makes the edit."""

    def __init__(
        self,
        task: Task,
        goal: Goal,
        *,
        force: bool,
        others: Sequence[OtherSet],
        about: Mapping[str, str] | None,
        command: str | None,
        progress: Progress,
        start: float,
        system: str | None = None,
    ) -> None:
        self.system = system
        self.task, self.goal, self.force = task, goal, force
        self.others, self.about, self.command = others, dict(about or {}), command
        self.progress, self.start = progress, start
        self.ledger = task.ledger()

    @classmethod
    def begin(cls, task: Task, goal: Goal, *, also: Sequence[Also], **options: Any) -> Run:
        """Look up the other data sets, so that one that is not there costs no search."""
        return cls(task, goal, others=find_others(task, also), **options)

    def ledger_for_others(self) -> Ledger:
        """The ledger of the other data sets, once the gradient and the search split are read.

        Raises:
            DataError: one of these data sets has no picture that the edit is not made from.
        """
        forgotten = self.task.forget_test_samples if self.others else ()
        used = self.ledger.for_others(forgotten)
        for each in self.others:
            each.check(used)
        return used

    def conclude(self, edit: Edit, used: Ledger) -> Outcome:
        """Measure an edit, judge it, and make the patch."""
        task = self.task
        measures = edit.measures
        if measures is None:
            measures = self._prove(edit.patch, "search").measures
        success = self.goal.met(measures)
        shortfall = "" if success else self._shortfall(edit, measures)
        proof = self._prove(edit.patch, "test")
        moved = measure_moved(self.system, task, edit.patch, proof.samples)
        proof = replace(proof, measures=replace(proof.measures, moved=moved))
        self.ledger.check()
        others = self._measure_others(edit.patch, used)
        if misses := [miss for each in others if (miss := each.miss())]:
            success = False
            lost = f"what else is kept: {', '.join(misses)}"
            shortfall = "; ".join(filter(None, [shortfall, lost]))
        patch = None
        if success or self.force:
            record = {**_record(task, proof), "command": self.command, **self.about}
            metadata = {**edit.patch.metadata, **record, "success": success}
            patch = replace(edit.patch, metadata=metadata)
        return Outcome(
            task=task,
            goal=self.goal,
            edit=edit,
            measures=measures,
            success=success,
            shortfall=shortfall,
            proof=proof,
            patch=patch,
            ledger=self.ledger,
            seconds={**edit.seconds, "total": time.perf_counter() - self.start},
            about=self.about,
            also=others,
            command=self.command,
        )

    def _prove(self, patch: Patch, split: str) -> Proof:
        task = self.task
        return evaluate(
            task.clip,
            task.splits.of(split),
            task.taxonomy,
            task.templates,
            reading=task.reading,
            seed=task.seed,
            request=task.request,
            patch=patch,
            split=split,
            ledger=self.ledger,
            progress=self.progress,
        )

    def _measure_others(self, patch: Patch, used: Ledger) -> tuple[OtherSet, ...]:
        measured = tuple(
            each.measure(
                self.task.clip,
                settings=self.task.data,
                reading=self.task.reading,
                patch=patch,
                ledger=used,
                progress=self.progress,
            )
            for each in self.others
        )
        self.ledger.add(used)
        return measured

    def _shortfall(self, edit: Edit, measures: Measures) -> str:
        """Why the edit is not a success, in one sentence."""
        parts = listed(self.goal.misses(measures, self.task.request.title))
        text = f"the goal was not met: on the search images, {parts}"
        if edit.trace is None:
            return text
        chosen = edit.trace.chosen
        return (
            f"{text}. The best of the steps tried is {chosen.layer} at step {chosen.step:.6g}, "
            f"with Q-U {(measures.q_u or 0):.1%}"
        )


def _record(task: Task, proof: Proof) -> dict[str, Any]:
    """What every patch says of itself, whichever method made it. Nothing in it depends on the time
    it was made, or, but for paths that were typed, on the place."""
    return {
        **record_of(task),
        "seed": task.seed,
        "data": task.splits.sha256,
        "test": proof.measures.figures(),
    }


def record_of(task: Task | TextTask) -> dict[str, Any]:
    """What every patch says of its task, with images or without."""
    return {
        "version": __version__,
        "model": {**task.clip.describe(), "activation": task.clip.activation},
        "request": task.request.describe(),
        "templates": list(task.templates),
    }
