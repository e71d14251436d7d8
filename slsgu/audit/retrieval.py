"""Retrieval: the concept's images looked up in a gallery, by an image of it or by its name.

Protocol: the gallery is all test images that have a class, ranked by cosine. A text query is the
class embedding of a requested concept (the task's templates), with R images of it in the gallery;
of a group, the names of its leaves are queries, too, which any image of the group answers. An image
query is each test image of it in turn, which is then out of the gallery (R - 1 others; of a group,
all of the group are wanted). Recall is the share of the R that are among the first R (which is also
the precision there); precision is that of the first `FIRST`. Averages are over queries; those by
text count as often as they have images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept

NAME = "retrieval"
FIRST = 5
BY_TEXT, BY_LEAVES, BY_IMAGE = "by text", "leaves: by text", "by image"
TEXT_RECALL = f"{BY_TEXT}, recall"
Measure = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Query:
    """What is looked for.

    Attributes:
        name: of which concept, whose name is the query by text.
        own: its images, each of which is a query by image [N].
        wanted: the images that answer it: all of the requested concept [N].
    """

    name: Concept
    own: Tensor
    wanted: Tensor

    @property
    def size(self) -> int:
        """Images that it counts for."""
        return int(self.own.sum())


def retrieval(subject: Subject) -> Iterator[ProbeReading]:
    """Read recall and precision, by text and by image."""
    request = subject.task.request
    shown = [sample.leaf for sample in subject.tests.samples]
    leaves = _queries(request.forget_leaves, request, shown)
    if not leaves or sum(x.size for x in leaves) == len(shown):
        yield ProbeReading(NAME, BY_TEXT, note="the test images are all of one kind")
        return
    concepts = _queries(request.concepts, request, shown)
    groups = [x for x in leaves if x.name not in request.concepts]
    for by, queries in ((BY_TEXT, concepts), (BY_LEAVES, groups), (BY_IMAGE, leaves)):
        if queries:
            yield from _readings(subject, by, queries)


def _queries(
    concepts: Sequence[Concept], request: Request, shown: Sequence[Concept | None]
) -> list[Query]:
    """A query for each concept that has images.

    Args:
        concepts: that are to be forgotten.
        shown: the leaf of each image.
    """
    found = []
    for concept in concepts:
        own, wanted = (
            torch.tensor([leaf is not None and x in leaf.lineage for leaf in shown])
            for x in (concept, request.owner(concept))
        )
        if own.any():
            found.append(Query(concept, own, wanted))
    return found


def _readings(subject: Subject, by: str, queries: Sequence[Query]) -> Iterator[ProbeReading]:
    """Recall and precision of queries of one kind."""
    sizes = [query.size for query in queries]
    count = sum(sizes)
    guessed = (float(query.wanted.double().mean()) * query.size for query in queries)
    chance = sum(guessed) / count
    for what, measure in (("recall", recall), (f"precision of the first {FIRST}", precision)):
        if by == BY_IMAGE and min(int(query.wanted.sum()) for query in queries) < 2:
            yield ProbeReading(NAME, f"{by}, {what}", note="there is one test image")
            continue

        def found(view: str, measure: Measure = measure) -> Tensor | float:
            scores = _scores(subject, view, by, queries)
            shares = [
                measure(rows, query.wanted.to(rows.device))
                for rows, query in zip(scores, queries, strict=True)
            ]
            if by == BY_IMAGE:
                return torch.cat(shares)
            return sum(float(x) * n for x, n in zip(shares, sizes, strict=True)) / count

        yield readings_of(subject, ProbeReading(NAME, f"{by}, {what}", count, chance), found)


def _scores(subject: Subject, view: str, by: str, queries: Sequence[Query]) -> list[Tensor]:
    """How well each image of the gallery answers each query, for each of what is looked for
    [Q, N]; -inf for the query itself."""
    images = subject.tests.embeddings(view)
    if by == BY_IMAGE:
        similar = images @ images.T
        similar.fill_diagonal_(-torch.inf)
        return [similar[query.own.to(similar.device)] for query in queries]
    names = tuple(query.name for query in queries)
    texts = subject.views[view].class_embeddings(names, subject.task.templates)
    return list((texts @ images.T)[:, None])


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
