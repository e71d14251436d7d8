"""Requests of which nothing could be said: refused before anything is searched."""

from __future__ import annotations

from slsgu.concepts.request import Request
from slsgu.errors import ConceptError
from slsgu.evaluation.metrics import LevelAccuracy, Measures
from slsgu.utils.statistics import wilson


def refuse_unmeasurable(request: Request, unchanged: Measures, *, embedded: bool = False) -> None:
    """Refuse a request of which nothing could be said.

    Args:
        unchanged: the measures of the unedited model.
        embedded: whether it is the embedded model of drawings.

    Raises:
        ConceptError: the model does not know the concept, or nothing that must be kept can be
            told from chance.
    """
    if (row := _finest(unchanged)) is not None and not row.measurable:
        raise ConceptError(unknown_to_model(request, unchanged), advice=_way_out(row, embedded))
    kept = [row for row in unchanged.levels if not row.forgotten]
    if unchanged.utility is None:
        few = "; there are too few search images to tell" if any(map(_too_few, kept)) else ""
        raise ConceptError(
            "nothing that must be kept can be measured: "
            + "; ".join(f"at level {row.level}, {_of_chance(row)}" for row in kept)
            + few,
            advice="Give a retain set, other classes or another parent, or --force to go on "
            "blindly",
        )


def unknown_to_model(request: Request, unchanged: Measures, images: str = "search") -> str:
    """That the model cannot be seen to know what it is to forget, in words; empty if it can.

    Args:
        unchanged: the measures of the unedited model.
        images: which ones they are of.
    """
    row = _finest(unchanged)
    if row is None or row.measurable:
        return ""
    title = repr(request.title)
    what = f"the model does not know {title} in the first place"
    if _too_few(row):
        what = f"there are too few {images} images to tell whether the model knows {title}"
    return f"{what}: {_of_chance(row)}"


def _finest(unchanged: Measures) -> LevelAccuracy | None:
    """The accuracy on what is to be forgotten, at the finest level."""
    return next((row for row in unchanged.levels if row.forgotten and row.fine), None)


def _of_chance(row: LevelAccuracy) -> str:
    """An accuracy that cannot be told from chance, in words."""
    low, high = row.before_interval
    images = "requested" if row.images == "forget" else "other"
    return (
        f"it is right on {row.before:.1%} of {row.count} {images} image(s), which can mean "
        f"{low:.1%} to {high:.1%} (95 % interval), and chance is {row.chance:.1%}"
    )


def _too_few(row: LevelAccuracy) -> bool:
    """Whether there are so few images that all of them right would prove nothing."""
    return wilson(row.count, row.count)[0] <= row.chance


def _way_out(row: LevelAccuracy, embedded: bool) -> str:
    """What a user can do about a concept that cannot be told from chance."""
    more = "Give more images of it (--search-images says how many are used)"
    if _too_few(row):
        return f"{more}, or --force to go on all the same"
    if embedded:
        return (
            "This is slsgu's embedded model, which was taught drawings alone: name a model of "
            "photographs with --model. --force goes on all the same"
        )
    near = f"{more} if you think that it does. " if row.before > row.chance else ""
    return f"{near}Use --force to go on all the same"
