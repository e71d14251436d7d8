"""Neighbours: what became of the classes beside the concept, one by one.

Protocol: neighbours are the siblings of the forgotten leaves (the kept leaves under the closest
ancestor that has any, `SIBLINGS` at most, the most alike first) and the `LOOK_ALIKES` other kept
leaves whose mean image embedding before the patch is closest to that of the concept; and of all
other kept leaves the one that loses most, since an edit may cost what nobody thinks of. Accuracy is
zero-shot, among all leaves of the taxonomy, on the test images of the neighbour. The kept leaf that
loses most of its group is read too, or the forgotten one, at a level above what was requested: its
images, asked for their ancestor among the classes of a coarser level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import normalize

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.taxonomy import Concept
from slsgu.evaluation.exam import Level, evaluated_levels

NAME = "neighbours"
SIBLINGS = 10
LOOK_ALIKES = 5
REQUESTED = "requested"  # one that is to be forgotten, at a level above that


def neighbours(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy of every neighbour; the one that lost most comes first, then the kept class
    that did, of all that have images, and the one that did at a coarser level."""
    rows: dict[Concept, list[int]] = {}
    for index, sample in enumerate(subject.tests.samples):
        assert sample.leaf is not None
        rows.setdefault(sample.leaf, []).append(index)
    near = closest(subject, rows)
    beside = {leaf for _, leaf in near}
    others = [
        ("class", leaf)
        for leaf in subject.task.request.retain_leaves
        if leaf in rows and leaf not in beside
    ]
    taxonomy = subject.task.taxonomy
    finest = Level(taxonomy.depth, taxonomy.leaves)
    each = list(_each(subject, rows, [*near, *others], finest))
    told = [each[: len(near)], each] if others else [each]
    yield from (worst for readings in told if (worst := _worst(readings)) is not None)
    yield from _of_groups(subject, rows, [*near, *others])
    yield from each[: len(near)] or [
        ProbeReading(NAME, "none", note="no kept class has images", kind="keep")
    ]


def _worst(readings: Sequence[ProbeReading]) -> ProbeReading | None:
    """The reading of the class that lost most, of those that can be measured."""
    lost = [reading for reading in readings if reading.measurable]
    worst = max(lost, key=lambda x: (x.before or 0) - (x.after or 0), default=None)
    return worst and replace(worst, setting=f"worst of {len(lost)}: {worst.setting}")


def _of_groups(
    subject: Subject, rows: Mapping[Concept, Sequence[int]], kept: Sequence[tuple[str, Concept]]
) -> Iterator[ProbeReading]:
    """The class that lost most of its group, at the level where that is most; of equals, the
    finest. Nothing where the leaves have no group."""
    request = subject.task.request
    coarser = list(reversed(evaluated_levels(subject.task.taxonomy)))[1:]
    asked = [(REQUESTED, leaf) for leaf in request.forget_leaves if leaf in rows]
    found = []
    for level in coarser:
        grouped = [
            (kind, leaf)
            for kind, leaf in (*kept, *asked)
            if level.depth < (request.forget_depth(leaf) or leaf.depth)
        ]
        worst = _worst(list(_each(subject, rows, grouped, level)))
        if worst is not None:
            extra = {**worst.extra, "level": level.depth}
            setting = f"at level {level.depth}, {worst.setting}"
            found.append(replace(worst, setting=setting, extra=extra))
    if found:
        yield max(found, key=lambda x: (x.before or 0) - (x.after or 0))


def _each(
    subject: Subject,
    rows: Mapping[Concept, Sequence[int]],
    kept: Sequence[tuple[str, Concept]],
    level: Level,
) -> Iterator[ProbeReading]:
    """How often the images of each kept leaf are given the right class.

    Args:
        rows: the test images of each leaf, by their index.
        kept: the leaves, each with what it is: a sibling, a look-alike, a class.
        level: at which they are asked.
    """
    templates, classes = subject.task.templates, level.classes
    texts = {name: v.class_embeddings(classes, templates) for name, v in subject.views.items()}
    for kind, leaf in kept:
        own = rows[leaf]
        label = classes.index(subject.task.taxonomy.ancestor(leaf, level.depth))

        def correct(view: str, own: Sequence[int] = own, label: int = label) -> Tensor:
            images = subject.tests.embeddings(view)[own]
            return (images @ texts[view].T).argmax(dim=1) == label

        empty = ProbeReading(NAME, f"{kind}: {leaf.name}", len(own), 1 / len(classes), kind="keep")
        yield readings_of(subject, empty, correct)


def closest(subject: Subject, rows: Mapping[Concept, Sequence[int]]) -> list[tuple[str, Concept]]:
    """The neighbours that have images, each as a sibling or a look-alike, the most alike first.

    Args:
        rows: the test images of each leaf, by their index.
    """
    request = subject.task.request
    forgotten = [leaf for leaf in request.forget_leaves if leaf in rows]
    kept = [leaf for leaf in request.retain_leaves if leaf in rows]
    siblings = {x for leaf in forgotten for x in request.siblings(leaf)}
    images = subject.tests.before

    def mean(leaf: Concept) -> Tensor:
        return normalize(images[rows[leaf]].mean(dim=0), dim=0)

    means = {leaf: mean(leaf) for leaf in (*forgotten, *kept)}
    likeness = {x: max(float(means[x] @ means[y]) for y in forgotten) for x in kept if forgotten}
    ordered = sorted(likeness, key=lambda leaf: -likeness[leaf])
    near = [("sibling", leaf) for leaf in ordered if leaf in siblings][:SIBLINGS]
    taken = {leaf for _, leaf in near}
    alike = [("look-alike", x) for x in ordered if x not in siblings and x not in taken]
    return near + alike[:LOOK_ALIKES]
