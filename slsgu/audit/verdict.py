"""The verdict of an audit: one word, and what it rests on. The rule is in docs/audit.md.

With R the readings of the image side (prototypes, the linear probe on the embedding, retrieval by
an image) that are measurable, and the floor of each what a model that never knew the concept would
read (chance, where there is no reference):

    left = sum over R of (after - floor) / sum over R of (before - floor)

* *no verdict*: a probe that the rule looks at has not been read.
* *more visible than before*: the mean over R rose by more than `RISE`, and some reading in R rose
  beyond the interval of its differences image by image; or a deciding reading that was not
  measurable rose like that, and finds it more than half of the time (without words: more often
  than chance).
* *not measurable*: no reading is, or the reference itself finds more than half by the name.
* *not forgotten*: the name still finds more than half of what lay between before and the floor.
* *suppressed*: left >= `SUPPRESSED`.
* *removed*: left <= `REMOVED` (or images cannot tell), every measurable reading of words, images
  and weights is at its floor, and no schedule that counts relearns it more than 0.1 further
  than the reference does. Without a control, training on retain images only is held against 0, and
  training on the concept's own images cannot be judged.
* *partly removed*: anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slsgu.audit import linear, prototypes, relearning, retrieval, weights, words
from slsgu.audit.grounds import Grounds
from slsgu.audit.points import EMBEDDING
from slsgu.audit.probe import ProbeReading
from slsgu.audit.reasons import reasons

Word = Literal[
    "suppressed", "partly removed", "removed", "more visible than before", "not forgotten",
    "not measurable", "no verdict",
]  # fmt: skip
DECIDING = (
    words.NAME, prototypes.NAME, retrieval.NAME, linear.NAME, relearning.NAME, weights.NAME,
)  # fmt: skip
RISE = 0.02
SUPPRESSED = 0.8
REMOVED = 0.2
KNOWS = 0.5  # share of what the name found, from which on a reference knows the concept
LEAST_SPAN = 0.02  # mean of before - floor below which images cannot tell who knew
ALIKE = 0.98  # share of what was found before, from which on a reference finds as much
HALF = 0.5  # from which on a name that was not measurable is one that finds the concept


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
    read = [x for x in readings if x.kind == "find" and x.after is not None]
    found = [x for x in read if x.measurable]
    images = [x for x in found if is_image_side(x)]
    grounds = Grounds(
        readings=tuple(readings),
        images=tuple(images),
        left=share_left(images),
        cannot_tell=_cannot_tell([x for x in read if is_image_side(x)]),
        missing=tuple(name for name in DECIDING if all(x.probe != name for x in readings)),
        only_after=tuple(x for x in read if _decides(x) and _only_after(x)),
        reference=reference,
        towers=tuple(towers),
    )
    word = _word(found, grounds)
    left = None if word in ("no verdict", "not measurable") else grounds.left
    return Verdict(word, left, reasons(word, grounds))


def is_image_side(reading: ProbeReading) -> bool:
    """Whether a reading looks at image embeddings alone, without any words."""
    if reading.probe == linear.NAME:
        return reading.setting == EMBEDDING
    return reading.probe == prototypes.NAME or (
        reading.probe == retrieval.NAME and reading.setting.startswith(retrieval.BY_IMAGE)
    )


def share_left(images: Sequence[ProbeReading]) -> float | None:
    """What is left of what lay above the floor, over all readings; None where little did."""
    if not images or _cannot_tell(images):
        return None
    return sum(_above(x, x.after) for x in images) / sum(_above(x, x.before) for x in images)


def _cannot_tell(images: Sequence[ProbeReading]) -> bool:
    """Whether images found hardly more before the edit than a model that never knew would."""
    span = sum(_above(x, x.before) for x in images)
    alike = all(
        x.never_knew is not None and x.never_knew >= ALIKE * (x.before or 0.0) for x in images
    )
    return bool(images) and (alike or span <= LEAST_SPAN * len(images))


def _above(reading: ProbeReading, value: float | None) -> float:
    assert value is not None and reading.floor is not None
    return value - reading.floor


def _word(found: Sequence[ProbeReading], grounds: Grounds) -> Word:
    """The word for the measurable readings."""
    images, left, name = grounds.images, grounds.left, grounds.name
    if grounds.missing:
        return "no verdict"
    rise = sum((x.after or 0) - (x.before or 0) for x in images) / max(len(images), 1)
    if grounds.only_after or (rise > RISE and any(x.rose for x in images)):
        return "more visible than before"
    if not found or (name is not None and (name.never_knew or 0) > KNOWS * (name.before or 0)):
        return "not measurable"
    if (
        name is not None
        and name.measurable
        and not name.at_floor
        and _above(name, name.after) > 0.5 * _above(name, name.before)
    ):
        return "not forgotten"
    if left is not None and left >= SUPPRESSED:
        return "suppressed"
    few = grounds.cannot_tell or (left is not None and left <= REMOVED)
    gone = all(
        x.at_floor for x in found if _decides(x) and not (grounds.cannot_tell and x in images)
    )
    return "removed" if few and gone and _stays_forgotten(grounds.readings) else "partly removed"


def _decides(reading: ProbeReading) -> bool:
    """Whether a reading must be at its floor for *removed*: not what lies before the edit, nor
    relearning, which is held against the reference, nor averages with the original, which only
    somebody can make who has it."""
    if reading.probe == linear.NAME:
        return reading.setting == EMBEDDING
    return reading.probe in DECIDING and reading.probe != relearning.NAME and not reading.averaged


def _only_after(reading: ProbeReading) -> bool:
    """Whether it found nothing before the edit, and finds more than half after it; without words,
    more than chance."""
    interval, chance = reading.after_interval, reading.chance
    if interval is None or reading.measurable or reading.at_floor or not reading.rose:
        return False
    if is_image_side(reading):
        return chance is not None and interval[0] > chance
    return reading.after is not None and reading.after > HALF


def _stays_forgotten(readings: Sequence[ProbeReading]) -> bool:
    """Whether training brings it back no further than a model that never knew comes. Without a
    control that model is taken to learn nothing from retain images, and nobody knows what it would
    learn from images of the concept."""
    schedules = [x for x in readings if x.probe == relearning.NAME and x.measurable]
    retain = next((x for x in schedules if x.setting == relearning.RETAIN_ONLY), None)
    if retain is None or "way_back" not in retain.extra:
        return False
    further = [x.extra["faster"] for x in schedules if x.extra.get("faster") is not None]
    if retain.extra.get("faster") is None:
        further.append(retain.extra["way_back"])
    return all(value <= relearning.FASTER for value in further)
