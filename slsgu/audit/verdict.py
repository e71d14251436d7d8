"""The verdict of an audit: one word, and what it rests on. The rule is in docs/audit.md.

With R the readings of the image side (prototypes, the linear probe on the embedding, retrieval by
an image) that are measurable, and the floor of each what a model that never knew the concept would
read (chance, where there is no reference):

    left = sum over R of (after - floor) / sum over R of (before - floor)

* *more visible than before*: the mean over R rose by more than `RISE`, and some reading in R lies
  above the interval of what it was; or a name that found nothing more than half of the time does.
* *not forgotten*: the name still finds more than half of what lay between before and the floor.
* *suppressed*: left >= `SUPPRESSED`.
* *removed*: left <= `REMOVED`, every measurable reading of words, images and weights is at its
  floor, and no schedule that counts relearns it more than `FASTER` further than the reference.
* *partly removed*: anything else.

*Not measurable*: no reading is, or the reference itself finds more than half by the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slsgu.audit.points import EMBEDDING
from slsgu.audit.probe import ProbeReading
from slsgu.utils.wording import listed

Word = Literal[
    "suppressed", "partly removed", "removed", "more visible than before", "not forgotten",
    "not measurable",
]  # fmt: skip
RISE = 0.02
SUPPRESSED = 0.8
REMOVED = 0.2
FASTER = 0.1
KNOWS = 0.5  # share of what the name found, from which on a reference knows the concept
LEAST_SPAN = 0.02  # mean of before - floor below which images cannot tell who knew


@dataclass(frozen=True)
class Verdict:
    """What an audit comes to.

    Attributes:
        word: in one of a few words.
        left: share of what images found, beyond the floor, that they still find; None where they
            cannot tell.
        reasons: sentences that say what it rests on.
    """

    word: Word
    left: float | None
    reasons: tuple[str, ...]


def judge(
    readings: Sequence[ProbeReading],
    *,
    reference: str | None,
    towers: Sequence[str],
) -> Verdict:
    """The verdict on what all probes read.

    Args:
        readings: of every probe.
        reference: what `never_knew` is taken from, in words; None if there is none.
        towers: that the edit touches: vision, language.
    """
    found = [x for x in readings if x.kind == "find" and x.measurable and x.after is not None]
    images = [x for x in found if is_image_side(x)]
    name = next((x for x in found if (x.probe, x.setting) == ("other words", "name")), None)
    if not found:
        why = "no probe finds the concept before the edit, so none can say what became of it."
        return Verdict("not measurable", None, (why,))
    if name is not None and (name.never_knew or 0.0) > KNOWS * (name.before or 0.0):
        why = (
            f"the reference finds {name.never_knew:.0%} of the concept's images by its name: it is "
            "none of a model that never knew it."
        )
        return Verdict("not measurable", None, (why,))
    left = share_left(images)
    word = _word(found, images, name, left, with_reference=reference is not None)
    reasons = [
        *_about_name(name),
        *_about_images(images, left, with_reference=reference is not None),
        *_about_towers(readings, towers),
        *_about_worst(found),
        *_about_relearning(readings),
        *_about_neighbours(readings),
        *_about_membership(readings),
        f"The never-knew reference is {reference}."
        if reference
        else "There is no never-knew reference: readings stand beside chance alone, so *removed* "
        "asks for more than it would of a model that was never taught the concept.",
    ]
    return Verdict(word, left, tuple(reasons))


def is_image_side(reading: ProbeReading) -> bool:
    """Whether a reading looks at image embeddings alone, without any words."""
    if reading.probe == "linear probe":
        return reading.setting == EMBEDDING
    return reading.probe == "prototypes" or (
        reading.probe == "retrieval" and reading.setting.startswith("by image")
    )


def share_left(images: Sequence[ProbeReading]) -> float | None:
    """What is left of what lay above the floor, over all readings; None where little did."""
    span = sum(_above(x, x.before) for x in images)
    if not images or span <= LEAST_SPAN * len(images):
        return None
    return sum(_above(x, x.after) for x in images) / span


def _above(reading: ProbeReading, value: float | None) -> float:
    assert value is not None and reading.floor is not None
    return value - reading.floor


def _word(
    found: Sequence[ProbeReading],
    images: Sequence[ProbeReading],
    name: ProbeReading | None,
    left: float | None,
    *,
    with_reference: bool,
) -> Word:
    rise = sum((x.after or 0) - (x.before or 0) for x in images) / max(len(images), 1)
    if rise > RISE and any(_is_above(x) for x in images):
        return "more visible than before"
    if (
        name is not None
        and not name.at_floor
        and _above(name, name.after) > 0.5 * _above(name, name.before)
    ):
        return "not forgotten"
    if left is not None and left >= SUPPRESSED:
        return "suppressed"
    gone = all(x.at_floor for x in found if _decides(x))
    if gone and _relearns_like_reference(found) and (left is None or left <= REMOVED):
        return "removed"
    return "partly removed"


def _decides(reading: ProbeReading) -> bool:
    """Whether a reading must be at its floor for *removed*: not what lies before the edit, nor
    relearning, which is held against the reference, nor averages with the original, which only
    somebody can make who has it."""
    if reading.probe == "linear probe":
        return reading.setting == EMBEDDING
    return reading.probe != "relearning" and not reading.setting.startswith("averaged")


def _is_above(reading: ProbeReading) -> bool:
    interval = reading.before_interval
    return interval is not None and (reading.after or 0) > interval[1]


def _relearns_like_reference(found: Sequence[ProbeReading]) -> bool:
    faster = (x.extra.get("faster") for x in found if x.probe == "relearning")
    return all(value is None or value <= FASTER for value in faster)


# -- reasons --------------------------------------------------------------------------------------


def _about_name(name: ProbeReading | None) -> list[str]:
    if name is None or name.after is None or name.before is None:
        return []
    return [
        f"By its name, {name.before:.0%} of its test images were found, and {name.after:.0%} are."
    ]


def _about_images(
    images: Sequence[ProbeReading], left: float | None, *, with_reference: bool
) -> list[str]:
    if not images:
        return ["No probe of the images alone is measurable."]
    before, after = (sum(getattr(x, m) for x in images) / len(images) for m in ("before", "after"))
    text = f"By example images, without words: {before:.0%} before, {after:.0%} after"
    if with_reference:
        floor = sum(x.floor or 0 for x in images) / len(images)
        text += f", {floor:.0%} by a model that never knew"
    if left is None:
        return [f"{text}. One that never knew finds as much, so images cannot tell."]
    beyond = "that" if with_reference else "chance"
    if left < -0.1:
        return [f"{text}. That is less than {beyond}, which itself can be noticed."]
    return [f"{text}. Of what lay beyond {beyond}, {max(left, 0):.0%} is left."]


def _about_towers(readings: Sequence[ProbeReading], towers: Sequence[str]) -> list[str]:
    if "vision" not in towers:
        return [
            "The edit is in the language tower: image embeddings are the same as before, and "
            "whoever has example images finds the concept as before."
        ]
    stages = [
        x for x in readings if x.probe == "linear probe" and x.setting != EMBEDDING and x.measurable
    ]
    alive = [x for x in stages if not x.at_floor and (x.after or 0) >= (x.before or 0) - 0.02]
    if stages and all(x.after == x.before for x in stages):
        return [
            "Everything before the last projection is as it was: whoever takes the features in "
            f"front of it ({stages[-1].setting}) finds {stages[-1].after:.0%}, as before."
        ]
    if alive:
        best = max(alive, key=lambda x: x.after or 0)
        return [f"Inside the image tower it still lives: {best.setting} finds {best.after:.0%}."]
    return []


def _about_worst(found: Sequence[ProbeReading]) -> list[str]:
    told = [
        x for x in found
        if x.probe in ("other words", "weights", "retrieval")
        and not is_image_side(x)
        and not x.at_floor
        and x.setting != "name"
    ]  # fmt: skip
    if not told:
        return []
    worst = max(told, key=lambda x: _above(x, x.after))
    return [f"Most is found through {worst.probe}, {worst.setting}: {worst.after:.0%}."]


def _about_relearning(readings: Sequence[ProbeReading]) -> list[str]:
    counted = [x for x in readings if x.probe == "relearning" and "way_back" in x.extra]
    if not counted:
        return []
    worst = max(counted, key=lambda x: x.extra["way_back"])
    text = f"Fine-tuned ({worst.setting}) it comes {worst.extra['way_back']:.0%} of the way back"
    control = worst.extra.get("control_way_back")
    return [text + (f", a model that never knew {control:.0%}." if control is not None else ".")]


def _about_neighbours(readings: Sequence[ProbeReading]) -> list[str]:
    worst = next((x for x in readings if x.probe == "neighbours" and "worst" in x.setting), None)
    if worst is None or worst.before is None or worst.after is None:
        return []
    lost = worst.before - worst.after
    if lost <= 0:
        return ["No neighbour lost."]
    name = worst.setting.split(": ", 1)[1]
    return [f"The neighbour that lost most is {name}: {worst.before:.0%} to {worst.after:.0%}."]


def _about_membership(readings: Sequence[ProbeReading]) -> list[str]:
    trace = [x for x in readings if x.kind == "trace" and x.after is not None]
    told = [f"{x.after:.2f}" for x in trace if not x.at_floor]
    if not told:
        return []
    return [
        "The edited model shows which images the edit was made from (area under the curve "
        f"{listed(told)})."
    ]
