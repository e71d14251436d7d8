"""The linear probe: a classifier trained on what the model puts out, at every stage.

On the embeddings it says whether somebody who has labelled images can find the concept again. On
the stages before them it says where the knowledge still lives: an edit of the last layer leaves
everything before it as it was.

Protocol: ridge regression in closed form, from standardised outputs of the examples (up to 20 of
each class; classes count alike) to one column per class, damped by `DAMPING` of the mean diagonal;
nothing is drawn at random. Classes and accuracy as for prototypes. Outputs with a place for each
patch or pixel are pooled (`slsgu.audit.points`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from slsgu.audit.points import EMBEDDING
from slsgu.audit.pool import Pool, readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject

NAME = "linear probe"
DAMPING = 0.1
FEWEST = 2  # examples of a class; a probe with one is a prototype


def linear(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy at every point of the image side, the embedding last."""
    pool = Pool.of(subject)
    if note := pool.why_not(FEWEST):
        yield ProbeReading(NAME, EMBEDDING, note=note)
        return
    for point in subject.examples.points["before"]:
        yield readings_of(
            subject,
            ProbeReading(NAME, point, len(pool.asked), pool.chance),
            lambda view, point=point: _correct(subject, pool, view, point),  # type: ignore[misc]
        )


def _correct(subject: Subject, pool: Pool, view: str, point: str) -> Tensor | None:
    examples, questions = subject.examples.points[view], subject.questions.points[view]
    if point not in examples:  # a control of another architecture
        return None
    return right(examples[point], questions[point], pool)


def right(examples: Tensor, questions: Tensor, pool: Pool) -> Tensor:
    """Whether each question is given its own class, or one of its group, by a classifier of the
    examples [M].

    Args:
        examples: outputs [N, D].
        questions: outputs [M, D].
        pool: which of them are of which class.
    """
    predicted = Ridge(examples, pool.example_labels, len(pool.classes))(questions)
    return pool.right(predicted)


class Ridge:
    """A linear classifier in closed form.

    Args:
        features: of the examples [N, D].
        labels: their classes [N].
        classes: C.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        x, y = features.double(), one_hot(labels, classes).to(features.device).double()
        # Classes count alike, however many examples they have.
        weight = (1 / y.sum(dim=0).clamp_min(1))[labels.to(x.device)]
        weight = (weight / weight.sum())[:, None]
        self._mean = (weight * x).sum(dim=0)
        self._scale = (weight * (x - self._mean) ** 2).sum(dim=0).sqrt().clamp_min(1e-6)
        self._bias = (weight * y).sum(dim=0)
        x = (x - self._mean) / self._scale * weight.sqrt()
        y = (y - self._bias) * weight.sqrt()
        gram = x.T @ x if len(x) > x.shape[1] else x @ x.T
        damping = DAMPING * float(gram.diagonal().mean()) + 1e-12
        damped = gram + damping * torch.eye(len(gram)).to(gram)
        if len(x) > x.shape[1]:
            self._weight = torch.linalg.solve(damped, x.T @ y)
        else:
            self._weight = x.T @ torch.linalg.solve(damped, y)

    def __call__(self, features: Tensor) -> Tensor:
        """The class of each image [M]."""
        x = (features.double() - self._mean) / self._scale
        predicted: Tensor = (x @ self._weight + self._bias).argmax(dim=1)
        return predicted
