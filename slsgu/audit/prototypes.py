"""Prototypes: a few photographs of each class, and no words.

Each class is the mean of the embeddings of k photographs, and an image is of the class whose mean
is nearest. Whoever has five photographs of a concept can look for it like this, whatever became of
its name.

Protocol: classes are the leaves of the taxonomy that have an image in the gradient split; the k
photographs of each are drawn from that split, the same before and after; accuracy is the share of
test images of the forgotten leaves that are given their own leaf, averaged over `DRAWS` draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.audit.probe import ProbeReading, Subject
from slsgu.concepts.taxonomy import Concept

NAME = "prototypes"
SHOTS = (1, 5, 20)
DRAWS = 20  # of the photographs; a single draw of one photograph says little


def prototypes(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy for 1, 5 and 20 photographs per class, as far as there are so many."""
    places: dict[Concept, list[int]] = {}
    for index, sample in enumerate(subject.examples.samples):
        assert sample.leaf is not None
        places.setdefault(sample.leaf, []).append(index)
    asked = [sample.leaf for sample in subject.questions.samples]
    for shots in SHOTS:
        setting = f"{shots} image{'s' if shots > 1 else ''} per class"
        note = _why_not(places, asked, shots)
        if note:
            yield ProbeReading(NAME, setting, note=note)
            continue
        labels = torch.tensor([list(places).index(leaf) for leaf in asked if leaf is not None])
        drawn = draw(list(places.values()), shots, subject.task.seed)
        before, after = (
            accuracy(examples, drawn, questions, labels)
            for examples, questions in (
                (subject.examples.before, subject.questions.before),
                (subject.examples.after, subject.questions.after),
            )
        )
        yield ProbeReading(NAME, setting, len(asked), 1 / len(places), before, after)


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


def accuracy(examples: Tensor, drawn: Tensor, questions: Tensor, labels: Tensor) -> float:
    """The share of questions that are nearest to the mean of their own class, over all draws.

    Args:
        examples: normalised embeddings [N, d].
        drawn: the examples of each class in each draw [D, C, k].
        questions: normalised embeddings [M, d].
        labels: the right class of each [M].
    """
    means = normalize(examples[drawn.to(examples.device)].mean(dim=2), dim=-1)  # [D, C, d]
    predicted = torch.einsum("md,kcd->kmc", questions, means).argmax(dim=2)  # [D, M]
    return float((predicted == labels.to(predicted)).double().mean())


def _why_not(places: dict[Concept, list[int]], asked: Sequence[Concept | None], shots: int) -> str:
    """Why nothing can be read with so many photographs per class; empty if it can."""
    if not asked:
        return "there is no test image of what was to be forgotten"
    missing = next((leaf for leaf in asked if leaf not in places), None)
    if missing is not None:
        return f"there is no gradient image of {missing.key}"
    if len(places) < 2:
        return "there are images of one class only"
    scarce = min(places, key=lambda leaf: len(places[leaf]))
    if len(places[scarce]) < shots:
        return f"{scarce.key} has only {len(places[scarce])} of {shots} gradient images"
    return ""
