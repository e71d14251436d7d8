"""The audit reads what a few photographs find again, and says so where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.pairs import table
from torch import Tensor
from torch.nn.functional import normalize

import slsgu
from slsgu.audit import run
from slsgu.audit.pool import Pool
from slsgu.audit.probe import ProbeReading
from slsgu.audit.prototypes import DRAWS, NAME, draw, prototypes, share_right
from slsgu.audit.run import PROBES, Audit, run_audit
from slsgu.audit.subject import Subject
from slsgu.baselines.merge import merge
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.errors import LayerMismatchError, SlsguError
from slsgu.models.clip import Clip, weights_sha256
from slsgu.patch.patch import Patch
from slsgu.task.task import Task

PETS = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["manx", "tabby"]})


@pytest.fixture
def make(taught: Clip, photos: Path) -> Callable[..., Task]:
    """Tasks of the taught model, on the photographs: 10 gradient images of each class."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return lambda *concepts, **given: slsgu.make_task(taught, concepts, **{**where, **given})


def patch_of(task: Task, name: str, delta: Tensor) -> Patch:
    weight = task.clip.model.get_parameter(name).detach().clone()
    return Patch({name: delta}, {name: weight})


def by_setting(readings: Audit) -> dict[str, ProbeReading]:
    return {reading.setting: reading for reading in readings}


# -- the arithmetic -------------------------------------------------------------------------------


def test_of_a_group_any_class_of_it_is_right() -> None:
    asked = PETS.leaves[:2]
    pool = Pool(PETS.leaves, ((0,), (1,), (2,), (3,)), asked, groups=(0, 0, 2, 3))
    predicted = torch.tensor([[1, 0], [0, 2]])
    assert pool.right(predicted).tolist() == [[True, True], [True, False]]
    assert pool.chance == 0.5
    alone = Pool(PETS.leaves, pool.places, asked)  # control
    assert alone.right(predicted).tolist() == [[False, False], [True, False]]
    assert alone.chance == 0.25


def test_accuracy_is_that_of_the_nearest_mean_worked_out_by_hand() -> None:
    """Unit vectors in a plane, by their angle in degrees."""

    def at(*degrees: float) -> Tensor:
        angles = torch.tensor(degrees).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    examples = at(0, 20, 80, 100)  # two classes, with means at 10 and 90
    drawn = torch.tensor([[[0, 1], [2, 3]]])
    first, second = PETS.leaves[:2]
    pool = Pool((first, second), ((0, 1), (2, 3)), (first, second, second))
    questions = at(45, 60, 49)
    assert share_right(pool, examples, drawn, questions).tolist() == [1, 1, 0]
    swapped = drawn.flip(dims=[1])  # control: the classes have each other's examples
    assert share_right(pool, examples, swapped, questions).tolist() == [0, 0, 1]
    both = torch.cat([drawn, swapped])
    assert share_right(pool, examples, both, questions).tolist() == [0.5, 0.5, 0.5]


def test_each_draw_takes_that_many_of_each_class_and_none_twice() -> None:
    places = [[0, 1, 2], [3, 4, 5, 6, 7], [8, 9]]
    drawn = draw(places, 2, seed=0)
    assert drawn.shape == (DRAWS, 3, 2)
    for row in drawn:
        for own, chosen in zip(places, row.tolist(), strict=True):
            assert set(chosen) <= set(own) and len(set(chosen)) == 2
    assert torch.equal(drawn, draw(places, 2, seed=0))
    assert not torch.equal(drawn, draw(places, 2, seed=1))


@pytest.mark.parametrize(("before", "measurable"), [(0.5, False), (0.6, False), (0.95, True)])
def test_what_is_no_better_than_chance_is_not_measurable(before: float, measurable: bool) -> None:
    reading = ProbeReading("prototypes", "5 images per class", 20, 0.5, before=before, after=0.0)
    assert reading.measurable is measurable
    assert reading.before_interval is not None and reading.before_interval[0] <= before
    assert not ProbeReading("prototypes", "20 images per class", note="too few").measurable


# -- the audit ------------------------------------------------------------------------------------


def test_nothing_done_changes_no_reading(make: Callable[..., Task]) -> None:
    task = make("beagle")
    before = weights_sha256(task.clip.model)
    nothing = patch_of(task, "visual.proj", torch.zeros(32, 32))
    readings = run_audit(task, nothing, probes=[NAME])
    assert [r.setting for r in readings] == [f"{k} per class" for k in (
        "1 image", "5 images", "20 images"
    )]  # fmt: skip
    one, five, twenty = readings
    assert one.before == one.after and five.before == five.after
    assert five.before is not None and five.before > 0.9 and five.measurable
    assert five.chance == 1 / 4 and five.count == len(task.forget_test_samples)
    assert all(r.never_knew is None for r in readings)
    assert twenty.before is None and "10 of 20 gradient images" in twenty.note
    assert weights_sha256(task.clip.model) == before


def test_an_edit_is_read_as_the_patched_model_would_answer(make: Callable[..., Task]) -> None:
    """An oracle: embed with the patched copy and count, image by image."""
    task = make("beagle")
    patch = merge(task, task.ledger()).patch
    five = by_setting(run_audit(task, patch, probes=[NAME]))["5 images per class"]
    patched = patch.apply(task.clip.model)

    def embedded(samples: tuple[object, ...]) -> Tensor:
        pixels = torch.stack([task.clip.preprocess(s.read()) for s in samples])  # type: ignore
        return normalize(patched.encode_image(pixels), dim=-1)

    gradient, test = task.splits.gradient, task.forget_test_samples
    leaves = list(dict.fromkeys(sample.leaf for sample in gradient))
    places = [[i for i, s in enumerate(gradient) if s.leaf is leaf] for leaf in leaves]
    examples, questions = embedded(gradient), embedded(test)
    right = 0
    for row in draw(places, 5, task.seed):
        means = normalize(torch.stack([examples[own].mean(dim=0) for own in row]), dim=-1)
        found = (questions @ means.T).argmax(dim=1)
        right += sum(leaves[i] is s.leaf for i, s in zip(found.tolist(), test, strict=True))
    assert five.after == pytest.approx(right / DRAWS / len(test))
    assert five.after != five.before  # control: the patch does something to see


def test_a_text_edit_leaves_what_pictures_find(make: Callable[..., Task]) -> None:
    task = make("beagle")
    ruined = patch_of(task, "text_projection", torch.randn(32, 32))
    readings = run_audit(task, ruined, probes=[NAME])
    assert all(reading.before == reading.after for reading in readings)
    line = torch.randn(32, 1) @ torch.randn(1, 32)  # control: all pictures on one line
    blind = patch_of(task, "visual.proj", line - task.clip.model.get_parameter("visual.proj"))
    changed = by_setting(run_audit(task, blind, probes=[NAME]))["5 images per class"]
    assert changed.after is not None and changed.before == 1 and changed.after < 0.9


def test_several_leaves_are_asked_and_each_for_its_own(make: Callable[..., Task]) -> None:
    task = make("dog")
    five = by_setting(run_audit(task, 0 * merge(task, task.ledger()).patch, probes=[NAME]))[
        "5 images per class"
    ]
    assert five.count == len(task.forget_test_samples) == 2 * len(make("pug").forget_test_samples)
    each = five.classes
    assert set(each) == {leaf.name for leaf in task.request.forget_leaves}
    assert sum(x.count for x in each.values()) == five.count
    mean = sum(x.count * (x.after or 0) for x in each.values()) / five.count
    assert mean == pytest.approx(five.after)
    assert by_setting(Audit.from_json(run_audit(task, 0 * merge(task, task.ledger()).patch,
                                                probes=[NAME]).to_json()))[
        "5 images per class"
    ].classes == each  # fmt: skip
    alone = run_audit(make("pug"), 0 * merge(task, task.ledger()).patch, probes=[NAME])
    assert not any(x.classes for x in alone)  # control: a single one is the whole


def test_a_leaf_with_too_few_examples_is_named(make: Callable[..., Task]) -> None:
    few = slsgu.DataSettings(limits=slsgu.Limits(gradient=3))
    task = make("beagle", settings=few)
    nothing = patch_of(task, "visual.proj", torch.zeros(32, 32))
    one, five, _ = run_audit(task, nothing, probes=[NAME])
    assert one.before is not None
    assert five.before is None and not five.measurable
    assert five.note.endswith("has only 3 of 5 gradient images")


def test_pictures_without_a_class_are_no_examples(
    taught: Clip, photos: Path, tmp_path: Path
) -> None:
    """Pairs name one concept; what is kept has captions and no class."""
    pairs = slsgu.Pairs(
        forget=table(tmp_path / "forget.jsonl", photos, ["beagle"]),
        retain=table(tmp_path / "retain.jsonl", photos, ["tabby", "siamese"]),
        name="beagle",
        parent="dog",
    )
    task = slsgu.make_task(taught, (), pairs=pairs)
    assert any(sample.leaf is None for sample in task.splits.gradient)
    readings = run_audit(task, patch_of(task, "visual.proj", torch.zeros(32, 32)), probes=[NAME])
    assert {reading.note for reading in readings} == {"there are images of one class only"}
    assert not any(reading.measurable for reading in readings)


# -- probes by name -------------------------------------------------------------------------------


def test_a_probe_is_a_function_and_a_line(
    make: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    def movement(subject: Subject) -> Iterator[ProbeReading]:
        moved = subject.questions.before - subject.questions.after
        yield ProbeReading("movement", "", len(moved), before=0.0, after=float(moved.norm()))

    monkeypatch.setitem(run.PROBES, "movement", movement)
    task = make("beagle")
    patch = merge(task, task.ledger()).patch
    (reading,) = run_audit(task, patch, probes=["movement"])
    assert reading.after is not None and reading.after > 0 and not reading.measurable
    assert len(run_audit(task, patch, probes=[NAME, "movement"])) == 4


def test_images_are_embedded_once_for_all_probes(make: Callable[..., Task]) -> None:
    task = make("beagle")
    subject = Subject(task, merge(task, task.ledger()).patch, task.ledger())
    assert list(prototypes(subject)) == list(prototypes(subject))
    assert subject.examples is subject.examples
    claims = [set(subject.ledger.hashes(split)) for split in ("gradient", "test")]
    assert all(claims) and not claims[0] & claims[1]


def test_an_unknown_probe_and_a_foreign_patch_are_refused(make: Callable[..., Task]) -> None:
    task = make("beagle")
    patch = merge(task, task.ledger()).patch
    with pytest.raises(SlsguError, match="unknown probe 'guess'; known: other words, prototypes"):
        run_audit(task, patch, probes=["guess"])
    foreign = Patch(patch.delta, {name: 2 * w for name, w in patch.original.items()})
    with pytest.raises(LayerMismatchError):
        run_audit(task, foreign, probes=[NAME])
    assert "prototypes" in PROBES
