"""The sentences below the verdict of an audit: what it rests on, in plain words."""

from __future__ import annotations

from itertools import takewhile

from slsgu.audit import linear, membership, neighbours, retrieval, weights, words
from slsgu.audit.grounds import Grounds
from slsgu.audit.points import EMBEDDING
from slsgu.audit.prototypes import setting
from slsgu.audit.relearning_reasons import about_forget_images, about_retain_images
from slsgu.utils.wording import listed

SAME = 0.9  # share of what was found before, from which on a search finds nearly as many
SHOTS_TOLD = 5  # images per class by which concepts are told one by one


def reasons(word: str, grounds: Grounds) -> tuple[str, ...]:
    """What a verdict rests on.

    Args:
        word: the verdict.
    """
    return (
        *_about_missing(grounds),
        *_why_not_measurable(word, grounds),
        *_about_name(grounds),
        *_about_images(grounds),
        *_about_rise(grounds),
        *_about_each(grounds),
        *_about_towers(grounds),
        *_about_only_after(grounds),
        *_about_worst(grounds),
        *_about_search(grounds),
        *_about_averages(grounds),
        *about_retain_images(grounds),
        *about_forget_images(grounds),
        *_about_neighbours(grounds),
        *_about_membership(grounds),
        f"The never-knew reference is {grounds.reference}."
        if grounds.reference
        else "There is no never-knew reference: readings stand beside chance alone, so “removed” "
        "asks for more than it would of a model that was never taught the concept.",
    )


def _about_missing(grounds: Grounds) -> list[str]:
    if not grounds.missing:
        return []
    *others, last = grounds.missing
    if not others:
        return [f"No verdict: the probe {last} has not been read."]
    return [f"No verdict: the probes {', '.join(others)} and {last} have not been read."]


def _why_not_measurable(word: str, grounds: Grounds) -> list[str]:
    name = grounds.name
    if word != "not measurable":
        return []
    if name is None or not name.measurable or name.never_knew is None:
        return ["No probe finds the concept before the edit, so none can say what became of it."]
    return [
        f"The reference finds {name.never_knew:.0%} of the concept's images by its name: it is "
        "none of a model that never knew it."
    ]


def _about_name(grounds: Grounds) -> list[str]:
    name, leaves = grounds.name, grounds.called(words.LEAF_NAMES)
    if name is None:
        return []
    if name.measurable:
        text = f"By its name, {name.before:.0%} of its test images were found, and {name.after:.0%}"
        text += " are."
    else:
        text = f"Its name found {name.before:.0%} of its test images before the edit, no more than "
        text += f"chance, and finds {name.after:.0%} after it."
    if leaves is None:
        return [text]
    return [f"{text} By the names of its leaves, {leaves.before:.0%} were and {leaves.after:.0%}"
            " are."]  # fmt: skip


def _about_rise(grounds: Grounds) -> list[str]:
    """Which readings of images rose, whatever the verdict: their mean may hide it."""
    rose = [x for x in grounds.images if x.rose and x.rise_interval is not None]
    if not rose:
        return []
    most = max(rose, key=lambda x: (x.rise_interval or (0.0, 0.0))[0])
    low, high = (100 * bound for bound in most.rise_interval or (0.0, 0.0))
    return [
        f"Image by image, {len(rose)} of {len(grounds.images)} readings rose by more than "
        f"chance explains; most surely {most.probe}, {most.setting}: by {low:.1f} to "
        f"{high:.1f} points."
    ]


def _about_each(grounds: Grounds) -> list[str]:
    """Where several concepts are to be forgotten, which is found most, and which of them is easier
    to find than before: their mean can hide it."""
    told = [x for x in grounds.images if x.classes]
    if not told:
        return []
    reading = next((x for x in told if x.setting == setting(SHOTS_TOLD)), told[-1])
    classes = reading.classes
    least, most = (pick(classes, key=lambda k: classes[k].after or 0) for pick in (min, max))
    text = f"One by one, {reading.setting} find "
    if classes[least].after == classes[most].after:
        text += f"{classes[least].after:.0%} of each"
    else:
        text += f"from {classes[least].after:.0%} ({least}) to {classes[most].after:.0%} ({most})"
    rose = [f"{name} ({x.before:.0%} to {x.after:.0%})" for name, x in classes.items() if x.rose]
    if not rose:
        return [f"{text}; none is easier to find than before, beyond its interval."]
    return [f"{text}; easier to find than before: {listed(rose)}."]


def _about_images(grounds: Grounds) -> list[str]:
    images, left, known = grounds.images, grounds.left, grounds.reference is not None
    if not images:
        if any(x in grounds.missing for x in ("prototypes", linear.NAME, retrieval.NAME)):
            return []
        text = "No probe of the images alone is measurable"
        return [f"{text}, so this cannot count as “removed”." if not grounds.cannot_tell else
                f"{text}: images found hardly more than chance even before the edit."]  # fmt: skip
    before, after = (sum(getattr(x, m) for x in images) / len(images) for m in ("before", "after"))
    text = f"By example images, without words: {before:.0%} before, {after:.0%} after"
    if known:
        floor = sum(x.floor or 0 for x in images) / len(images)
        text += f", {floor:.0%} by a model that never knew"
    if left is None:
        return [
            f"{text}. One that never knew finds as much as was found before, so images cannot tell "
            "and do not decide."
        ]
    beyond = "that" if known else "chance"
    if left < -0.1:
        return [f"{text}. That is less than {beyond}, which itself can be noticed."]
    return [f"{text}. Of what lay beyond {beyond}, {max(left, 0):.0%} is left."]


def _about_towers(grounds: Grounds) -> list[str]:
    if "vision" not in grounds.towers:
        return [
            "The edit is in the language tower: image embeddings are the same as before, and "
            "whoever has example images finds the concept as before."
        ]
    read = [
        x for x in grounds.of(linear.NAME) if x.setting != EMBEDDING and x.after is not None
    ]  # fmt: skip
    stages = [x for x in read if x.measurable]
    if stages and all(x.after == x.before for x in read):
        text = "Everything before the last projection is as it was: "
        if stages[-1] is read[-1]:
            return [text + f"whoever takes the features in front of it ({stages[-1].setting}) finds"
                    f" {stages[-1].after:.0%}, as before."]  # fmt: skip
        return [text + f"of the stages in front of it, {stages[-1].setting} is the last that finds "
                f"it beyond chance, {stages[-1].after:.0%}, as before."]  # fmt: skip
    told = list[str]()
    untouched = [x for x in takewhile(lambda x: x.after == x.before, read) if x.measurable]
    if untouched:
        last = untouched[-1]
        told.append(
            "Everything before the edited layer is as it was: whoever takes the features there "
            f"({last.setting}) finds {last.after:.0%}, as before."
        )
    alive = [x for x in stages if not x.at_floor and (x.after or 0) >= (x.before or 0) - 0.02]
    if alive and (best := max(alive, key=lambda x: x.after or 0)) not in untouched:
        told.append(
            f"Inside the image tower it still lives: {best.setting} finds {best.after:.0%}."
        )
    return told


def _about_only_after(grounds: Grounds) -> list[str]:
    return [
        f"By {x.probe}, {x.setting}, {x.before:.0%} were found before the edit, no more than "
        f"chance, and {x.after:.0%} are after it."
        for x in grounds.only_after
        if x is not grounds.name
    ]


def _about_worst(grounds: Grounds) -> list[str]:
    """What finds most by words, whatever is read of images, and without averages with the
    original, which are told by themselves."""
    told = [
        x for probe in (words.NAME, weights.NAME, retrieval.NAME) for x in grounds.of(probe)
        if x.measurable and x.after is not None and not x.at_floor and not x.averaged
        and x not in grounds.images and x.setting != words.BY_NAME
    ]  # fmt: skip
    if not told:
        return []
    worst = max(told, key=lambda x: (x.after or 0) - (x.floor or 0))
    text = f"By words, most is found through {worst.probe}, “{worst.setting}”: {worst.after:.0%}"
    return [f"{text}, more than the {worst.before:.0%} before the edit." if worst.rose else
            f"{text}."]  # fmt: skip


def _about_search(grounds: Grounds) -> list[str]:
    """That whoever looks for images by the name finds as many as before, where that is so."""
    return [
        f"A search among all images by its name still finds {x.after:.0%} of its images, "
        f"{x.before:.0%} before."
        for x in grounds.of(retrieval.NAME)
        if x.setting == retrieval.TEXT_RECALL
        and x.measurable
        and x.after is not None
        and x.after >= SAME * (x.before or 0.0)
        and not x.at_floor
    ]


def _about_averages(grounds: Grounds) -> list[str]:
    """How little of the original weights brings the name back."""
    told = [
        x for x in grounds.of(weights.NAME)
        if x.averaged and x.measurable and x.after is not None and not x.at_floor
    ]  # fmt: skip
    if not told:
        return []
    least = told[0]  # the smallest share of the original
    names = "the name finds" if grounds.called(words.LEAF_NAMES) is None else (
        "the names of its leaves find"
    )  # fmt: skip
    return [
        f"Whoever has the original model can average the two: {least.setting}, {names} "
        f"{least.after:.0%}."
    ]


def _about_neighbours(grounds: Grounds) -> list[str]:
    told = list[str]()
    for worst in (x for x in grounds.of(neighbours.NAME) if "worst of" in x.setting):
        kind, name = worst.setting.split(": ", 2)[1:]  # after "worst of 9"
        fell = (worst.before or 0) > (worst.after or 0)
        if "level" in worst.extra:
            text = f"Of everything else, {name} most often leaves its group"
            if kind == neighbours.REQUESTED:
                text = f"Beyond what was asked, {name} most often leaves its group"
            text += (
                f": at level {worst.extra['level']}, {worst.before:.0%} of its images are given "
                f"the right one before, {worst.after:.0%} after."
            )
            told += [text] if fell else []
            continue
        if fell:
            text = f"The {kind} that lost most is {name}: {worst.before:.0%} to {worst.after:.0%}."
        else:
            text = "No other class lost." if told else "No neighbour lost."
        told += [text] if text not in told else []
    return told


def _about_membership(grounds: Grounds) -> list[str]:
    """Only where members stand out more than before, when the edit can have left no trace."""
    told = [
        f"{x.before:.2f} before, {x.after:.2f} after"
        for x in grounds.of(membership.NAME)
        if x.before is not None
        and x.after_interval is not None
        and x.after_interval[0] > max(x.before, 0.5)
    ]
    if not told:
        return []
    return [
        "The edited model shows which images the edit was made from (area under the curve "
        f"{listed(told)})."
    ]
