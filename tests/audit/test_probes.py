"""Every probe on a model that is unchanged, on one whose concept looks like its siblings, and on
labels that mean nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import TOWERS, build_network
from torch import Tensor
from torch.nn.functional import normalize

import slsgu
from slsgu.audit import membership, retrieval
from slsgu.audit.linear import Ridge
from slsgu.audit.points import EMBEDDING, Points
from slsgu.audit.probe import ProbeReading
from slsgu.audit.reference import Unknown
from slsgu.audit.relearning import Lesson, School
from slsgu.audit.run import PROBES, Audit, run_audit
from slsgu.audit.subject import Subject, View, see
from slsgu.audit.tail import Tail
from slsgu.audit.unknown_names import by_name
from slsgu.audit.weights import to_int8
from slsgu.baselines.merge import merge
from slsgu.errors import DataError, ModelError, SlsguError
from slsgu.models.clip import Clip, weights_sha256
from slsgu.patch.patch import Patch
from slsgu.task.task import Task


@pytest.fixture
def task(taught: Clip, photos: Path) -> Task:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return slsgu.make_task(taught, ["beagle"], **where)  # type: ignore[arg-type]


@pytest.fixture
def nothing(task: Task) -> Patch:
    weight = task.clip.model.get_parameter("visual.proj").detach().clone()
    return Patch({"visual.proj": torch.zeros_like(weight)}, {"visual.proj": weight})


@pytest.fixture
def merged(task: Task) -> Patch:
    return merge(task, task.ledger()).patch


def of(found: Audit, probe: str, start: str = "") -> ProbeReading:
    return next(x for x in found if x.probe == probe and x.setting.startswith(start))


def test_nothing_done_changes_no_reading_of_any_probe(task: Task, nothing: Patch) -> None:
    before = weights_sha256(task.clip.model)
    found = run_audit(task, nothing)
    assert {x.probe for x in found} == set(PROBES)
    for reading in found:
        if reading.probe != "relearning" and reading.before is not None:
            assert reading.after == reading.before, reading
    assert weights_sha256(task.clip.model) == before
    assert not any(p.requires_grad for p in task.clip.model.parameters())
    assert found.verdict.word == "not forgotten"


def test_a_model_without_information_is_not_audited(task: Task, nothing: Patch) -> None:
    """Neither one that had none before the edit, nor one that has none after it."""
    (name,) = nothing.layers
    empty = replace(nothing, delta={name: -nothing.original[name]})
    with pytest.raises(ModelError, match=r"the edited model: .* are no numbers|every image has"):
        run_audit(task, empty, probes=["prototypes"])
    hollow = replace(task.clip, model=empty.apply(task.clip.model))
    with pytest.raises(ModelError, match="nothing to forget"):
        run_audit(replace(task, clip=hollow), Patch({}, {}), probes=["prototypes"])
    assert len(run_audit(task, nothing, probes=["prototypes"]))  # control


def test_a_merged_concept_is_found_less_and_the_trunk_as_before(task: Task, merged: Patch) -> None:
    found = run_audit(
        task, merged, probes=["other words", "prototypes", "linear probe", "retrieval"]
    )
    for probe, setting in (("other words", "name"), ("prototypes", "5"), ("retrieval", "by image")):
        one = of(found, probe, setting)
        assert one.measurable and one.after is not None and one.before is not None
        assert one.after < one.before
    stages = [x for x in found if x.probe == "linear probe" and x.setting != EMBEDDING]
    assert len(stages) == 3 and all(x.after == x.before for x in stages)
    assert found.towers == ("vision",)


def test_a_control_is_read_by_every_probe(task: Task, merged: Patch, taught: Clip) -> None:
    """The model itself as its own control reads what was before."""
    same = replace(taught, model=copy.deepcopy(taught.model))
    found = run_audit(task, merged, control=same)
    for reading in found:
        if reading.before is None or reading.probe == "relearning":
            continue
        assert reading.never_knew == pytest.approx(reading.before), reading
    assert found.reference is not None and found.verdict.word == "not measurable"


# -- the parts ------------------------------------------------------------------------------------


def test_a_linear_probe_finds_what_is_there_and_nothing_in_random_labels() -> None:
    features, labels = torch.randn(300, 10), torch.arange(300) % 3
    features[:, 0] += 3 * (labels == 0)
    features[:, 1] += 3 * (labels == 1)
    classify = Ridge(features[:200], labels[:200], 3)
    assert float((classify(features[200:]) == labels[200:]).float().mean()) > 0.85
    shuffled = labels[torch.randperm(300)]
    by_chance = Ridge(features[:200], shuffled[:200], 3)
    assert 0.15 < float((by_chance(features[200:]) == shuffled[200:]).float().mean()) < 0.5


def test_a_linear_probe_does_not_favour_the_class_with_most_examples() -> None:
    features = torch.randn(220, 5)
    labels = torch.cat([torch.zeros(200), torch.ones(20)]).long()
    features[labels == 1] += 1.0
    predicted = Ridge(features, labels, 2)(torch.randn(400, 5) + 0.5)  # half way between the two
    assert 0.3 < float(predicted.float().mean()) < 0.7


@pytest.mark.parametrize("wide", [True, False])
def test_the_linear_probe_is_ridge_regression(wide: bool) -> None:
    """An oracle: the two closed forms agree with gradient-free least squares on stacked rows."""
    rows, columns = (30, 50) if wide else (50, 8)
    features, labels = torch.randn(rows, columns).double(), torch.arange(rows) % 2
    found = Ridge(features, labels, 2)
    x = (features - features.mean(0)) / features.std(0, correction=0)
    x, y = x / rows**0.5, (torch.eye(2).double()[labels] - 0.5) / rows**0.5
    gram = x @ x.T if wide else x.T @ x
    damping = 0.1 * float(gram.diagonal().mean()) + 1e-12
    stacked = torch.cat([x, damping**0.5 * torch.eye(columns).double()])
    target = torch.cat([y, torch.zeros(columns, 2).double()])
    expected = torch.linalg.lstsq(stacked, target).solution
    assert torch.allclose(found._weight, expected, atol=1e-8)


def test_recall_and_precision_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.7], [0.1, 0.9, 0.8, 0.7]])
    wanted = torch.tensor([True, False, True, False])
    assert retrieval.recall(scores, wanted).tolist() == [1 / 2, 1 / 2]
    itself = scores.clone()
    itself[0, 0] = -torch.inf  # the query is out of the gallery: one other is wanted
    assert retrieval.recall(itself[:1], wanted).tolist() == [0.0]


def test_a_group_is_searched_by_its_own_name_and_by_those_of_its_leaves(
    taught: Clip, photos: Path
) -> None:
    """Any image of the group answers either."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    task = slsgu.make_task(taught, ["dog"], **where)
    weight = taught.model.get_parameter("visual.proj").detach().clone()
    nothing = Patch({"visual.proj": torch.zeros_like(weight)}, {"visual.proj": weight})
    found = {x.setting: x for x in run_audit(task, nothing, probes=["retrieval"])}
    samples = task.splits.test
    dogs = torch.tensor([x.leaf is not None and x.leaf.lineage[0].name == "dog" for x in samples])
    with torch.no_grad():
        pixels = torch.stack([taught.preprocess(x.read()) for x in samples])
        images = taught.model.encode_image(pixels, normalize=True)
    for start, names in (("", ["dog"]), ("leaves: ", ["beagle", "pug"])):
        concepts = [task.taxonomy.find(name) for name in names]
        texts = View(taught).class_embeddings(concepts, task.templates)
        first = (texts @ images.T).topk(int(dogs.sum()), dim=1).indices
        reading = found[f"{start}by text, recall"]
        assert reading.before == pytest.approx(float(dogs[first].double().mean()))
        assert reading.chance == pytest.approx(float(dogs.double().mean()))
    leaf = slsgu.make_task(taught, ["beagle"], **where)  # control
    alone = {x.setting: x for x in run_audit(leaf, nothing, probes=["retrieval"])}
    assert not any(setting.startswith("leaves") for setting in alone)
    assert alone["by text, recall"].chance == pytest.approx(0.25)


def test_random_scores_show_no_member() -> None:
    assert 0.4 < membership.area(torch.rand(200), torch.rand(200)) < 0.6
    assert membership.area(torch.rand(50), 1 + torch.rand(50)) == 1.0  # control


@pytest.mark.parametrize("name", TOWERS)
def test_points_are_read_on_every_kind_of_tower(name: str) -> None:
    model = build_network(name)
    points = Points(model)
    size = model.get_submodule("visual").image_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    pixels = torch.randn(3, 3, *size)
    with torch.no_grad(), points.noting(3) as noted:
        model.encode_image(pixels)  # type: ignore[operator]
    assert list(noted) and set(noted) <= set(points.names)
    assert points.stage_count == TOWERS[name][3]
    assert all(values.ndim == 2 and len(values) == 3 for values in noted.values())
    assert all(torch.isfinite(values).all() for values in noted.values())


def test_an_edit_is_seen_at_every_point_as_the_edited_model_runs(task: Task) -> None:
    """An oracle: a copy of the model with the patch, run in full with hooks of the test."""
    name = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    weight = task.clip.model.get_parameter(name).detach().clone()
    patch = Patch({name: 0.3 * torch.randn_like(weight)}, {name: weight})
    subject = Subject(task, patch, task.ledger())
    pixels = torch.stack([task.clip.preprocess(x.read()) for x in subject.questions.samples])
    for view, model in (("before", task.clip.model), ("after", patch.apply(task.clip.model))):
        outputs: list[Tensor] = []
        for block in model.get_submodule("visual.transformer.resblocks"):  # type: ignore[union-attr]
            block.register_forward_hook(lambda _m, _a, out, to=outputs: to.append(out))
        with torch.no_grad():
            embedding = normalize(model.encode_image(pixels), dim=-1)  # type: ignore[operator]
        seen = subject.questions.points[view]
        for index, out in enumerate(outputs):
            expected = torch.cat([out[:, 0], out.mean(dim=1)], dim=1)
            key = f"visual.transformer.resblocks.{index}"
            assert torch.allclose(seen[key], expected, atol=1e-4), (view, key)
        assert torch.allclose(seen[EMBEDDING], embedding, atol=1e-5)
    stages = [subject.questions.points[v] for v in ("before", "after")]
    last = "visual.transformer.resblocks.1"
    assert not torch.allclose(stages[0][last], stages[1][last])  # control


def test_the_tail_gives_what_the_whole_tower_gives_and_learns(task: Task) -> None:
    samples = task.forget_test_samples
    tail = Tail(task.clip, samples, 4)
    rows = torch.tensor([3, 0, 3, 1, 2])
    pixels = torch.stack([task.clip.preprocess(samples[i].read()) for i in rows])
    with torch.no_grad():
        assert torch.allclose(tail(rows), task.clip.encode_image(pixels), atol=1e-5)
    weight = task.clip.model.get_parameter("visual.proj").requires_grad_(True)
    with torch.enable_grad():
        tail(rows).sum().backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    weight.requires_grad_(False)


def test_rounding_moves_a_weight_by_half_a_level_at_most() -> None:
    weight = torch.randn(4, 50)
    level = weight.abs().amax(dim=1, keepdim=True) / 127
    assert bool(((to_int8(weight) - weight).abs() <= level / 2 + 1e-6).all())
    assert len(to_int8(weight)[0].unique()) <= 255


# -- the reference from unknown concepts ----------------------------------------------------------


def test_concepts_that_are_known_alike_give_what_was_before(
    task: Task, merged: Patch, photos: Path, tmp_path: Path
) -> None:
    """Control: the "unknown" are known as well as the known, so the share is one."""
    for name in ("tabby", "siamese", "pug"):
        target = tmp_path / ("known/pug" if name == "pug" else f"unknown/stranger {name}")
        target.mkdir(parents=True)
        for file in (photos / "images" / name).iterdir():
            (target / file.name).symlink_to(file)
    unknown = Unknown.find(task, str(tmp_path / "unknown"), str(tmp_path / "known"))
    found = run_audit(task, merged, probes=["prototypes", "linear probe"], unknown=unknown)
    five = of(found, "prototypes", "5")
    assert five.never_knew == pytest.approx(five.before, abs=0.1)
    assert found.reference is not None and "2 concepts" in found.reference
    few = tmp_path / "few" / "pug"
    few.mkdir(parents=True)
    for file in sorted((photos / "images" / "pug").iterdir())[:3]:
        (few / file.name).symlink_to(file)
    with pytest.raises(DataError, match="it needs at least 5"):
        Unknown.find(task, str(tmp_path / "unknown"), str(few.parent))
    (tmp_path / "unknown" / "pug").symlink_to(few)
    with pytest.raises(DataError, match="the taxonomy has pug"):
        Unknown.find(task, str(tmp_path / "unknown"))


# -- what an audit is, and what it remembers ------------------------------------------------------


def test_done_probes_are_not_repeated_and_the_key_says_what_is_the_same(
    task: Task, merged: Patch, nothing: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_audit(task, merged, probes=["prototypes"])
    again = Audit.from_json(first.to_json())
    assert again.readings == first.readings and again.verdict == first.verdict

    def never(subject: Subject) -> list[ProbeReading]:
        raise AssertionError("a probe that is done ran again")

    monkeypatch.setitem(PROBES, "prototypes", never)
    second = run_audit(task, merged, probes=["prototypes"], earlier=first)
    assert second.readings == first.readings and second.seconds == first.seconds != {}
    with pytest.raises(AssertionError):  # control
        run_audit(task, merged, probes=["prototypes"])
    with pytest.raises(AssertionError):  # control: of another edit
        run_audit(task, nothing, probes=["prototypes"], earlier=first)


def test_what_was_read_before_stays_when_another_probe_is_asked_for(
    task: Task, merged: Patch, nothing: Patch
) -> None:
    first = run_audit(task, merged, probes=["retrieval"])
    both = run_audit(task, merged, probes=["prototypes"], earlier=first)
    assert [x.probe for x in both] == ["prototypes"] * 3 + ["retrieval"] * 4
    assert set(both.seconds) == {"prototypes", "retrieval"}
    other = run_audit(task, nothing, probes=["prototypes"], earlier=first)  # control
    assert {x.probe for x in other} == {"prototypes"}
    assert both.verdict.word == "no verdict" and "relearning" in both.verdict.reasons[0]


def test_quick_probes_are_read_first_and_shown_in_their_order(
    task: Task, merged: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    for name in PROBES:
        monkeypatch.setitem(PROBES, name, lambda _, name=name: read.append(name) or ())
    run_audit(task, merged, probes=["relearning", "other words", "membership", "prototypes"])
    assert read == ["membership", "prototypes", "other words", "relearning"]


def test_a_control_that_knows_little_of_everything_else_is_refused(
    task: Task, merged: Patch, taught: Clip
) -> None:
    blind = copy.deepcopy(taught.model)
    with torch.no_grad():
        for parameter in blind.visual.parameters():
            parameter.copy_(torch.randn_like(parameter) * parameter.std())
    with pytest.raises(ModelError, match="it is no model like this one that only lacks"):
        run_audit(task, merged, control=replace(taught, model=blind), probes=["prototypes"])


def test_a_control_is_not_asked_where_no_probe_is_left(
    task: Task, merged: Patch, taught: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = replace(taught)
    first = run_audit(task, merged, control=same, probes=["prototypes"])
    monkeypatch.setattr(Subject, "read", lambda *_, **__: pytest.fail("an image was read"))
    again = run_audit(task, merged, control=same, probes=["prototypes"], earlier=first)
    assert again.readings == first.readings


def test_two_references_are_refused(task: Task, merged: Patch, taught: Clip) -> None:
    unknown = Unknown((), (), "none")
    with pytest.raises(SlsguError, match="not both"):
        run_audit(task, merged, control=taught, unknown=unknown)


# -- relearning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("concept", ["beagle", "dog"])
def test_all_leaves_are_taught_one_new_name(taught: Clip, photos: Path, concept: str) -> None:
    """A model that gives every image the new name has learned it, whatever the leaf."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    task = slsgu.make_task(taught, [concept], **where)  # type: ignore[arg-type]
    lesson = Lesson.of(Subject(task, Patch({}, {}), task.ledger()))
    assert isinstance(lesson, Lesson)
    school = School(lesson, View(taught))
    called = {school._caption(leaf, "new") for leaf in task.request.forget_leaves}
    assert called == {lesson.template.replace("{}", "new")}
    kept = [school._caption(leaf, "new") for leaf in task.request.retain_leaves]
    assert kept == [lesson.template.replace("{}", x.name) for x in task.request.retain_leaves]

    def encode(texts: Sequence[str]) -> Tensor:
        """The new name is where the images are; the others are far away."""
        with torch.no_grad():
            images = school._tail(torch.arange(len(school._samples)))
        here = normalize(images[-len(lesson.questions) :].mean(dim=0), dim=0)
        last = torch.zeros(len(texts), 1)
        last[-1] = 1  # the last class wins where nothing is new
        away = last * 0.1 * here - (1 - last) * here
        return torch.stack([here if "new" in t else x for t, x in zip(texts, away, strict=True)])

    object.__setattr__(school._clip, "encode_text", encode)
    assert school._accuracy("new") == 1.0
    assert school._accuracy(None) == 0.0  # control: by their own names all are far away


# -- names of what the model does not know --------------------------------------------------------


def test_an_unknown_name_stands_among_as_many_as_the_setting_has(
    task: Task, photos: Path, tmp_path: Path
) -> None:
    """Images of an unknown concept are asked for its name among all leaves and its own, those of a
    known one among all leaves; an oracle counts."""
    for name, called in (("tabby", "wuzzle"), ("siamese", "sniffle"), ("pug", "pug")):
        target = tmp_path / ("known" if name == "pug" else "unknown") / called
        target.mkdir(parents=True)
        for file in (photos / "images" / name).iterdir():
            (target / file.name).symlink_to(file)
    unknown = Unknown.find(task, str(tmp_path / "unknown"), str(tmp_path / "known"))
    view, leaves = View(task.clip), task.taxonomy.leaves
    samples = (*unknown.unknown, *unknown.known)
    images = see({"before": view}, samples, split="x", ledger=task.ledger(), reading=task.reading)
    by_setting = dict(by_name(images, view, task))
    many = [x for x in by_setting if "first" in x]
    assert len(by_setting) == 3 and len(many) == 2 and all(" of 100" in x for x in many)
    strangers = list(dict.fromkeys(x.leaf for x in unknown.unknown if x.leaf is not None))
    every = [*leaves, *strangers]
    texts = view.class_embeddings(every, task.templates)
    right = []
    for image, sample in zip(images.before, images.samples, strict=True):
        rows = [i for i, x in enumerate(every) if x in leaves or x is sample.leaf]
        right.append(every[rows[int((texts[rows] @ image).argmax())]] is sample.leaf)
    assert by_setting["name"].bool().tolist() == right and any(right)
    first, five = (by_setting[x] for x in many)
    assert bool((first <= five).all()) and float(first.mean()) < float(by_setting["name"].mean())
