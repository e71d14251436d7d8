"""Retrieval: the concept's images looked up in a gallery, by an image of it or by its name.

Protocol: the gallery is all test images that have a class, ranked by cosine. A text query is the
class embedding of a forgotten leaf (the task's templates), with R images of that leaf in the
gallery; an image query is each test image of it in turn, which is then out of the gallery
(R - 1 others); where a group is to be forgotten, an image looks for all images of the group. Recall
is the share of the R that are among the first R (which is also the precision there); precision is
that of the first `FIRST`. Averages are over queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject

NAME = "retrieval"
FIRST = 5
BY_TEXT = "by text, recall"
Measure = Callable[[Tensor, Tensor], Tensor]


def retrieval(subject: Subject) -> Iterator[ProbeReading]:
    """Read recall and precision, by text and by image."""
    leaves = subject.task.request.forget_leaves
    owners = [sample.leaf for sample in subject.tests.samples]
    mine = [torch.tensor([x is leaf for x in owners]) for leaf in leaves]  # L of [N]
    mine, leaves = (
        [m for m in mine if m.any()],
        tuple(x for x, m in zip(leaves, mine, strict=True) if m.any()),
    )
    sizes = [int(m.sum()) for m in mine]
    count = sum(sizes)
    if not leaves or count == len(owners):
        yield ProbeReading(NAME, "by text", note="the test images are all of one kind")
        return
    request = subject.task.request
    whole = [  # by image: all of the group
        torch.tensor([x in leaves and request.owner(x) is request.owner(leaf) for x in owners])
        for leaf in leaves
    ]
    wanted = {"text": mine, "image": whole}
    templates = subject.task.templates

    def scores(view: str, by: str) -> list[tuple[Tensor, Tensor]]:
        images = subject.tests.embeddings(view)
        if by == "text":
            texts = subject.views[view].class_embeddings(leaves, templates)
            return [(row[None], m) for row, m in zip(texts @ images.T, mine, strict=True)]
        similar = images @ images.T
        similar.fill_diagonal_(-torch.inf)
        return [(similar[m.to(similar.device)], w) for m, w in zip(mine, whole, strict=True)]

    for by in ("text", "image"):
        for what, measure in (("recall", recall), (f"precision of the first {FIRST}", precision)):
            if by == "image" and min(sizes) < 2:
                yield ProbeReading(NAME, f"by {by}, {what}", note="there is one test image")
                continue

            def found(view: str, by: str = by, measure: Measure = measure) -> Tensor | float:
                shares = [measure(rows, m.to(rows.device)) for rows, m in scores(view, by)]
                if by == "image":
                    return torch.cat(shares)
                return sum(float(x) * n for x, n in zip(shares, sizes, strict=True)) / count

            shares = [float(w.double().mean()) for w in wanted[by]]
            chance = sum(x * n for x, n in zip(shares, sizes, strict=True)) / count
            yield readings_of(subject, ProbeReading(NAME, f"by {by}, {what}", count, chance), found)


def recall(scores: Tensor, wanted: Tensor) -> Tensor:
    """The share of wanted images among the first R, R of them wanted, for each query [Q].

    Args:
        scores: of each query for each image [Q, N]; -inf for the query itself.
        wanted: [N].
    """
    return torch.stack([_share(row, wanted, None) for row in scores])


def precision(scores: Tensor, wanted: Tensor) -> Tensor:
    """The share of the first `FIRST` that are wanted, for each query [Q]; of fewer, where fewer
    are wanted."""
    return torch.stack([_share(row, wanted, FIRST) for row in scores])


def _share(row: Tensor, wanted: Tensor, first: int | None) -> Tensor:
    total = int((wanted & row.isfinite()).sum())
    many = total if first is None else min(first, total)
    return wanted[row.topk(many).indices].double().mean()
