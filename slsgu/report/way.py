"""How reports and messages speak of an edit: one that a search chose among steps, or the one edit
that a method without steps makes, from images or from names alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        surer: what to do where it was met on the search images, and not on the test images.
    """

    shown: str
    undo: str
    advice: str
    surer: str


SEARCHED = Way(
    shown="the best of the steps tried",
    undo="The patch holds the layer as it was, the gradient cache says how to undo the step, and "
    "the run folder holds both: each can bring the knowledge back. Do not ship them with the "
    "patched model.",
    advice="Try another --tower, looser --floor values or a higher --target, or --force to take "
    "this trade-off.",
    surer="More --search-images make the choice surer.",
)
IN_ONE_STEP = Way(
    shown="the one edit that this method makes",
    undo="The patch holds the layers as they were, and can bring the knowledge back. Do not ship "
    "it, or the run folder that holds it, with the patched model.",
    advice="This method makes one edit and searches no other. Try another method, or --force to "
    "take it as it is.",
    surer="This method makes one edit, which no choice of images changes: judge it by the test "
    "images.",
)
FROM_TEXTS = replace(
    IN_ONE_STEP,
    advice="The edit was made from names alone, and there is no other to choose. Leave --no-images "
    "out to search one on the images, loosen --floor or --target, or give --force to take it as it "
    "is.",
    surer="The edit was made from names alone, and no choice of images changes it: judge it by the "
    "test images, or leave --no-images out to search one on the images.",
)
_TEXT_SIDE = "The text side usually keeps more: try --tower language first. "
NO_IMAGES = "no image was used for the edit, which was made from texts"


def way_of(edit: Edit) -> Way:
    """The words for an edit."""
    if edit.trace is not None:
        return SEARCHED
    if not made_from_texts(edit.patch.parts):
        return IN_ONE_STEP
    if edit.settings.get("tower") != "vision":
        return FROM_TEXTS
    return replace(FROM_TEXTS, advice=_TEXT_SIDE + FROM_TEXTS.advice)


def images_of(edit: Edit) -> str:
    """That no image was used for an edit, in words; empty where images were."""
    return NO_IMAGES if made_from_texts(edit.patch.parts) else ""
