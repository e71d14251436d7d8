"""The bench measures what `evaluate` and the audit measure, without building a model anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

import slsgu
from slsgu.audit.run import run_audit
from slsgu.baselines.ascent import GA
from slsgu.baselines.controls import nothing
from slsgu.baselines.merge import merge
from slsgu.baselines.train import Budget
from slsgu.compare.bench import Bench
from slsgu.compare.cells import Store
from slsgu.compare.run import Effort, Job, comparison_key, jobs_of, run_cell, run_jobs
from slsgu.errors import DataError, ModelError, SlsguError
from slsgu.evaluation.other_sets import Also, find_others
from slsgu.evaluation.proof import evaluate
from slsgu.models.clip import Clip, weights_sha256
from slsgu.patch.patch import Patch
from slsgu.search.method import Edit
from slsgu.task.task import Task
from slsgu.utils.progress import Progress

BUDGET = Budget(cap=32, batch=8, checks=2)


@pytest.fixture
def task(taught: Clip, photos: Path) -> Task:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    limits = slsgu.Limits(gradient=8, search=6, test=6)
    return slsgu.make_task(taught, ["beagle"], settings=slsgu.DataSettings(limits=limits), **where)


@pytest.fixture
def bench(task: Task) -> Bench:
    return Bench.of(task, never_knew=0.5)


def language_patch(task: Task) -> Patch:
    weight = task.clip.model.text_projection.detach()
    turned = Patch({"text_projection": -2 * weight}, {"text_projection": weight.clone()})
    return turned  # every text is the opposite of what it was


@pytest.mark.parametrize("which", ["all weights", "one layer", "language", "nothing"])
def test_it_says_what_evaluate_and_the_audit_say(task: Task, bench: Bench, which: str) -> None:
    ledger = task.ledger()
    patch = {
        "all weights": lambda: GA.within(BUDGET).at(4e-2)(task, ledger).patch,
        "one layer": lambda: merge(task, ledger).patch,
        "language": lambda: language_patch(task),
        "nothing": lambda: nothing(task, ledger).patch,
    }[which]()
    before = weights_sha256(task.clip.model)
    score = bench.measure(patch, relearn=False)
    assert weights_sha256(task.clip.model) == before
    proof = evaluate(
        task.clip, task.splits.test, task.taxonomy, task.templates,
        request=task.request, patch=patch, ledger=ledger,
    )  # fmt: skip
    measures = proof.measures
    assert {k: score[k] for k in measures.after} == measures.after
    assert {k: score[k] for k in measures.scores} == measures.scores
    found = {x.setting: x for x in run_audit(task, patch, probes=["prototypes", "linear probe"])}
    assert score["five_shot"] == pytest.approx(found["5 images per class"].after)
    assert score["linear_probe"] == pytest.approx(found["embedding"].after)
    assert score["forget_at_5"] is None  # there are four classes
    moves = which != "nothing"
    assert (score["moved_entries"] > 0) == moves
    assert any(score[key] != bench.before[key] for key in measures.after) == moves


def test_of_a_group_it_asks_for_any_class_of_it_as_the_audit_does(task: Task, photos: Path) -> None:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    group = slsgu.make_task(task.clip, ["dog"], **where)
    bench = Bench.of(group, never_knew=0.5)
    patch = merge(group, group.ledger()).patch
    readings = run_audit(group, patch, probes=["prototypes", "linear probe"])
    found = {reading.setting: reading for reading in readings}
    score = bench.measure(patch, relearn=False)
    assert score["five_shot"] == pytest.approx(found["5 images per class"].after)
    assert score["linear_probe"] == pytest.approx(found["embedding"].after)
    alone = replace(bench, probes=replace(bench.probes, pool=replace(bench.probes.pool, groups=())))
    assert alone.measure(patch, relearn=False)["five_shot"] < score["five_shot"]  # control
    assert alone.key() != bench.key()


def test_the_reference_is_a_share_or_a_control(
    task: Task, bench: Bench, tiny: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsgu.audit.control.HALF", 0.0)  # this control knows nothing else either
    monkeypatch.setattr("slsgu.audit.control.KNOWS", 2.0)  # and the concept as well as anything
    assert bench.reference.values["five_shot"] == pytest.approx(0.5 * bench.before["five_shot"])
    found = {"five_shot": 0.7, "linear_probe": None}
    never = bench.reference.values["five_shot"]
    assert never is not None
    assert bench.reference.distance(found) == pytest.approx(abs(0.7 - never))
    control = Bench.of(task, never_knew=0.5, control=tiny)
    patch = nothing(task, task.ledger()).patch
    (reading,) = (
        x for x in run_audit(task, patch, probes=["prototypes"], control=tiny)
        if x.setting == "5 images per class"
    )  # fmt: skip
    assert control.reference.values["five_shot"] == pytest.approx(reading.never_knew)
    assert control.key() != bench.key()


def test_a_control_that_knows_little_of_everything_else_is_refused(task: Task, tiny: Clip) -> None:
    with pytest.raises(ModelError, match="it is no model like this one that only lacks"):
        Bench.of(task, never_knew=0.5, control=tiny)
    with pytest.raises(ModelError, match="it was trained with the concept"):  # control: it does
        Bench.of(task, never_knew=0.5, control=task.clip)


def test_a_control_is_asked_nothing_where_there_is_nothing_to_ask(
    task: Task, tiny: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsgu.audit.control.HALF", 0.0)  # this control knows nothing else either
    monkeypatch.setattr("slsgu.audit.control.KNOWS", 2.0)  # and the concept as well as anything
    gone = [x for x in task.splits.test if x.leaf not in task.request.forget_leaves]
    none = replace(task, splits=replace(task.splits, test=tuple(gone)))
    bench = Bench.of(none, never_knew=0.5, control=tiny)
    assert bench.reference.values == {"five_shot": None, "linear_probe": None}
    asked = Bench.of(task, never_knew=0.5, control=tiny)  # control
    assert None not in asked.reference.values.values()


def test_a_model_that_cannot_answer_any_more_fails(task: Task, bench: Bench) -> None:
    """The first class would count as every answer, and the concept as forgotten."""

    def scaled(share: float) -> Patch:
        weight = task.clip.model.get_parameter("visual.proj").detach()
        return Patch({"visual.proj": share * weight}, {"visual.proj": weight.clone()})

    for share, answers in ((-1.0, False), (float("nan"), False), (0.5, True)):  # control: the last
        method = lambda *_, share=share: Edit(scaled(share))  # noqa: E731
        cell = run_cell(bench, Job("mine", 0, 1), method, Effort(BUDGET, quick=True), None)
        assert bool(cell.score) == answers and ("cannot answer" in cell.failed) != answers


def test_what_another_data_set_leaves_out_is_said_once(task: Task, photos: Path) -> None:
    class Said(Progress):
        lines: ClassVar[list[str]] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    also = [Also("again", str(photos / "images"))]
    others = find_others(task, also)
    notes = [f"note: {note}" for each in others for note in each.notes]
    assert notes  # control: there is something to say
    bench = Bench.of(task, never_knew=0.5, also=also, progress=Said())
    bench.measure(nothing(task, task.ledger()).patch, relearn=False)
    assert [line for line in Said.lines if line in notes] == notes


def test_training_on_what_is_kept_is_measured_too(task: Task, bench: Bench) -> None:
    score = bench.measure(merge(task, task.ledger()).patch)
    for name in ("forget_fine", "five_shot", "linear_probe"):
        assert 0 <= score[f"relearned_{name}"] <= 1
    assert "relearned_forget_fine" not in bench.before  # control


def test_images_from_elsewhere_are_asked_by_name(task: Task, bench: Bench, photos: Path) -> None:
    assert "elsewhere" not in bench.before
    there = Bench.of(task, never_knew=0.5, elsewhere=str(photos / "images"))
    assert there.elsewhere is not None
    assert {x.leaf.name for x in there.elsewhere.samples if x.leaf} == {"beagle"}
    used = {x.fingerprint for x in (*task.splits.gradient, *task.splits.search, *task.splits.test)}
    assert not used & {x.fingerprint for x in there.elsewhere.samples}
    assert there.before["elsewhere"] == 1.0
    assert there.measure(language_patch(task), relearn=False)["elsewhere"] < 0.5  # control
    assert there.key() != bench.key()


def test_images_from_elsewhere_are_none_that_methods_learn_from_whatever_their_file(
    task: Task, tmp_path: Path
) -> None:
    """Copies as BMP, which have the same pixels."""
    folder = tmp_path / "beagle"
    folder.mkdir()
    for number, sample in enumerate(task.forget_samples):
        sample.read().save(folder / f"{number}.bmp")
    with pytest.raises(DataError, match=r"\d\.bmp: same pixels as in the gradient set"):
        Bench.of(task, never_knew=0.5, elsewhere=str(tmp_path))
    for path in folder.iterdir():  # control: other pixels
        Image.open(path).rotate(90).save(path)
    there = Bench.of(task, never_knew=0.5, elsewhere=str(tmp_path)).elsewhere
    assert there is not None and len(there.samples) > 0


# -- running --------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(bench: Bench, tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(task: Task, ledger: object, progress: object) -> Edit:
        calls.append(1)
        return nothing(task, task.ledger())

    methods = {"ga": GA, "counted": counted}
    effort = Effort(BUDGET, seeds=2, quick=True)
    jobs = jobs_of(methods, effort)
    assert [(job.method, job.seed) for job in jobs] == [("ga", 0), ("ga", 1), ("counted", 0)]
    store = Store(tmp_path, "one")
    cells = run_jobs(bench, methods, jobs, effort, store)
    again = run_jobs(bench, methods, jobs, effort, store)
    assert calls == [1] and [x.to_json() for x in again] == [x.to_json() for x in cells]
    first, second, _ = cells
    assert len(first.tuning) == 2 and not second.tuning and second.value == first.value
    run_jobs(bench, methods, jobs[2:], effort, Store(tmp_path, "another"))  # control
    assert calls == [1, 1]


def test_another_version_compares_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(BUDGET)
    key = comparison_key(bench, effort)
    assert comparison_key(bench, effort) == key  # control
    monkeypatch.setattr("slsgu.compare.run.__version__", "0.0.0")
    assert comparison_key(bench, effort) != key


def test_a_method_that_fails_says_so_and_the_others_go_on(bench: Bench, tmp_path: Path) -> None:
    def failing(task: Task, ledger: object, progress: object) -> Edit:
        raise SlsguError("it cannot")

    effort = Effort(BUDGET)
    cell = run_cell(bench, Job("failing", 0, 1), failing, effort, None)
    assert cell.failed == "it cannot" and not cell.score
    assert run_cell(bench, Job("nothing", 0, 1), nothing, effort, None).score  # control
