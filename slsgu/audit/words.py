"""Other words: is the concept found by another name, another sentence, or a misspelling?

Protocol: the classes are those of the concept's level of the taxonomy (all leaves, for a leaf),
each with its class embedding (the task's templates). For a template, all of them are said in it
alike (the leaves to be forgotten and at most `RIVALS` others): the bare name, and OpenAI's 80. For
another word, the concept in question alone is called otherwise: by an alias, its plural or its
definition (in the task's templates, the definition as it stands), or by a misspelling of the name
(a letter left out, two swapped, one doubled, at a third, a half and two thirds of it). An image
counts if that wording is the nearest. Every wording is asked on the test images of its own concept.
A group is asked for by its own words, and then for its leaves by theirs. Of templates and
misspellings the mean is given, and the measurable one that finds most after the patch; one that
found nothing before and finds more than half after it is given besides. Last, the names of leaves
stand among many others: the leaves of the taxonomy and of ImageNet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from slsgu.audit.asking import Asking, Wording
from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Subject
from slsgu.concepts.prompts import prompts_for
from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.concepts.templates import load_templates

NAME = "other words"
BY_NAME = "name"
LEAVES = "leaves: "  # before the settings of the leaves of a group
LEAF_NAMES = LEAVES + BY_NAME
AMONG = "name "  # before the settings where it stands among many
FIRST = 5


def words(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy under every wording, then among many names."""
    request, templates = subject.task.request, subject.task.templates
    if not subject.questions.samples:
        yield ProbeReading(NAME, BY_NAME, note="there is no test image of what was to be forgotten")
        return
    asking = Asking(subject)
    leaves = [leaf for leaf in request.forget_leaves if asking.rows(leaf)]
    asked = [x for x in request.concepts if asking.rows(x) and len(asking.level(x)) > 1]
    groups = [concept for concept in asked if not concept.is_leaf]
    yield from _each(asking, asked or leaves, templates, "")
    if groups:
        yield from _each(asking, leaves, templates, LEAVES)
    prefix = LEAVES if groups else ""
    in_each = [[Wording(x, t, template=t) for x in leaves] for t in other_templates(templates)]
    yield from asking.mean_and_worst(NAME, "template", in_each, prefix=prefix)
    slips = [[wording] for leaf in leaves for wording in misspelt(leaf, templates)]
    if slips:
        yield from asking.mean_and_worst(NAME, "misspelling", slips, prefix=prefix)
    yield from among_many(subject)


def _each(
    asking: Asking, concepts: Sequence[Concept], templates: Sequence[str], prefix: str
) -> Iterator[ProbeReading]:
    """By the names of concepts, and by what else each is called."""
    names = [Wording(x, BY_NAME, prompts_for(x, templates)) for x in concepts]
    yield asking.reading(NAME, prefix + BY_NAME, names)
    settings: dict[str, list[Wording]] = {}
    for concept in concepts:
        for wording in other_wordings(concept, templates):
            settings.setdefault(wording.setting, []).append(wording)
    for setting, wordings in settings.items():
        yield asking.reading(NAME, prefix + setting, wordings)


def other_wordings(concept: Concept, templates: Sequence[str]) -> Iterator[Wording]:
    """The bare name, aliases, plural and definition of a concept, as far as it has them."""

    def filled(text: str) -> tuple[str, ...]:
        return tuple(template.replace("{}", text) for template in templates)

    yield Wording(concept, "bare name", template="{}")
    for alias in concept.aliases:
        yield Wording(concept, f"alias: {alias}", filled(alias))
    if concept.plural:
        yield Wording(concept, "plural", filled(concept.plural))
    if concept.definition:
        yield Wording(concept, "definition", (concept.definition,))


def other_templates(templates: Sequence[str]) -> list[str]:
    """OpenAI's templates for ImageNet that are not among the task's."""
    others = load_templates("openai", Taxonomy([Concept("a", None), Concept("b", None)]))
    return [template for template in others if template not in templates]


def misspelt(leaf: Concept, templates: Sequence[str]) -> list[Wording]:
    """The name with a slip.

    >>> [x.setting for x in misspelt(Concept("beagle", None), ["a {}"])][:2]
    ['begle (for beagle)', 'beale (for beagle)']
    """
    name = leaf.name
    spots = sorted({max(1, round(len(name) * part)) for part in (1 / 3, 1 / 2, 2 / 3)})
    slips = [name[:i] + name[i + 1 :] for i in spots]
    slips += [name[:i] + name[i : i + 2][::-1] + name[i + 2 :] for i in spots]
    slips += [name[:i] + name[i : i + 1] + name[i:] for i in spots]
    return [
        Wording(leaf, f"{x} (for {name})", tuple(t.replace("{}", x) for t in templates))
        for x in dict.fromkeys(slips)
        if x != name
    ]


def many_names(taxonomy: Taxonomy) -> list[str]:
    """The leaves of a taxonomy, and those of ImageNet that it does not call anything."""
    known = {normalise(w) for x in taxonomy.concepts for w in (x.name, *x.aliases, x.plural) if w}
    others = (x.name for x in Taxonomy.load("imagenet").leaves if normalise(x.name) not in known)
    return [*(leaf.name for leaf in taxonomy.leaves), *others]


def among(setting: str, count: int) -> str:
    """What the name among many is called."""
    return f"{AMONG}{setting} of {count} names"


FIRSTS = ((1, "first"), (FIRST, f"in the first {FIRST}"))


def among_many(subject: Subject) -> Iterator[ProbeReading]:
    """The true name among many: first, among the first five, and its median rank."""
    task, questions = subject.task, subject.questions
    texts = [task.templates[0].replace("{}", name) for name in many_names(task.taxonomy)]
    leaves = task.taxonomy.leaves
    labels = torch.tensor([leaves.index(x.leaf) for x in questions.samples if x.leaf])
    ranks: dict[str, Tensor] = {}

    def rank(view: str) -> Tensor:
        if view not in ranks:
            scores = questions.embeddings(view) @ subject.views[view].embed_texts(texts).T
            own = scores.gather(1, labels[:, None].to(scores.device))
            ranks[view] = 1 + (scores > own).sum(dim=1)
        return ranks[view]

    def within(first: int) -> Callable[[str], Tensor]:
        return lambda view: rank(view) <= first

    for first, setting in FIRSTS:
        empty = ProbeReading(NAME, among(setting, len(texts)), len(labels), first / len(texts))
        reading = readings_of(subject, empty, within(first))
        medians = {view: float(values.double().quantile(0.5)) for view, values in ranks.items()}
        told = ", ".join(f"{view} {value:g}" for view, value in medians.items())
        yield replace(reading, note=f"median rank: {told}", extra={"median_rank": medians})
