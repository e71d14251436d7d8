"""The sentences below the verdict that are about training: how fast the concept comes back."""

from __future__ import annotations

from collections.abc import Sequence

from slsgu.audit import relearning
from slsgu.audit.grounds import Grounds
from slsgu.audit.probe import ProbeReading
from slsgu.audit.relearning import FASTER


def about_retain_images(grounds: Grounds) -> list[str]:
    """How far training on everything else brings it back."""
    rows = [x for x in grounds.of(relearning.NAME) if x.setting == relearning.RETAIN_ONLY]
    way_back = rows[0].extra.get("way_back") if rows else None
    if way_back is None:
        if relearning.NAME in grounds.missing or (rows and rows[0].after is not None):
            return []  # it was never away
        return ["Training could not be read, so this cannot count as “removed”."]
    text = f"Fine-tuned on images of everything else only, it comes {way_back:.0%} of the way back"
    control = rows[0].extra.get("control_way_back")
    if control is not None:
        return [f"{text}, a model that never knew {control:.0%}."]
    return [f"{text}. Without a control, more than {FASTER:.0%} counts against it."]


def about_forget_images(grounds: Grounds) -> list[str]:
    """The schedule that brings back most, and whether it decides."""
    rows = [
        x for x in grounds.of(relearning.NAME)
        if x.setting != relearning.RETAIN_ONLY and "way_back" in x.extra
    ]  # fmt: skip
    if not rows:
        return []
    counted = [x for x in rows if x.extra.get("faster") is not None]
    if counted:
        worst = max(counted, key=lambda x: x.extra["faster"])
        told = [
            f"Training on {_images(worst)} of it brings it {worst.extra['way_back']:.0%} of the"
            f" way back, a model that never knew {worst.extra['control_way_back']:.0%}."
        ]
    else:
        told = []
    idle = [x for x in rows if x not in counted]
    return told + ([_why_idle(idle)] if idle else [])


def _why_idle(idle: Sequence[ProbeReading]) -> str:
    """The schedule that brings back most of those that decide nothing, and why it does not."""
    worst = max(idle, key=lambda x: x.extra["way_back"])
    text = f"Training on {_images(worst)} of it brings it {worst.extra['way_back']:.0%} of the way"
    text += " back; "
    if worst.extra.get("counts", True):
        return text + (
            "without a control nobody knows how fast a model that never knew would learn it, so "
            "that decides nothing."
        )
    return text + (
        f"that schedule teaches a new name only {worst.extra['teaches']:.0%} of the way, so it "
        "decides nothing."
    )


def _images(reading: ProbeReading) -> str:
    """What a schedule of relearning trains on.

    >>> _images(ProbeReading("relearning", "5 forget images"))
    '5 images'
    """
    return reading.setting.replace("forget ", "")
