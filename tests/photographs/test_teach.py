"""What the text tower is taught, and that teaching goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from slsgu.concepts.taxonomy import Taxonomy, normalise
from slsgu.errors import SlsguError
from slsgu.photographs import teach as recipe
from slsgu.photographs.names import SHARES, Lessons, Lexicon, lexicon, templates
from slsgu.photographs.projection import Projection, project
from slsgu.photographs.teach import Pupil, teach


@pytest.fixture(scope="module")
def space() -> Projection:
    """An embedding space of 1000 random classes."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1000, 600, generator=generator)
    return project(weight, torch.randn(1000, generator=generator))


@pytest.fixture(scope="module")
def book(space: Projection) -> Lexicon:
    return lexicon(space)


@pytest.fixture(scope="module")
def vectors(book: Lexicon) -> dict[str, torch.Tensor]:
    """What each word, normalised, stands for."""
    return {normalise(word): vector for word, vector in zip(book.words, book.vectors, strict=True)}


# -- words ------------------------------------------------------------------------------------


def test_every_name_and_alias_is_taught_once(book: Lexicon) -> None:
    words = [normalise(word) for word in book.words]
    assert len(set(words)) == len(words)
    for name in ("imagenet", "imagenet-dogs"):
        for concept in Taxonomy.load(name).concepts:
            assert {normalise(word) for word in (concept.name, *concept.aliases)} <= set(words)


def test_a_class_name_means_its_class(vectors: dict[str, torch.Tensor], space: Projection) -> None:
    for tree in ("imagenet", "imagenet-dogs"):
        for leaf in Taxonomy.load(tree).leaves:
            nearest = (space.classes @ vectors[normalise(leaf.name)]).topk(2).indices.tolist()
            assert leaf.index in nearest, leaf.key  # a few classes share one name


def test_a_group_means_all_of_its_classes(
    vectors: dict[str, torch.Tensor], space: Projection
) -> None:
    retrievers = {leaf.index for leaf in Taxonomy.load("imagenet-dogs").find("retriever").leaves()}
    scores = space.classes[:, :-1] @ vectors["retriever"][:-1]
    assert set(scores.topk(len(retrievers)).indices.tolist()) == retrievers


def test_the_name_of_a_class_goes_before_the_alias_of_another(
    vectors: dict[str, torch.Tensor], space: Projection
) -> None:
    tree = Taxonomy.load("imagenet")
    names = {normalise(leaf.name): leaf.index for leaf in tree.leaves}
    both = {
        normalise(alias)
        for concept in tree.concepts
        for alias in concept.aliases
        if normalise(alias) in names and names[normalise(alias)] != concept.index
    }
    assert both  # there are such words
    for word in both:
        assert names[word] in (space.classes @ vectors[word]).topk(2).indices.tolist()


def test_a_batch_depends_on_seed_and_number_alone(book: Lexicon) -> None:
    lessons = Lessons(book, size=64, seed=3)
    lessons.batch(0)
    texts, words = lessons.batch(5)
    again, same = Lessons(book, size=64, seed=3).batch(5)
    assert texts == again and torch.equal(words, same)
    assert all(book.words[word] in text for text, word in zip(texts, words.tolist(), strict=True))
    assert texts != lessons.batch(6)[0] and texts != Lessons(book, size=64, seed=4).batch(5)[0]


def test_names_come_more_often_than_aliases(book: Lexicon) -> None:
    lessons = Lessons(book, size=256, seed=0)
    counts = np.zeros(len(SHARES))
    for number in range(20):
        counts += np.bincount(book.kinds[lessons.batch(number)[1]], minlength=len(SHARES))
    often = counts / np.bincount(book.kinds)  # per word
    assert often[0] > 2 * often[2] and often[1] > 2 * often[3]


def test_templates_have_one_place_each() -> None:
    assert len(templates()) > 150 and all(each.count("{}") == 1 for each in templates())


# -- training ---------------------------------------------------------------------------------


def test_it_learns(space: Projection) -> None:
    pupil = Pupil(space, seed=0, batch=32)
    texts, words = pupil.lessons.batch(0)
    wanted = pupil.book.vectors[words]
    with torch.no_grad():
        before = (pupil.encode(texts) * wanted).sum(1).mean()
    losses = [pupil.step(0, 1e-3) for _ in range(25)]
    with torch.no_grad():
        after = (pupil.encode(texts) * wanted).sum(1).mean()
    assert losses[-1] < 0.5 * losses[0] and after > before + 0.3


def test_it_goes_on_where_it_was_stopped(
    space: Projection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "SAVE_EVERY", 2)
    whole = teach(tmp_path / "whole", space, steps=5, batch=8)
    step = Pupil.step

    def stop(self: Pupil, number: int, rate: float) -> float:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Pupil, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            teach(tmp_path / "parts", space, steps=5, batch=8)
    with pytest.raises(SlsguError, match="of another training"):
        teach(tmp_path / "parts", space, steps=6, batch=8)
    said: list[str] = []
    parts = teach(tmp_path / "parts", space, steps=5, batch=8, progress=said.append)
    assert "going on from step 2 of 5" in said
    assert parts.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "parts"}
    # Control: another seed gives another tower, with the same tokens.
    other = load_file(teach(tmp_path / "other", space, steps=5, batch=8, seed=1))
    one = load_file(whole)
    assert torch.equal(other["tokens"], one["tokens"])
    assert not torch.equal(other["text_projection"], one["text_projection"])


def test_what_makes_no_sense_is_refused(space: Projection, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(SlsguError, match="exists already"):
        teach(tmp_path / "there", space)
    with pytest.raises(SlsguError, match="at least one step"):
        teach(tmp_path / "new", space, steps=0)
    (tmp_path / "new.state").write_bytes(b"no state")
    with pytest.raises(SlsguError, match="damaged; remove it"):
        teach(tmp_path / "new", space, steps=1, batch=8)
