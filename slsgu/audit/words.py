"""Other words: is the concept found by another name, another sentence, or a misspelling?

Protocol: the classes are all leaves of the taxonomy, each with its class embedding (the task's
templates), but that the leaf in question is called otherwise: by its bare name, an alias, its
plural or its definition (in the same templates, the definition as it stands), by the name in each
of OpenAI's 80 templates alone, or by a misspelling of the name (a letter left out, two swapped, one
doubled, at a third, a half and two thirds of it). An image counts if that wording is the nearest.
Every wording is asked on the test images of its own leaf. Of templates and misspellings the mean
is given, and the one that finds most after the patch. Last, the name stands among many others: the
leaves of the taxonomy and of ImageNet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.prompts import prompts_for
from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.concepts.templates import load_templates

NAME = "other words"
BY_NAME = "name"
FIRST = 5


@dataclass(frozen=True)
class Wording:
    """Another way to say a leaf: what it is called, and the sentences to say it in."""

    leaf: Concept
    setting: str
    texts: tuple[str, ...]


def words(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy under every wording, then among many names."""
    request, templates = subject.task.request, subject.task.templates
    if not subject.questions.samples:
        yield ProbeReading(NAME, BY_NAME, note="there is no test image of what was to be forgotten")
        return
    asked = {sample.leaf for sample in subject.questions.samples}
    leaves = [leaf for leaf in request.forget_leaves if leaf in asked]
    asking = _Asking(subject)
    yield asking.reading(BY_NAME, [Wording(x, BY_NAME, prompts_for(x, templates)) for x in leaves])
    groups: dict[str, list[Wording]] = {}
    for leaf in leaves:
        for wording in other_wordings(leaf, templates):
            groups.setdefault(wording.setting, []).append(wording)
    for setting, wordings in groups.items():
        yield asking.reading(setting, wordings)
    for what, make in (("template", in_templates), ("misspelling", misspelt)):
        # One list for each leaf; number i of all lists is asked at once.
        lists = [make(leaf, templates) for leaf in leaves]
        sets = [[x[i] for x in lists if i < len(x)] for i in range(max(map(len, lists), default=0))]
        if sets:
            yield from asking.mean_and_worst(what, sets)
    yield from among_many(subject, asking)


def other_wordings(leaf: Concept, templates: Sequence[str]) -> Iterator[Wording]:
    """The bare name, aliases, plural and definition of a leaf, as far as it has them."""

    def filled(text: str) -> tuple[str, ...]:
        return tuple(template.replace("{}", text) for template in templates)

    yield Wording(leaf, "bare name", (leaf.name,))
    for alias in leaf.aliases:
        yield Wording(leaf, f"alias: {alias}", filled(alias))
    if leaf.plural:
        yield Wording(leaf, "plural", filled(leaf.plural))
    if leaf.definition:
        yield Wording(leaf, "definition", (leaf.definition,))


def in_templates(leaf: Concept, templates: Sequence[str]) -> list[Wording]:
    """The name in each of OpenAI's templates for ImageNet that is not among the task's."""
    others = load_templates("openai", Taxonomy([Concept("a", None), Concept("b", None)]))
    return [Wording(leaf, t, (t.replace("{}", leaf.name),)) for t in others if t not in templates]


def misspelt(leaf: Concept, templates: Sequence[str]) -> list[Wording]:
    """The name with a slip.

    >>> [x.setting for x in misspelt(Concept("beagle", None), ["a {}"])][:3]
    ['begle', 'beale', 'beage']
    """
    name = leaf.name
    spots = sorted({max(1, round(len(name) * part)) for part in (1 / 3, 1 / 2, 2 / 3)})
    slips = [name[:i] + name[i + 1 :] for i in spots]
    slips += [name[:i] + name[i : i + 2][::-1] + name[i + 2 :] for i in spots]
    slips += [name[:i] + name[i : i + 1] + name[i:] for i in spots]
    slips = [x for x in dict.fromkeys(slips) if x != name]
    return [Wording(leaf, x, tuple(t.replace("{}", x) for t in templates)) for x in slips]


class _Asking:
    """Asks the test images of every forgotten leaf, with one class called otherwise."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.classes = subject.task.taxonomy.leaves
        self._usual: dict[str, Tensor] = {}
        self._rows = {
            leaf: [i for i, x in enumerate(subject.questions.samples) if x.leaf is leaf]
            for leaf in subject.task.request.forget_leaves
        }

    def reading(self, setting: str, wordings: Sequence[Wording]) -> ProbeReading:
        count = sum(len(self._rows[wording.leaf]) for wording in wordings)
        empty = ProbeReading(NAME, setting, count, 1 / len(self.classes))
        return readings_of(self._subject, empty, lambda view: self.accuracy(view, wordings))

    def mean_and_worst(
        self, what: str, sets: Sequence[Sequence[Wording]]
    ) -> Iterator[ProbeReading]:
        """The mean over wordings, and the one that finds most after the patch."""
        found = [self.reading(wordings[0].setting, wordings) for wordings in sets]
        views = [x for x in ("before", "after", "never_knew") if getattr(found[0], x) is not None]
        mean = {x: sum(getattr(reading, x) for reading in found) / len(found) for x in views}
        yield replace(found[0], setting=f"{what}s, mean of {len(found)}", **mean)
        worst = max(found, key=lambda x: (x.after or 0.0, x.before or 0.0))
        yield replace(worst, setting=f"worst {what}: {worst.setting}")

    def accuracy(self, view: str, wordings: Sequence[Wording]) -> float:
        """The share of the images of all wordings' leaves that are nearest to their wording."""
        images = self._subject.questions.embeddings(view)
        correct = total = 0
        for wording in wordings:
            rows = self._rows[wording.leaf]
            label = self.classes.index(wording.leaf)
            texts = self.usual(view).clone()
            texts[label] = _mean(self._subject.views[view].embed_texts(wording.texts))
            correct += int(((images[rows] @ texts.T).argmax(dim=1) == label).sum())
            total += len(rows)
        return correct / total

    def usual(self, view: str) -> Tensor:
        """The class embeddings of all leaves [C, d]."""
        if view not in self._usual:
            templates = self._subject.task.templates
            made = self._subject.views[view].class_embeddings(self.classes, templates)
            self._usual[view] = made
        return self._usual[view]


def among_many(subject: Subject, asking: _Asking) -> Iterator[ProbeReading]:
    """The true name among many: first, among the first five, and its median rank."""
    names = [leaf.name for leaf in asking.classes]
    known = {
        normalise(w)
        for x in subject.task.taxonomy.concepts
        for w in (x.name, *x.aliases, x.plural)
        if w
    }
    others = [x for x in Taxonomy.load("imagenet").leaves if normalise(x.name) not in known]
    template = subject.task.templates[0]
    texts = [template.replace("{}", name) for name in [*names, *(x.name for x in others)]]
    labels = torch.tensor(
        [asking.classes.index(x.leaf) for x in subject.questions.samples if x.leaf]
    )
    ranks: dict[str, Tensor] = {}

    def rank(view: str) -> Tensor:
        if view not in ranks:
            scores = subject.questions.embeddings(view) @ subject.views[view].embed_texts(texts).T
            own = scores.gather(1, labels[:, None].to(scores.device))
            ranks[view] = 1 + (scores > own).sum(dim=1)
        return ranks[view]

    def within(first: int) -> Callable[[str], float]:
        return lambda view: float((rank(view) <= first).double().mean())

    for first, setting in ((1, "first"), (FIRST, f"in the first {FIRST}")):
        empty = ProbeReading(
            NAME, f"name {setting} of {len(texts)} names", len(labels), first / len(texts)
        )
        reading = readings_of(subject, empty, within(first))
        medians = {view: float(values.double().quantile(0.5)) for view, values in ranks.items()}
        told = ", ".join(f"{view} {value:g}" for view, value in medians.items())
        yield replace(reading, note=f"median rank: {told}", extra={"median_rank": medians})


def _mean(embeddings: Tensor) -> Tensor:
    return torch.nn.functional.normalize(embeddings.mean(dim=0), dim=0)
