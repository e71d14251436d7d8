"""The classes that a probe without words chooses among, and how a reading is filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, told_apart
from slsgu.data.samples import Sample
from slsgu.utils.statistics import paired_error


@dataclass(frozen=True, eq=False)
class Pool:
    """Classes that have examples, and questions about some of them.

    Attributes:
        classes: C leaves.
        places: the examples of each class, by their index.
        asked: the leaf of each question.
        groups: for each class, a number that the classes of one group share which is to be
            forgotten; empty where every class stands for itself.
    """

    classes: tuple[Concept, ...]
    places: tuple[tuple[int, ...], ...]
    asked: tuple[Concept | None, ...]
    groups: tuple[int, ...] = ()

    @classmethod
    def of(cls, subject: Subject) -> Pool:
        """The examples and the questions of a subject."""
        examples, questions = subject.examples.samples, subject.questions.samples
        return cls.from_samples(examples, questions, subject.task.request)

    @classmethod
    def from_samples(
        cls, examples: Sequence[Sample], questions: Sequence[Sample], request: Request | None = None
    ) -> Pool:
        """From images that all have a class.

        Args:
            request: whose groups count as one; without it every class stands for itself.
        """
        places: dict[Concept, list[int]] = {}
        for index, sample in enumerate(examples):
            assert sample.leaf is not None
            places.setdefault(sample.leaf, []).append(index)
        asked = tuple(sample.leaf for sample in questions)
        pool = cls(tuple(places), tuple(map(tuple, places.values())), asked)
        if request is None or request.each_alone:
            return pool
        forgotten = set(request.forget_leaves)
        owners = [request.owner(x) if x in forgotten else x for x in pool.classes]
        return replace(pool, groups=tuple(map(owners.index, owners)))

    @property
    def labels(self) -> Tensor:
        """The right class of each question [M]."""
        return torch.tensor([self.classes.index(x) for x in self.asked if x is not None])

    @property
    def chance(self) -> float:
        """The share that a guess finds."""
        if not self.groups:
            return 1 / len(self.classes)
        own = [self.groups[label] for label in self.labels.tolist()]
        return sum(map(self.groups.count, own)) / len(own) / len(self.classes)

    def right(self, predicted: Tensor) -> Tensor:
        """Whether each question is given its own class, or one of its group.

        Args:
            predicted: classes [..., M].
        """
        if not self.groups:
            return predicted == self.labels.to(predicted)
        groups = torch.tensor(self.groups).to(predicted)
        return groups[predicted] == groups[self.labels.to(predicted)]

    @property
    def example_labels(self) -> Tensor:
        """The class of each example [N]."""
        labels = torch.empty(sum(map(len, self.places)), dtype=torch.long)
        for label, own in enumerate(self.places):
            labels[list(own)] = label
        return labels

    def why_not(self, shots: int) -> str:
        """Why nothing can be read with so many images per class; empty if it can."""
        if not self.asked:
            return "there is no test image of what was to be forgotten"
        missing = next((leaf for leaf in self.asked if leaf not in self.classes), None)
        if missing is not None:
            return f"there is no gradient image of {missing.key}"
        if len(self.classes) < 2:
            return "there are images of one class only"
        scarce = min(range(len(self.classes)), key=lambda i: len(self.places[i]))
        if len(self.places[scarce]) < shots:
            count = len(self.places[scarce])
            return f"{self.classes[scarce].key} has only {count} of {shots} gradient images"
        return ""


def readings_of(
    subject: Subject,
    reading: ProbeReading,
    value: Callable[[str], Tensor | float | None],
    *,
    asked: Sequence[Concept | None] = (),
) -> ProbeReading:
    """A reading with what each view gives.

    Args:
        value: by the name of a view, how often each image was found [M], or the accuracy alone;
            None where it has none. Images one by one say what before and after have in common.
        asked: the class of each image [M], where each of several is to be told by itself, as
            `classes` of the reading's further figures.
    """
    before, after = value("before"), value("after")
    filled = replace(reading, before=_mean(before), after=_mean(after))
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        filled = replace(filled, pair_error=_pair_error(before, after))
        if classes := _by_class(before, after, asked):
            filled = replace(filled, extra={**filled.extra, "classes": classes})
    if subject.control is None:
        return filled
    return replace(filled, never_knew=_mean(value("control")))


def _pair_error(before: Tensor, after: Tensor) -> float:
    return paired_error((after.double() - before.double()).cpu().numpy())


def _by_class(
    before: Tensor, after: Tensor, asked: Sequence[Concept | None]
) -> dict[str, dict[str, float | int | None]]:
    """Count, accuracy before and after, and the error of their difference, for each class; nothing
    where there are less than two."""
    places: dict[Concept, list[int]] = {}
    for place, leaf in enumerate(asked):
        if leaf is not None:
            places.setdefault(leaf, []).append(place)
    if len(places) < 2:
        return {}
    return {
        name: {
            "count": len(own),
            "before": _mean(before[own]),
            "after": _mean(after[own]),
            "pair_error": _pair_error(before[own], after[own]),
        }
        for name, own in zip(told_apart(places), places.values(), strict=True)
    }


def _mean(found: Tensor | float | None) -> float | None:
    return float(found.double().mean()) if isinstance(found, Tensor) else found
