"""Captions and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.losses.captions import ForgetCaptions

PETS = Taxonomy.parse({
    "dog": {"retriever": ["golden", "labrador"], "pug": {"$prompts": ["a pug", "a pug", "pugs"]}},
    "cat": ["tabby", "persian"],
})  # fmt: skip


def test_a_prompt_that_stands_twice_counts_twice() -> None:
    pug = PETS.find("pug")
    book = PromptBook.of([pug], ["a {}"])
    assert book.texts == ("a pug", "pugs")
    assert torch.allclose(book.shares([pug]), torch.tensor([2 / 3, 1 / 3]))
    embeddings = torch.eye(2)
    (found,) = book.class_embeddings(embeddings, [pug])
    assert torch.allclose(found, torch.nn.functional.normalize(book.shares([pug]), dim=0))


def test_templates_that_stand_twice_count_twice() -> None:
    """In captions and in class embeddings alike; every concept's shares sum to one."""
    pug, golden = PETS.find("pug"), PETS.find("golden")
    book = PromptBook.of([golden, pug], ["a {}", "a {}", "the {}", "a {}"])
    assert book.texts == ("a golden", "the golden", "a pug", "pugs")
    assert torch.allclose(book.shares([golden]), torch.tensor([3 / 4, 1 / 4, 0, 0]))
    both = book.shares([golden, pug])
    assert torch.allclose(both, (book.shares([golden]) + book.shares([pug])) / 2)
    assert abs(float(both.sum()) - 1) < 1e-6
    embeddings = torch.nn.functional.normalize(
        torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    for concept in (golden, pug):
        (found,) = book.class_embeddings(embeddings, [concept])
        mean = book.shares([concept]) @ embeddings
        assert torch.allclose(found, torch.nn.functional.normalize(mean, dim=0), atol=1e-6)
        once = embeddings[list(dict.fromkeys(book.rows[concept]))].mean(dim=0)  # control
        assert not torch.allclose(found, torch.nn.functional.normalize(once, dim=0), atol=1e-3)


def test_siblings_are_the_closest_leaves_that_are_kept() -> None:
    def names(*concepts: str, of: str) -> set[str]:
        request = Request.of(PETS, concepts)
        return {leaf.name for leaf in request.siblings(PETS.find(of))}

    assert names("golden", of="golden") == {"labrador"}
    assert names("golden", "labrador", of="golden") == {"pug"}
    assert names("retriever", of="golden") == {"pug"}
    assert names("dog", of="golden") == {"tabby", "persian"}


@dataclass(frozen=True)
class Shown:
    """A sample of which only label and caption are asked."""

    leaf: Concept | None
    caption: str | None = None
    name: str = ""
    fingerprint: str = ""

    def read(self) -> Any:
        raise NotImplementedError


def test_own_words_stand_for_those_of_the_request() -> None:
    request = Request.of(PETS, ["golden"])
    samples = [Shown(PETS.find("golden"), "Rex at the sea"), Shown(None, "a chair")]
    for loss in ("cosine", "relative"):
        captions = ForgetCaptions.of(request, loss, samples)
        book = PromptBook.of(captions.concepts, ["a {}", "the {}"])
        weights = captions.weights(samples[0], book)
        assert "a chair" not in book.texts and float(weights[book.texts.index("a golden")]) == 0
        assert float(weights[book.texts.index("Rex at the sea")]) == 1
        assert not captions.weights(samples[1], book).any()
        assert float(captions.weights(Shown(PETS.find("golden")), book).max()) == 0.5  # control


def test_relative_captions_sum_to_zero_and_plain_ones_to_one() -> None:
    request = Request.of(PETS, ["retriever"])
    golden, tabby = PETS.find("golden"), PETS.find("tabby")
    for loss, total in (("relative", 0.0), ("cosine", 1.0)):
        captions = ForgetCaptions(request, loss)
        book = PromptBook.of(captions.concepts, ["a {}", "the {}"])
        weights = captions.weights(Shown(golden), book)
        assert abs(float(weights.sum()) - total) < 1e-6
        assert float(weights[book.texts.index("a golden")]) == 0.25  # one of two names, two prompts
        assert not captions.weights(Shown(tabby), book).any()
        assert ("a pug" in book.texts) == (loss == "relative")
        if loss == "relative":
            assert float(weights[book.texts.index("a pug")]) < 0
