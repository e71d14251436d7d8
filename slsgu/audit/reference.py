"""The never-knew reference from concepts that the model does not know.

A few photographs find again what a model was never taught, nearly as well as what it was. So
probes of images are read on concepts that the model does not know and on others that it does, in
one pool of classes, and the share of the two is what never to have known is worth: the reference of
a reading is that share of what it was before the edit.

Protocol: up to `PER_CLASS` images of each class, divided by the seed into `FOLDS` parts; each part
is asked in turn, and the others (up to 20) are the examples. Probes and settings are those of
prototypes, the linear probe at every point, and retrieval by image. For names, images of an unknown
concept are asked for its name among all names of the setting (the leaves of the task's taxonomy, or
those and many others) and its own; images of a known one among the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slsgu.audit import linear as linear_probe
from slsgu.audit import prototypes as prototype_probe
from slsgu.audit import retrieval as retrieval_probe
from slsgu.audit import weights as weight_probe
from slsgu.audit import words as word_probe
from slsgu.audit.pool import Pool
from slsgu.audit.probe import ProbeReading
from slsgu.audit.prototypes import SHOTS, draw, share_right
from slsgu.audit.subject import MOST_EXAMPLES, Images, Subject, see
from slsgu.audit.unknown_names import by_name
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.data.splits.test_only import images_of
from slsgu.errors import DataError
from slsgu.task.find import find_taxonomy
from slsgu.utils.files import json_sha256
from slsgu.utils.wording import some

if TYPE_CHECKING:
    from slsgu.task.task import Task

PER_CLASS = 24
FOLDS = 6
FEWEST = 5  # images in all for the known and the unknown alike, and two of a class


Shares = dict[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Unknown:
    """Concepts that a model does not know, beside some that it does.

    Attributes:
        unknown, known: images of each, with their classes.
        title: what they are called, in words.
    """

    unknown: tuple[Sample, ...]
    known: tuple[Sample, ...]
    title: str
    _shares: Shares = field(default_factory=dict, repr=False)

    @classmethod
    def find(cls, task: Task, unknown: str, known: str | None = None) -> Unknown:
        """Look up the images.

        Args:
            task: what the audit is of.
            unknown: class folders, shards or a table of concepts that the model does not know.
            known: the same of leaves of the task's taxonomy; None takes the task's own images of
                what is kept. As like the unknown as can be is best: the same source, say.

        Raises:
            DataError: one of them cannot be used, there are too few images, or the task's
                taxonomy has one of the unknown.
        """
        strangers = find_taxonomy(None, unknown)
        known_names = [x.name for x in strangers.leaves if task.taxonomy.leaf_of_folder(x.name)]
        if known_names:
            raise DataError(
                f"{unknown} is to hold concepts that the model does not know, and the taxonomy has "
                f"{some(known_names)}: give others, or leave these out"
            )
        images = _images(unknown, strangers, strangers.leaves, task)
        kept = set(task.request.retain_leaves)
        if known is None:
            others = [
                x for x in (*task.splits.gradient, *task.splits.test) if x.leaf in kept
            ]  # fmt: skip
        else:
            others = _images(known, task.taxonomy, task.taxonomy.leaves, task)
            others = [x for x in others if x.leaf in kept]
        new, old = _enough(images, unknown), _enough(others, known or "the data")
        counts = [len({x.leaf for x in part}) for part in (new, old)]
        title = (
            f"{counts[0]} concepts that the model does not know, beside {counts[1]} that it does"
        )
        return cls(new, old, title)

    @property
    def sha256(self) -> str:
        """Of the images."""
        return json_sha256([
            [[x.leaf.key if x.leaf else None, x.fingerprint] for x in part]
            for part in (self.unknown, self.known)
        ])  # fmt: skip

    def applied(self, reading: ProbeReading, subject: Subject) -> ProbeReading:
        """A reading with its reference, where these concepts give one."""
        if reading.kind != "find" or reading.before is None:
            return reading
        if not self._shares:
            self._shares.update(self._measure(subject))
        key = _key(reading, groups=any(not x.is_leaf for x in subject.task.request.concepts))
        if key not in self._shares:
            return reading
        unknown, known = self._shares[key]
        never = min(1.0, reading.before * unknown / known) if known else None
        pool = {"unknown": unknown, "known": known}
        return replace(reading, never_knew=never, extra={**reading.extra, "pool": pool})

    def _measure(self, subject: Subject) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
        """What each probe reads of the unknown and of the known, by its name and setting."""
        task = subject.task
        images = see(
            {"before": subject.views["before"]},
            (*self.unknown, *self.known),
            split="reference",
            ledger=Ledger(),
            reading=task.reading,
            progress=subject.progress,
        )
        strangers = {x.leaf for x in self.unknown}
        new = torch.tensor([x.leaf in strangers for x in images.samples])

        def shares(correct: Tensor) -> tuple[float, float]:
            return float(correct[new].mean()), float(correct[~new].mean())

        for name, setting, correct in _readings(images, task.seed):
            yield (name, setting), shares(correct)
        for setting, found in by_name(images, subject.views["before"], task):
            yield (word_probe.NAME, setting), shares(found)


def _key(reading: ProbeReading, *, groups: bool) -> tuple[str, str]:
    """Which reading of the unknown concepts stands for one of an audit: for every other word and
    for changed weights, that of the name.

    Args:
        groups: whether a group is to be forgotten. An unknown concept says nothing of the levels
            above it, so that words of the group itself have no reference.
    """
    if reading.probe == word_probe.NAME and not reading.setting.startswith(word_probe.AMONG):
        own = groups and not reading.setting.startswith(word_probe.LEAVES)
        return (word_probe.NAME, "a group" if own else word_probe.BY_NAME)
    if reading.probe == weight_probe.NAME:
        return (word_probe.NAME, word_probe.BY_NAME)
    return (reading.probe, reading.setting)


def _images(source: str, taxonomy: Taxonomy, leaves: Sequence[Concept], task: Task) -> list[Sample]:
    found = images_of(
        source,
        taxonomy,
        leaves,
        limit=PER_CLASS,
        seed=task.seed,
        excluded=task.excluded,
        strict=task.data.strict,
    )
    return list(found.samples)


def _enough(samples: Sequence[Sample], source: str) -> tuple[Sample, ...]:
    """Images of classes that have two or more, at most `PER_CLASS` of each."""
    members: dict[Concept, list[Sample]] = {}
    for sample in samples:
        if sample.leaf is not None:
            members.setdefault(sample.leaf, []).append(sample)
    chosen = [x for own in members.values() if len(own) > 1 for x in own[:PER_CLASS]]
    if len(chosen) < FEWEST:
        raise DataError(
            f"{source} has {len(chosen)} usable images for a reference; it needs at least "
            f"{FEWEST}, two or more of a class"
        )
    return tuple(chosen)


def _readings(images: Images, seed: int) -> Iterator[tuple[str, str, Tensor]]:
    """Probe, setting, and how often each image is given its own class [N]."""
    folds = _folds(images.samples, seed)
    points = images.points["before"]
    for shots in SHOTS:
        correct = _over(images, folds, lambda own, asked, pool: _prototypes(
            own, asked, pool, shots, seed  # noqa: B023
        ))  # fmt: skip
        if correct is not None:
            yield prototype_probe.NAME, prototype_probe.setting(shots), correct
    for point in points:
        correct = _over(images, folds, lambda own, asked, pool: _linear(
            own, asked, pool, point  # noqa: B023
        ))  # fmt: skip
        if correct is not None:
            yield linear_probe.NAME, point, correct
    similar = images.before @ images.before.T
    similar.fill_diagonal_(-torch.inf)
    leaves, device = [x.leaf for x in images.samples], similar.device
    for what, measure in (
        ("recall", retrieval_probe.recall),
        (f"precision of the first {retrieval_probe.FIRST}", retrieval_probe.precision),
    ):
        values = [
            float(measure(similar[i][None], torch.tensor([x is leaf for x in leaves]).to(device)))
            for i, leaf in enumerate(leaves)
        ]
        yield retrieval_probe.NAME, f"{retrieval_probe.BY_IMAGE}, {what}", torch.tensor(values)


def _folds(samples: Sequence[Sample], seed: int) -> Tensor:
    """Which fold each image is asked in [N], even within every class."""
    generator = torch.Generator().manual_seed(seed)
    members: dict[Concept | None, list[int]] = {}
    for index, sample in enumerate(samples):
        members.setdefault(sample.leaf, []).append(index)
    folds = torch.empty(len(samples), dtype=torch.long)
    for own in members.values():
        order = torch.randperm(len(own), generator=generator)
        folds[own] = order % min(FOLDS, len(own))
    return folds


def _over(
    images: Images, folds: Tensor, answer: Callable[[Images, Images, Pool], Tensor | None]
) -> Tensor | None:
    """What a probe answers in every fold, put together [N]; None where it cannot in one."""
    correct = torch.empty(len(images.samples))
    for fold in range(int(folds.max()) + 1):
        rows = torch.nonzero(folds == fold)[:, 0].tolist()
        counts: dict[Concept | None, int] = {}
        own = []
        for index in torch.nonzero(folds != fold)[:, 0].tolist():
            leaf = images.samples[index].leaf
            counts[leaf] = counts.get(leaf, 0) + 1
            if counts[leaf] <= MOST_EXAMPLES:
                own.append(index)
        examples, asked = images.chosen(own), images.chosen(rows)
        answers = answer(examples, asked, Pool.from_samples(examples.samples, asked.samples))
        if answers is None:
            return None
        correct[rows] = answers.float().cpu()
    return correct


def _prototypes(
    examples: Images, asked: Images, pool: Pool, shots: int, seed: int
) -> Tensor | None:
    if pool.why_not(shots):
        return None
    drawn = draw(pool.places, shots, seed)
    return share_right(pool, examples.before, drawn, asked.before)


def _linear(examples: Images, asked: Images, pool: Pool, point: str) -> Tensor | None:
    if pool.why_not(linear_probe.FEWEST):
        return None
    return linear_probe.right(examples.points["before"][point], asked.points["before"][point], pool)
