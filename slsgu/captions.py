"""What the images of a pass are captioned with.

A forget image is captioned with the requested concept and everything below it on its path (a
beagle, request *dog*: *dog* and *beagle*), never with what must be kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from slsgu.losses import FORGET_LOSSES
from slsgu.prompts import PromptBook
from slsgu.request import Request
from slsgu.taxonomy import Concept


@dataclass(frozen=True)
class ForgetCaptions:
    """The captions of forget images under a forget loss.

    Attributes:
        request: what is to be forgotten.
        loss: name of the forget loss; it says whether siblings count.
    """

    request: Request
    loss: str

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """Every concept that the captions name, once."""
        named = [
            concept
            for leaf in self.request.forget_leaves
            for concept in (*self.request.forgotten_names(leaf), *self._siblings(leaf))
        ]
        return tuple(dict.fromkeys(named))

    def weights(self, leaf: Concept, book: PromptBook) -> Tensor:
        """How much of each prompt of a book an image of a leaf has [P]: equal shares of what is to
        be forgotten, less equal shares of its siblings; zero for a kept leaf."""
        names = self.request.forgotten_names(leaf)
        own = book.shares(names)
        return own - book.shares(self._siblings(leaf)) if names else own

    def _siblings(self, leaf: Concept) -> tuple[Concept, ...]:
        against = FORGET_LOSSES[self.loss].against_siblings
        return self.request.siblings(leaf) if against else ()
