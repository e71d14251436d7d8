"""Prototypes: a few photographs of each class, and no words.

Each class is the mean of the embeddings of k photographs, and an image is of the class whose mean
is nearest. Whoever has five photographs of a concept can look for it like this, whatever became of
its name.

Protocol: classes are the leaves of the taxonomy that have an example; the k photographs of each are
drawn from the examples, the same before and after; accuracy is the share of test images of the
forgotten leaves that are given their own leaf (where a group is to be forgotten: any of the group),
averaged over `DRAWS` draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.audit.pool import Pool, readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject

NAME = "prototypes"
SHOTS = (1, 5, 20)
DRAWS = 20  # of the photographs; a single draw of one photograph says little


def prototypes(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy for 1, 5 and 20 photographs per class, as far as there are so many."""
    pool = Pool.of(subject)
    for shots in SHOTS:
        note = pool.why_not(shots)
        if note:
            yield ProbeReading(NAME, setting(shots), note=note)
            continue
        drawn = draw(pool.places, shots, subject.task.seed)
        yield readings_of(
            subject,
            ProbeReading(NAME, setting(shots), len(pool.asked), pool.chance),
            lambda view, drawn=drawn: share_right(  # type: ignore[misc]
                pool, subject.examples.embeddings(view), drawn, subject.questions.embeddings(view)
            ),
            asked=pool.asked,
        )


def share_right(pool: Pool, examples: Tensor, drawn: Tensor, questions: Tensor) -> Tensor:
    """In what share of the draws each question is given its own class, or one of its group [M];
    arguments as for `nearest`."""
    return pool.right(nearest(examples, drawn, questions)).double().mean(dim=0)


def setting(shots: int) -> str:
    """What a number of photographs is called."""
    return f"{shots} image{'s' if shots > 1 else ''} per class"


def draw(places: Sequence[Sequence[int]], shots: int, seed: int) -> Tensor:
    """Which examples stand for each class: indices [DRAWS, C, shots], without replacement.

    Args:
        places: the examples of each class.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [
        [torch.tensor(own)[torch.randperm(len(own), generator=generator)[:shots]] for own in places]
        for _ in range(DRAWS)
    ]
    return torch.stack([torch.stack(row) for row in rows])


def nearest(examples: Tensor, drawn: Tensor, questions: Tensor) -> Tensor:
    """The class to whose mean each question is nearest, in each draw [D, M].

    Args:
        examples: normalised embeddings [N, d].
        drawn: the examples of each class in each draw [D, C, k].
        questions: normalised embeddings [M, d].
    """
    means = normalize(examples[drawn.to(examples.device)].mean(dim=2), dim=-1)  # [D, C, d]
    return torch.einsum("md,kcd->kmc", questions, means).argmax(dim=2)
