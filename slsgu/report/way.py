"""How reports and messages speak of an edit: one that a search chose among steps, or the one edit
that a method without steps makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slsgu.patch.header import made_from_texts

if TYPE_CHECKING:
    from slsgu.search.method import Edit


@dataclass(frozen=True)
class Way:
    """The words for a way to an edit.

    Attributes:
        shown: what is shown where the goal was not met.
        undo: what in the run folder can bring the knowledge back.
        advice: what to do where the goal was not met.
    """

    shown: str
    undo: str
    advice: str


SEARCHED = Way(
    shown="the best of the steps tried",
    undo="The patch holds the layer as it was, the gradient cache says how to undo the step, and "
    "the run folder holds both: each can bring the knowledge back. Do not ship them with the "
    "patched model.",
    advice="Try another --tower, looser --floor values or a higher --target, or --force to take "
    "this trade-off.",
)
IN_ONE_STEP = Way(
    shown="the one edit that this method makes",
    undo="The patch holds the layers as they were, and can bring the knowledge back. Do not ship "
    "it, or the run folder that holds it, with the patched model.",
    advice="This method makes one edit and searches no other. Try the other --tower, or --force to "
    "take it as it is.",
)
NO_IMAGES = "no image was used for the edit, which was made from texts"


def way_of(edit: Edit) -> Way:
    """The words for an edit."""
    return IN_ONE_STEP if edit.trace is None else SEARCHED


def images_of(edit: Edit) -> str:
    """That no image was used for an edit, in words; empty where images were."""
    return NO_IMAGES if made_from_texts(edit.patch.parts) else ""
