"""The whole request: gradients, candidates, step, patch, and the proof on images not used before.

    request -> data -> gradients -> pareto -> direction -> search -> patch -> evaluate -> report

Three disjoint sets of images: gradients are taken on one, layer and step are chosen on another,
and what is reported is measured on a third. Every method ends in the same place: its edit is held
to the goal on the search split, measured on the test split and on what else must be kept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.ledger import Ledger
from slsgu.errors import NotReachedError, SlsguError
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.other_sets import Also, OtherSet, find_others
from slsgu.evaluation.proof import Proof, evaluate
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.bank import RetainCache
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch
from slsgu.pipeline.result import Outcome
from slsgu.pipeline.run_folder import RunFolder, obtain_gradients
from slsgu.search.candidates import check_choice
from slsgu.search.goal import Goal
from slsgu.search.method import Edit, Method
from slsgu.search.single_gradient import search_edit
from slsgu.task.pairs import Pairs
from slsgu.task.plan import Plan, make_plan
from slsgu.task.settings import Floors, Settings
from slsgu.task.task import Task
from slsgu.utils.files import write_text
from slsgu.utils.progress import SILENT, Progress
from slsgu.version import __version__


def unlearn(
    clip: Clip,
    *concepts: str,
    data: str | Path | None = None,
    taxonomy: str | Path | Taxonomy | None = None,
    pairs: Pairs | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> Outcome:
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
        DataError: images or taxonomy cannot be used.
        NotReachedError: the goal was not met; its `result` holds the best of the steps tried.
    """
    plan = make_plan(clip, concepts, data=data, taxonomy=taxonomy, pairs=pairs, settings=settings)
    outcome = run_plan(plan, progress=progress)
    if outcome.patch is None:
        raise NotReachedError(outcome.shortfall, outcome)
    return outcome


def run_plan(
    plan: Plan,
    *,
    folder: RunFolder | None = None,
    progress: Progress = SILENT,
    command: str | None = None,
    about: Mapping[str, str] | None = None,
    also: Sequence[Also] = (),
    cache: RetainCache | None = None,
) -> Outcome:
    """Carry out a plan by the single-gradient method.

    Args:
        folder: where gradients are reused from and saved to; None keeps them in memory.
        command: the command line, recorded in the patch.
        about: free text that is recorded with it: `asked_by`, `reason`.
        also: other data sets that must stay as they are.
        cache: of retain gradients; None keeps none.

    Raises:
        ConceptError: the model does not know the concept, or no layer can be stepped along.
        DataError: images cannot be used.
    """
    settings = plan.settings
    start = time.perf_counter()
    check_choice(plan)
    run = _Run.begin(
        plan.task,
        Goal(settings.target, settings.floors),
        force=settings.force,
        also=also,
        about=about,
        command=command,
        progress=progress,
        start=start,
    )
    looked_up = time.perf_counter()
    gradients, _ = obtain_gradients(plan, folder, run.ledger, progress, cache=cache)
    computed = time.perf_counter()
    with _noting_refusal(folder):
        search_set = SearchSet.read(plan, run.ledger, progress)
        others = run.ledger_for_others()  # now, since a search could be for nothing
        edit = search_edit(plan, gradients, search_set, progress)
    if folder is not None:
        scores = [] if edit.trace is None else edit.trace.scores_with_efficiency
        folder.write_layers(gradients, scores, settings.considers_norms)
    seconds = {"gradients": computed - looked_up, "search": time.perf_counter() - computed}
    return run.conclude(replace(edit, seconds=seconds), others)


@contextlib.contextmanager
def _noting_refusal(folder: RunFolder | None) -> Iterator[None]:
    """A request that is refused once its gradients are there leaves a note in the run folder, so
    that no later command takes the folder for a run."""
    try:
        yield
    except SlsguError as error:
        if folder is not None:
            with contextlib.suppress(SlsguError):
                write_text(folder.refused, f"{error}\n")
        raise
    if folder is not None:
        folder.refused.unlink(missing_ok=True)


def run_method(
    task: Task,
    method: Method,
    *,
    target: float = 0.05,
    floors: Mapping[str, float] | None = None,
    force: bool = False,
    progress: Progress = SILENT,
    command: str | None = None,
    about: Mapping[str, str] | None = None,
    also: Sequence[Also] = (),
) -> Outcome:
    """Carry out a task by any method, and hold its edit to the same goal and proof.

    Args:
        method: from a task to an edit.
        target: highest accuracy left at any level that is to be forgotten, on the search split.
        floors: least share of each accuracy that must remain; those not named keep their default.
        force: return a patch though the goal was not met.
        command, about, also: as for `run_plan`.

    Raises:
        DataError: images cannot be used.
        LayerMismatchError: the method's patch is not one of the task's model.
    """
    run = _Run.begin(
        task,
        Goal(target, Floors.of(floors or {})),
        force=force,
        also=also,
        about=about,
        command=command,
        progress=progress,
        start=time.perf_counter(),
    )
    edit = method(task, run.ledger, progress)
    return run.conclude(edit, run.ledger_for_others())


class _Run:
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
    ) -> None:
        self.task, self.goal, self.force = task, goal, force
        self.others, self.about, self.command = others, dict(about or {}), command
        self.progress, self.start = progress, start
        self.ledger = task.ledger()

    @classmethod
    def begin(cls, task: Task, goal: Goal, *, also: Sequence[Also], **options: Any) -> _Run:
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
        parts = " and ".join(self.goal.misses(measures, self.task.request.title))
        text = f"the goal was not met: on the search split, {parts}"
        if edit.trace is None:
            return text
        chosen = edit.trace.chosen
        return (
            f"{text}; best of the steps tried: {chosen.layer} at step {chosen.step:.6g}, "
            f"Q-U {(measures.q_u or 0):.1%}"
        )


def _record(task: Task, proof: Proof) -> dict[str, Any]:
    """What every patch says of itself, whichever method made it. Nothing in it depends on the time
    it was made, or, but for paths that were typed, on the place."""
    measures = proof.measures
    return {
        "version": __version__,
        "model": task.clip.describe(),
        "request": task.request.describe(),
        "seed": task.seed,
        "data": task.splits.sha256,
        "templates": list(task.templates),
        "test": {
            "before": measures.before,
            "after": measures.after,
            "counts": measures.counts,
            "quality": measures.quality,
            "utility": measures.utility,
            "q_u": measures.q_u,
        },
    }
