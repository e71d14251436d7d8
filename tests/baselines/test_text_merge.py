"""Text merge and CCUP as methods: no picture is read, names go where they are sent, what is kept
stays, with and without a bias, from either side."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import build_network, tokenize
from torch import Tensor

import slsgu
from slsgu.baselines.ccup import ccup, project_texts_out
from slsgu.baselines.methods import METHODS
from slsgu.baselines.text_merge import kept_moment, leaving_texts, merge_texts, text_merge
from slsgu.baselines.words import Words
from slsgu.concepts.request import Request
from slsgu.errors import ModelError, SlsguError
from slsgu.evaluation.embedded import Embedded
from slsgu.models.clip import Clip, weights_sha256
from slsgu.search.pooled import LastProjection
from slsgu.task.task import Task
from slsgu.task.text_task import TextTask

TEMPLATES = ("a photo of a {}", "the {}")
PETS = {
    "dog": {"beagle": {"$aliases": ["hound"], "$plural": "beagles"}, "pug": None},
    "cat": ["tabby", "siamese"],
}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Other texts that are kept: a file of three, one of which mentions a beagle."""
    file = tmp_path / "keep.txt"
    file.write_text("a red truck\n\na beagle on a boat\nthree trees\n")
    return file


def task_of(clip: Clip, few: Path, *names: str) -> TextTask:
    request = Request.of(slsgu.Taxonomy.parse(PETS, name="pets"), names)
    return TextTask.make(clip, request, TEMPLATES, few)


def shift(texts: Embedded, name: str) -> float:
    """How far the mean of a name's prompts moved."""
    prompts = [template.replace("{}", name) for template in TEMPLATES]
    return float((texts.mean(prompts, after=True) - texts.mean(prompts)).norm())


def embedded(clip: Clip, texts: list[str]) -> Tensor:
    return clip.encode_text(texts).double()


@pytest.fixture
def siglip(tiny: Clip) -> Clip:
    """A text projection with a bias, as a module."""
    return replace(tiny, model=build_network("siglip"), tokenizer=tokenize)


# -- the projection of the texts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "name"),
    [("vit", "text_projection"), ("siglip", "text.text_projection.weight"),
     ("custom-text-vit", "text.text_projection")],
)  # fmt: skip
def test_the_last_projection_of_the_texts_is_found(network: str, name: str, tiny: Clip) -> None:
    clip = replace(tiny, model=build_network(network), tokenizer=tokenize)
    projection = LastProjection.of(clip, "language")
    assert projection.layer.name == name
    features, embeddings = projection.run(["a dog", "x", "the truck"])
    product = features.double() @ projection.matrix.T
    if projection.bias is not None:
        assert not torch.allclose(product, embeddings.double(), atol=1e-4)  # control
        product = product + projection.bias
    assert torch.allclose(product, embeddings.double(), atol=1e-4 * float(embeddings.norm()))


# -- where names go -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["taught", "siglip"])
def test_the_name_scores_what_its_place_scores(
    model: str, few: Path, request: pytest.FixtureRequest
) -> None:
    """With and without a bias: the mean of its prompts is its place, in the model that is really
    patched."""
    clip = request.getfixturevalue(model)
    task = task_of(clip, few, "beagle")
    words = Words.read(clip, task.texts, "language")
    found = merge_texts(task, words=words)
    name = next(x for x in task.wordings if x.concept.name == "beagle" and x.kind == "name")
    (leaving,) = leaving_texts(task, words, 0.5)
    place = words.embeddings[words.rows(name.prompts)].mean(dim=0) - leaving.differences[:, 0]
    lengths = clip.text_features(list(name.prompts)).double().norm(dim=1, keepdim=True)
    patched = replace(clip, model=found.edit.patch.apply(clip.model))
    after = (patched.text_features(list(name.prompts)).double() / lengths).mean(dim=0)
    assert torch.allclose(after, place, atol=1e-3)
    assert not torch.allclose(embedded(clip, list(name.prompts)).mean(dim=0), place, atol=0.01)


def test_what_the_edit_says_of_texts_is_what_the_patched_model_says(
    taught: Clip, few: Path
) -> None:
    task = task_of(taught, few, "beagle")
    found = merge_texts(task)
    patched = found.edit.patch.apply(taught.model)
    texts = list(task.texts)
    after = embedded(replace(taught, model=patched), texts)
    assert torch.allclose(found.texts.prompts(texts, after=True), after, atol=1e-4)
    assert not torch.allclose(found.texts.prompts(texts), after, atol=1e-2)  # control


def test_from_the_image_side_texts_stay_and_scores_change_the_same_way(
    taught: Clip, few: Path
) -> None:
    task = task_of(taught, few, "beagle")
    found = merge_texts(task, tower="vision")
    assert found.edit.patch.layers == ("visual.proj",)
    patched = replace(taught, model=found.edit.patch.apply(taught.model))
    texts = list(task.texts)
    assert torch.equal(taught.encode_text(texts), patched.encode_text(texts))
    pixels = torch.randn(4, 3, *taught.image_size)
    before, after = taught.image_features(pixels).double(), patched.image_features(pixels).double()
    assert found.texts.images is not None
    moved = before + before @ found.texts.images.T
    assert torch.allclose(after, moved, atol=1e-3 * float(moved.norm()))
    assert not torch.allclose(after, before, atol=1e-2)  # control


def test_two_concepts_at_once_leave_their_own_places(taught: Clip, few: Path) -> None:
    task = task_of(taught, few, "beagle", "tabby")
    words = Words.read(taught, task.texts, "language")
    both = merge_texts(task, words=words).texts
    alone = merge_texts(task_of(taught, few, "beagle"), words=words).texts
    assert shift(both, "beagle") > 0.1 and shift(both, "tabby") > 0.1
    assert shift(alone, "tabby") < 0.5 * shift(both, "tabby")  # control


def test_a_group_goes_with_everything_below_it(taught: Clip, few: Path) -> None:
    task = task_of(taught, few, "dog")
    assert [each.name for each in task.forgotten] == ["dog", "beagle", "pug"]
    assert [each.name for each in task.kept] == ["cat", "tabby", "siamese"]
    siblings = {each.name: [x.name for x in task.siblings(each)] for each in task.forgotten}
    assert siblings == {"dog": ["cat"], "beagle": ["tabby", "siamese"],
                        "pug": ["tabby", "siamese"]}  # fmt: skip


# -- what stays -----------------------------------------------------------------------------------


def test_what_is_above_moves_least_and_what_is_kept_less_than_the_concept(
    taught: Clip, few: Path
) -> None:
    task = task_of(taught, few, "beagle")
    texts = merge_texts(task).texts
    assert shift(texts, "beagle") > 0.1
    assert shift(texts, "dog") < 0.05 * shift(texts, "beagle")
    assert shift(texts, "tabby") < 0.2 * shift(texts, "beagle")


def test_a_dial_of_zero_changes_nothing(taught: Clip, few: Path) -> None:
    found = merge_texts(task_of(taught, few, "beagle"), dial=0.0)
    assert all(not bool(delta.any()) for delta in found.edit.patch.delta.values())
    assert torch.allclose(found.texts.before, found.texts.after, atol=1e-12)
    full = merge_texts(task_of(taught, few, "beagle"))  # control
    assert any(bool(delta.any()) for delta in full.edit.patch.delta.values())


def test_texts_that_mention_the_concept_are_not_kept(taught: Clip, few: Path) -> None:
    assert task_of(taught, few, "beagle").others == ("a red truck", "three trees")
    assert "a beagle on a boat" in task_of(taught, few, "tabby").others  # control


def test_heavier_names_weigh_more_in_the_moment(taught: Clip, few: Path) -> None:
    """What is above is weighed most, and what is forgotten not at all."""
    task = task_of(taught, few, "beagle")
    words = Words.read(taught, task.texts, "language")
    moment = kept_moment(task, words)

    def weight(text: str) -> float:
        row = words.inputs[words.rows([text])[0]]
        return float(row @ torch.linalg.pinv(moment) @ row)  # small where the text is heavy

    assert weight("the dog") < 0.1 * weight("the tabby")


# -- as methods -----------------------------------------------------------------------------------


@pytest.fixture
def make(taught: Clip, photos: Path) -> Callable[..., Task]:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return lambda *concepts: slsgu.make_task(taught, concepts, **where)


@pytest.mark.parametrize("tower", ["language", "vision"])
def test_text_merge_forgets_on_pictures_it_never_saw(
    make: Callable[..., Task], tower: str, few: Path
) -> None:
    task = make("beagle")
    before = weights_sha256(task.clip.model)
    method = functools.partial(METHODS["text-merge"], tower=tower, keep=few)
    outcome = slsgu.run_method(task, method, force=True)
    assert weights_sha256(task.clip.model) == before
    measures = outcome.proof.measures
    assert measures.before["forget_fine"] == 1 and measures.after["forget_coarse"] > 0.95
    if tower == "language":
        assert measures.after["forget_fine"] == 0 and measures.after["retain_fine"] > 0.95
    else:  # six names alike in 32 dimensions: what few names tell apart is few directions of images
        assert measures.after["forget_fine"] < 0.7
    assert not outcome.ledger.hashes("gradient")  # no picture was read to make it
    assert outcome.patch is not None and outcome.patch.metadata["without_images"] is True
    still = functools.partial(text_merge, tower=tower, keep=few, dial=0.0)  # control
    same = slsgu.run_method(task, still, force=True).proof.measures
    assert same.after == same.before


def test_ccup_takes_every_part_along_the_names(taught: Clip, few: Path) -> None:
    task = task_of(taught, few, "beagle")
    found = project_texts_out(task)
    patched = replace(taught, model=found.edit.patch.apply(taught.model))
    texts = embedded(taught, ["a photo of a beagle", "the beagle", "beagle"])
    pixels = torch.randn(4, 3, *taught.image_size)
    before, after = taught.image_features(pixels), patched.image_features(pixels)
    assert float((after.double() @ texts.T).abs().max()) < 1e-2
    assert float((before.double() @ texts.T).abs().max()) > 0.1  # control
    assert found.edit.patch.metadata["method"] == "ccup"


def test_ccup_is_run_by_name(make: Callable[..., Task]) -> None:
    task = make("beagle")
    assert METHODS["ccup"] is ccup
    edit = ccup(task, task.ledger())
    assert edit.patch.layers == ("visual.proj",) and edit.settings == {"tower": "vision"}


def test_a_side_without_a_last_projection_is_refused(siglip: Clip, few: Path) -> None:
    with pytest.raises(ModelError, match="the image side of this model does not end"):
        merge_texts(task_of(siglip, few, "beagle"), tower="vision")


@pytest.mark.parametrize("given", [{"dial": float("nan")}, {"dial": float("inf")}, {"damping": 0}])
def test_settings_that_make_no_sense_are_refused(
    taught: Clip, few: Path, given: dict[str, float]
) -> None:
    with pytest.raises(SlsguError, match="finite dial and a positive damping"):
        merge_texts(task_of(taught, few, "beagle"), **given)
