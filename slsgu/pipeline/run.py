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

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.errors import NotReachedError, SlsguError
from slsgu.evaluation.other_sets import Also
from slsgu.evaluation.search_set import SearchSet
from slsgu.gradients.bank import RetainCache
from slsgu.models.clip import Clip
from slsgu.models.sense import refuse_uninformative
from slsgu.pipeline.conclude import Run
from slsgu.pipeline.result import Outcome
from slsgu.pipeline.run_folder import RunFolder, obtain_gradients
from slsgu.search.candidates import check_choice
from slsgu.search.goal import Goal
from slsgu.search.method import Method
from slsgu.search.single_gradient import search_edit
from slsgu.task.floors import Floors
from slsgu.task.pairs import Pairs
from slsgu.task.plan import Plan, make_plan
from slsgu.task.settings import Settings
from slsgu.task.task import Task
from slsgu.utils.files import write_text
from slsgu.utils.progress import SILENT, Progress


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
    run = Run.begin(
        plan.task,
        Goal.of(settings),
        force=settings.force,
        also=also,
        about=about,
        command=command,
        progress=progress,
        start=start,
        system=settings.system,
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
        norms = settings.considers_norms
        folder.write_layers(gradients, scores, norms=norms, system=settings.system)
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
    run = Run.begin(
        task,
        Goal(target, Floors.of(floors or {})),
        force=force,
        also=also,
        about=about,
        command=command,
        progress=progress,
        start=time.perf_counter(),
    )
    refuse_uninformative(task.clip)
    edit = method(task, run.ledger, progress)
    return run.conclude(edit, run.ledger_for_others())
