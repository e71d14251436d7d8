"""The test images of a concept, asked with one class called otherwise, or all in one template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.taxonomy import Concept

RIVALS = 40  # kept leaves that are asked in every template; texts are what takes time
HALF = 0.5  # what a wording that found nothing before must find after it, to be told


@dataclass(frozen=True)
class Wording:
    """Another way to say a concept.

    Attributes:
        concept: whose images are asked.
        setting: what the wording is called.
        texts: the sentences that say the concept; the other classes are said as usual.
        template: a sentence for all classes alike, with `{}` for the name, in place of `texts`.
    """

    concept: Concept
    setting: str
    texts: tuple[str, ...] = ()
    template: str = ""


class Asking:
    """Asks the test images of concepts for wordings of them, among the classes of their level."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.leaves = subject.task.taxonomy.leaves
        self._usual: dict[tuple[str, tuple[Concept, ...]], Tensor] = {}
        self._in_template: dict[tuple[str, str, tuple[Concept, ...]], Tensor] = {}
        self._rivals: tuple[Concept, ...] | None = None

    def rows(self, concept: Concept) -> list[int]:
        """Which questions are of a concept, by their index."""
        samples = self._subject.questions.samples
        return [i for i, x in enumerate(samples) if x.leaf and concept in x.leaf.lineage]

    def level(self, concept: Concept) -> tuple[Concept, ...]:
        """The classes that a concept stands among: all leaves, or those of its level."""
        taxonomy = self._subject.task.taxonomy
        return taxonomy.leaves if concept.is_leaf else taxonomy.level(concept.depth)

    def reading(self, probe: str, setting: str, wordings: Sequence[Wording]) -> ProbeReading:
        """The share of the images of all wordings' concepts that are nearest to their wording."""
        counts = [len(self.rows(wording.concept)) for wording in wordings]
        chances = [count / len(self._classes(x)) for count, x in zip(counts, wordings, strict=True)]
        empty = ProbeReading(probe, setting, sum(counts), sum(chances) / sum(counts))
        return readings_of(
            self._subject,
            empty,
            lambda view: torch.cat([self.correct(view, wording) for wording in wordings]),
        )

    def mean_and_worst(
        self, probe: str, what: str, sets: Sequence[Sequence[Wording]], *, prefix: str = ""
    ) -> Iterator[ProbeReading]:
        """The mean over wordings, the one that finds most after the patch of those that are
        measurable, and the one that does so of those that found nothing before.

        Args:
            what: they are: template, misspelling.
            sets: wordings that are asked at once, one for each concept.
            prefix: of the settings.
        """
        found = [self.reading(probe, wordings[0].setting, wordings) for wordings in sets]
        views = [x for x in ("before", "after", "never_knew") if getattr(found[0], x) is not None]
        mean = {x: sum(getattr(reading, x) for reading in found) / len(found) for x in views}
        count = max(reading.count for reading in found)
        setting = f"{prefix}{what}s, mean of {len(found)}"
        yield replace(found[0], setting=setting, count=count, pair_error=None, **mean)
        measurable = [x for x in found if x.measurable]
        worst = max(measurable or found, key=lambda x: (x.after or 0.0, x.before or 0.0))
        yield replace(worst, setting=f"{prefix}worst {what}: {worst.setting}")
        rest = [x for x in found if x not in measurable and x is not worst]
        most = max(rest, key=lambda x: x.after or 0.0, default=None)
        if most is not None and (most.after or 0.0) > HALF:
            setting = f"{prefix}{what} that found nothing before: {most.setting}"
            yield replace(most, setting=setting)

    def correct(self, view: str, wording: Wording) -> Tensor:
        """Whether each image of the concept is nearest to its wording [n]."""
        images = self._subject.questions.embeddings(view)[self.rows(wording.concept)]
        classes = self._classes(wording)
        label = classes.index(wording.concept)
        if wording.template:
            texts = self._said_in(view, wording.template, classes)
        else:
            own = self._subject.views[view].embed_texts(wording.texts).mean(dim=0)
            texts = self.usual(view, classes).clone()
            texts[label] = normalize(own, dim=0)
        return (images @ texts.T).argmax(dim=1) == label

    def usual(self, view: str, classes: tuple[Concept, ...]) -> Tensor:
        """The class embeddings of some classes in the templates of the task [C, d]."""
        key = (view, classes)
        if key not in self._usual:
            templates = self._subject.task.templates
            made = self._subject.views[view].class_embeddings(classes, templates)
            self._usual[key] = made
        return self._usual[key]

    def _said_in(self, view: str, template: str, classes: tuple[Concept, ...]) -> Tensor:
        """The names of some classes in one template [C, d]."""
        key = (view, template, classes)
        if key not in self._in_template:
            texts = [template.replace("{}", concept.name) for concept in classes]
            self._in_template[key] = self._subject.views[view].embed_texts(texts)
        return self._in_template[key]

    def _classes(self, wording: Wording) -> tuple[Concept, ...]:
        every = self.level(wording.concept)
        return self.rivals if wording.template and every is self.leaves else every

    @property
    def rivals(self) -> tuple[Concept, ...]:
        """The leaves that are asked in every template: what is to be forgotten, and the `RIVALS`
        kept ones that any of its images likes best in any view. To leave the others out can only
        make a reading higher."""
        if self._rivals is None:
            forgotten = set(self._subject.task.request.forget_leaves)
            best = torch.full((len(self.leaves),), -torch.inf)
            for view in self._subject.views:
                texts = self.usual(view, self.leaves)
                scores = self._subject.questions.embeddings(view) @ texts.T
                behind = (scores - scores.amax(dim=1, keepdim=True)).amax(dim=0)
                best = torch.maximum(best, behind.cpu())
            kept = [i for i in best.argsort(descending=True).tolist()
                    if self.leaves[i] not in forgotten]  # fmt: skip
            near = {self.leaves[i] for i in kept[:RIVALS]}
            self._rivals = tuple(x for x in self.leaves if x in near or x in forgotten)
        return self._rivals
