"""What the images of a pass are captioned with.

A forget image is captioned with the requested concept and everything below it on its path (a
beagle, request *dog*: *dog* and *beagle*), never with what must be kept. One that brings its own
caption, as image-text pairs do, has that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from slsgu.concepts.prompts import PromptBook, as_concept
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept
from slsgu.data.samples import Sample
from slsgu.losses.forget import FORGET_LOSSES


@dataclass(frozen=True)
class ForgetCaptions:
    """The captions of forget images under a forget loss.

    Attributes:
        request: what is to be forgotten.
        loss: name of the forget loss; it says whether siblings count.
        own: captions that images bring themselves; these stand for the words of the request.
    """

    request: Request
    loss: str
    own: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Request, loss: str, samples: Iterable[Sample]) -> ForgetCaptions:
        """The captions of some samples, retained ones left out."""
        leaves = set(request.forget_leaves)
        texts = (sample.caption for sample in samples if sample.leaf in leaves)
        return cls(request, loss, tuple(dict.fromkeys(text for text in texts if text is not None)))

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """Every concept that the captions name, once."""
        concepts = [
            concept
            for leaf in self.request.forget_leaves
            for concept in (*self.request.forgotten_names(leaf), *self._siblings(leaf))
        ]
        return tuple(dict.fromkeys([*concepts, *map(as_concept, self.own)]))

    def weights(self, sample: Sample, book: PromptBook) -> Tensor:
        """How much of each prompt of a book an image has [P]: equal shares of what is to be
        forgotten, less equal shares of its siblings; zero for a kept leaf."""
        names = () if sample.leaf is None else self.request.forgotten_names(sample.leaf)
        if not names or sample.leaf is None:
            return book.shares(())
        described = names if sample.caption is None else (as_concept(sample.caption),)
        return book.shares(described) - book.shares(self._siblings(sample.leaf))

    def _siblings(self, leaf: Concept) -> tuple[Concept, ...]:
        against = FORGET_LOSSES[self.loss].against_siblings
        return self.request.siblings(leaf) if against else ()
