"""Other words are asked as people would ask them: a template of all classes alike, another word of
the one concept, a group by its own name, and every misspelling under the name that it is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import slsgu
from slsgu.audit import asking as asking_file
from slsgu.audit.asking import Asking, Wording
from slsgu.audit.probe import ProbeReading
from slsgu.audit.run import run_audit
from slsgu.audit.subject import Subject
from slsgu.audit.words import misspelt, other_templates, words
from slsgu.baselines.merge import merge
from slsgu.concepts.taxonomy import Concept
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch
from slsgu.task.task import Task


@pytest.fixture
def make(taught: Clip, photos: Path) -> Callable[..., Task]:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return lambda *concepts: slsgu.make_task(taught, concepts, **where)  # type: ignore[arg-type]


def subject_of(task: Task) -> Subject:
    return Subject(task, merge(task, task.ledger()).patch, task.ledger())


def edited_texts(task: Task) -> Patch:
    """An edit of the language tower that tells names apart in another way."""
    weight = task.clip.model.get_parameter("text_projection").detach().clone()
    return Patch({"text_projection": torch.randn_like(weight)}, {"text_projection": weight})


def found(task: Task, patch: Patch, classes: tuple[Concept, ...], said: list[str]) -> float:
    """An oracle: how often the images to be forgotten are nearest to their own sentence."""
    model = patch.apply(task.clip.model)
    edited = replace(task.clip, model=model)
    samples = task.forget_test_samples
    pixels = torch.stack([task.clip.preprocess(x.read()) for x in samples])
    with torch.no_grad():
        images = normalize(model.encode_image(pixels), dim=-1)  # type: ignore[operator]
        texts = edited.encode_text(said)
    predicted = [classes[i] for i in (images @ texts.T).argmax(dim=1).tolist()]
    right = [
        c in (x.leaf.lineage if x.leaf else ()) for c, x in zip(predicted, samples, strict=True)
    ]
    return sum(right) / len(right)


# -- templates ------------------------------------------------------------------------------------


def test_a_template_is_asked_of_all_classes_alike(make: Callable[..., Task]) -> None:
    task = make("beagle")
    patch = edited_texts(task)
    rows = {x.setting: x for x in words(Subject(task, patch, task.ledger()))}
    leaves = task.taxonomy.leaves
    bare = found(task, patch, leaves, [leaf.name for leaf in leaves])
    assert rows["bare name"].after == pytest.approx(bare)
    asking = Asking(Subject(task, patch, task.ledger()))
    one = leaves[0]
    for template in other_templates(task.templates)[:20]:
        own = [template.replace("{}", leaf.name) for leaf in leaves]
        right = asking.correct("after", Wording(one, "", template=template))
        assert float(right.double().mean()) == pytest.approx(found(task, patch, leaves, own))


def test_another_word_is_asked_of_the_concept_alone(make: Callable[..., Task]) -> None:
    """Beagles are called tabbies: all other classes, tabbies among them, are called as ever."""
    task = make("beagle")
    subject = subject_of(task)
    asking = Asking(subject)
    beagle, _, tabby, _ = task.taxonomy.leaves

    def called(name: str) -> Tensor:
        texts = tuple(template.replace("{}", name) for template in task.templates)
        return asking.correct("before", Wording(beagle, "", texts=texts))

    texts = asking.usual("before", task.taxonomy.leaves).clone()
    texts[0] = texts[2]
    expected = (subject.questions.before @ texts.T).argmax(dim=1) == 0
    assert torch.equal(called(tabby.name), expected)
    assert called(beagle.name).all() and not expected.all()  # control


def test_with_many_leaves_the_likeliest_are_asked_and_a_reading_is_never_lower(
    make: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make("beagle")
    subject = subject_of(task)
    whole = Asking(subject)
    assert whole.rivals == task.taxonomy.leaves
    monkeypatch.setattr(asking_file, "RIVALS", 1)
    few = Asking(subject)
    assert len(few.rivals) == 2 and task.taxonomy.leaves[0] in few.rivals
    for template in other_templates(task.templates)[:10]:
        wording = [Wording(task.taxonomy.leaves[0], "", template=template)]
        one, other = (x.reading("", "", wording) for x in (whole, few))
        assert (other.after or 0) >= (one.after or 0) and (other.before or 0) >= (one.before or 0)
        assert other.chance == 1 / 2 and one.chance == 1 / 4


# -- groups ---------------------------------------------------------------------------------------


def test_a_group_is_asked_for_by_its_own_name_among_its_level(make: Callable[..., Task]) -> None:
    task = make("dog")
    patch = merge(task, task.ledger()).patch
    rows = {x.setting: x for x in words(Subject(task, patch, task.ledger()))}
    level = task.taxonomy.level(1)
    name, leaves = rows["name"], rows["leaves: name"]
    assert name.chance == 1 / 2 and leaves.chance == 1 / 4
    assert name.count == leaves.count == len(task.forget_test_samples)
    bare = found(task, patch, level, [concept.name for concept in level])
    assert rows["bare name"].after == pytest.approx(bare)
    assert "leaves: bare name" in rows
    assert any(setting.startswith("leaves: worst misspelling: ") for setting in rows)
    alone = {x.setting for x in words(subject_of(make("beagle")))}  # control
    assert "name" in alone and not any(setting.startswith("leaves: ") for setting in alone)


def test_a_misspelling_says_whose_it_is() -> None:
    slips = [x.setting for x in misspelt(Concept("beagle", None), ["{}"])]
    assert len(slips) == len(set(slips)) >= 6
    assert all(x.endswith(" (for beagle)") and not x.startswith("beagle ") for x in slips)


# -- the worst ------------------------------------------------------------------------------------


@dataclass
class Said(Asking):
    """Readings that are given, one for each wording."""

    given: dict[str, tuple[float, float]]

    def reading(self, probe: str, setting: str, wordings: object) -> ProbeReading:
        return ProbeReading(probe, setting, 100, 0.1, *self.given[setting])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": (0.9, 0.3), "b": (0.05, 0.4)}, ["worst slip: a"]),
        (
            {"a": (0.9, 0.3), "b": (0.05, 1.0)},
            ["worst slip: a", "slip that found nothing before: b"],
        ),
        ({"a": (0.9, 0.3), "b": (0.8, 0.4)}, ["worst slip: b"]),
        ({"a": (0.05, 0.1), "b": (0.05, 0.2)}, ["worst slip: b"]),
    ],
)
def test_what_found_nothing_before_does_not_hide_what_did(
    given: dict[str, tuple[float, float]], expected: list[str]
) -> None:
    sets = [[Wording(Concept("x", None), name)] for name in given]
    mean, *rest = Said(given).mean_and_worst("other words", "slip", sets)
    assert [x.setting for x in rest] == expected
    assert mean.after == pytest.approx(sum(after for _, after in given.values()) / len(given))


# -- what is not encoded twice --------------------------------------------------------------------


def test_texts_are_encoded_once_where_the_edit_leaves_them(
    make: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    encode = Clip.encode_text

    def counted(self: Clip, texts: list[str], **given: int) -> Tensor:
        counts.append(len(texts))
        return encode(self, texts, **given)

    monkeypatch.setattr(Clip, "encode_text", counted)
    task = make("beagle")
    patch = merge(task, task.ledger()).patch
    totals = []
    for each in (patch, edited_texts(task)):
        counts.clear()
        run_audit(task, each, probes=["other words"])
        totals.append(sum(counts))
    assert totals[0] < 0.6 * totals[1]
