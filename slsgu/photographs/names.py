"""What the text tower is taught: names of concepts, the vector each stands for, and templates.

The names are those of the bundled taxonomies `imagenet` and `imagenet-dogs`: of the classes, of
the concepts above them, and the aliases of both. No picture and no caption is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.concepts.templates import load_templates
from slsgu.photographs.projection import Projection

TAXONOMIES = ("imagenet", "imagenet-dogs")
# Name of a class, name of a concept above, alias of a class, alias of a concept above: a word that
# is several of these is the first of them. And how often each is shown, relative to the others.
SHARES = (3.0, 4.0, 1.0, 1.0)
BARE, USUAL = "{}", ("a photo of a {}.", "a photo of a {}")
_MORE = (
    "a {}",
    "the {}",
    "an image of a {}",
    "an image of the {}",
    "a picture of a {}",
    "a picture of the {}",
    "a photo of an {}",
    "a photo of the {}",
    "a photo of {}",
    "{}.",
    "a {}.",
)


@dataclass(frozen=True)
class Lexicon:
    """Words and what they mean.

    Attributes:
        words: W distinct names and aliases.
        kinds: for each word its place in `SHARES` [W].
        vectors: for each word the embedding to learn [W, d], of length 1.
    """

    words: tuple[str, ...]
    kinds: NDArray[np.int64]
    vectors: Tensor


def lexicon(space: Projection) -> Lexicon:
    """Every word to teach. A word for several concepts stands for all of their classes.

    Args:
        space: the embedding space of the 1000 classes.
    """
    meanings: dict[str, tuple[int, set[int]]] = {}
    spelt: dict[str, str] = {}
    for name in TAXONOMIES:
        for concept in Taxonomy.load(name).concepts:
            classes = {leaf.index for leaf in concept.leaves() if leaf.index is not None}
            for kind, word in _words(concept):
                key = normalise(word)
                spelt.setdefault(key, word)
                known, others = meanings.get(key, (len(SHARES), set()))
                if kind < known:
                    meanings[key] = (kind, classes)
                elif kind == known:
                    meanings[key] = (kind, others | classes)
    vectors = torch.stack([space.group(sorted(classes)) for _, classes in meanings.values()])
    kinds = np.array([kind for kind, _ in meanings.values()])
    return Lexicon(tuple(spelt[key] for key in meanings), kinds, vectors)


def _words(concept: Concept) -> list[tuple[int, str]]:
    above = 0 if concept.is_leaf else 1
    other = [*concept.aliases, *([concept.plural] if concept.plural else [])]
    return [(above, concept.name), *((2 + above, word) for word in other)]


def templates() -> tuple[str, ...]:
    """Every template to teach, each once: `BARE` and `USUAL` first."""
    taxonomy = Taxonomy.load("imagenet-dogs")
    sets = [load_templates(name, taxonomy) for name in ("simple", "openai", "imagenet-dogs")]
    return tuple(dict.fromkeys((BARE, *USUAL, *_MORE, *(t for each in sets for t in each))))


class Lessons:
    """Batches of texts to learn: each depends on the seed and its number alone.

    Args:
        book: the words.
        size: texts per batch.
        seed: another one gives other batches.
    """

    def __init__(self, book: Lexicon, *, size: int, seed: int) -> None:
        self.book, self.size, self.seed = book, size, seed
        self.templates = templates()
        share = np.array(SHARES)[book.kinds]
        self._word_share = share / share.sum()
        # A quarter of the texts are bare names, a quarter the usual template.
        rest = len(self.templates) - 3
        self._form_share = np.array([0.25, 0.125, 0.125, *[0.5 / rest] * rest])

    def batch(self, number: int) -> tuple[list[str], Tensor]:
        """Texts, and for each the place of its word in the book."""
        bits = np.random.default_rng([self.seed, number])
        words = bits.choice(len(self.book.words), self.size, replace=False, p=self._word_share)
        forms = bits.choice(len(self.templates), self.size, p=self._form_share)
        texts = [
            self.templates[form].replace("{}", self.book.words[word])
            for word, form in zip(words, forms, strict=True)
        ]
        return texts, torch.from_numpy(words)

    def parts(self) -> list[str]:
        """Every word, and every template without one: what all texts are made of."""
        return [*self.book.words, *(form.replace("{}", "") for form in self.templates)]
