"""Neighbours: what became of the classes beside the concept, one by one.

Protocol: neighbours are the siblings of the forgotten leaves (the kept leaves under the closest
ancestor that has any, `SIBLINGS` at most, the most alike first) and the `LOOK_ALIKES` other kept
leaves whose mean image embedding before the patch is closest to that of the concept; and of all
other kept leaves the one that loses most, since an edit may cost what nobody thinks of. Accuracy is
zero-shot, among all leaves of the taxonomy, on the test images of the neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import normalize

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.taxonomy import Concept

NAME = "neighbours"
SIBLINGS = 10
LOOK_ALIKES = 5


def neighbours(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy of every neighbour; the one that lost most comes first, and then the kept
    class that did, of all that have images."""
    each = list(_each(subject))
    near = [reading for reading, neighbour in each if neighbour]
    told = [near] if len(near) == len(each) else [near, [reading for reading, _ in each]]
    for lost in ([x for x in readings if x.measurable] for readings in told):
        worst = max(lost, key=lambda x: (x.before or 0) - (x.after or 0), default=None)
        if worst is not None:
            yield replace(worst, setting=f"worst of {len(lost)}: {worst.setting}")
    yield from near or [ProbeReading(NAME, "none", note="no kept class has images", kind="keep")]


def _each(subject: Subject) -> Iterator[tuple[ProbeReading, bool]]:
    """A reading of every kept class that has images, neighbours first, and whether it is one."""
    classes = subject.task.taxonomy.leaves
    templates = subject.task.templates
    texts = {name: v.class_embeddings(classes, templates) for name, v in subject.views.items()}
    rows: dict[Concept, list[int]] = {}
    for index, sample in enumerate(subject.tests.samples):
        assert sample.leaf is not None
        rows.setdefault(sample.leaf, []).append(index)
    near = closest(subject, rows)
    beside = {leaf for _, leaf in near}
    others = [("class", x) for x in subject.task.request.retain_leaves if x in rows]
    for kind, leaf in [*near, *(pair for pair in others if pair[1] not in beside)]:
        label = classes.index(leaf)

        def correct(view: str, own: list[int] = rows[leaf], label: int = label) -> Tensor:
            images = subject.tests.embeddings(view)[own]
            return (images @ texts[view].T).argmax(dim=1) == label

        empty = ProbeReading(
            NAME, f"{kind}: {leaf.name}", len(rows[leaf]), 1 / len(classes), kind="keep"
        )
        yield readings_of(subject, empty, correct), leaf in beside


def closest(subject: Subject, rows: dict[Concept, list[int]]) -> list[tuple[str, Concept]]:
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
