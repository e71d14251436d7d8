"""Three disjoint sets of records: of what is to be forgotten, and of what is kept.

Retain records are taken from the beginning of a source until every split has enough, so a long one
is not read to its end. The split of a record is decided by its content, as for class folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slsgu.data.partition import SMALL_CLASS, SPLITS, by_count, by_rank, rank
from slsgu.data.records import PairSample, Record, Source
from slsgu.data.scan import some
from slsgu.data.splits import Limits, Splits
from slsgu.errors import ConceptError, DataError
from slsgu.measures import wilson
from slsgu.request import Request
from slsgu.taxonomy import Concept, Taxonomy, normalise

FEW = 5  # forget images below which a warning says what can be proved with them


def pair_splits(
    forget: Source,
    retain: Source | None,
    *,
    request: Request,
    limits: Limits,
    seed: int = 0,
    strict: bool = False,
) -> Splits:
    """Gradient, search and test records.

    A picture that is both to be forgotten and to be kept is forgotten; so is left out what the
    retain set says of the concept in other pictures. Both are told.

    Args:
        forget: records of what is to be forgotten, whatever their captions say.
        retain: records of everything else; None if there are none.
        request: of one leaf.
        limits: of forget records, for each split; the retain totals of `Limits` for the others
            (the test split has the total of the search split).
        strict: refuse a source that holds anything that is no usable record.

    Raises:
        DataError: too few usable records.
    """
    (leaf,) = request.forget_leaves
    gone = _take(
        forget,
        {split: limits.of(split) for split in SPLITS},
        seed,
        lambda record, content: PairSample(
            leaf, record.caption, record.name, content, record.picture
        ),
        whole=True,  # a picture of it further on must not be kept either
    )
    if gone.samples is None:
        raise DataError(
            f"{gone.count} different forget image(s); at least {len(SPLITS)} are needed "
            f"({', '.join(SPLITS)}){_why(forget)}"
        )
    totals = {
        "gradient": limits.retain_gradient,
        "search": limits.retain_search,
        "test": limits.retain_search,
    }
    labels = Labels(request.taxonomy)
    both: list[str] = []
    named: list[str] = []

    def keep(record: Record, content: str) -> PairSample | None:
        assert retain is not None
        found = labels.of(record)
        if content in gone.contents:
            both.append(record.name)
        elif found is leaf:
            named.append(record.name)
        elif found is None and record.caption is None:
            retain.left_out.add(record.name, f"no class is called {record.label!r}")
        else:
            return PairSample(found, record.caption, record.name, content, record.picture)
        return None

    notes = forget.left_out.notes("forget set")
    samples = gone.samples
    if retain is not None:
        kept = _take(retain, totals, seed, keep)
        if kept.samples is None:
            raise DataError(
                f"{kept.count} different retain image(s); at least {len(SPLITS)} are needed"
                f"{_why(retain)}"
            )
        samples = {split: samples[split] + kept.samples[split] for split in SPLITS}
        notes += retain.left_out.notes("retain set")
    if strict:
        for source in (forget, retain):
            if source is not None:
                source.left_out.refuse(str(source.describe()["root"]))
    if both:
        notes.append(
            f"{len(both)} image(s) stand in both sets, and are forgotten, not kept: {some(both, 3)}"
        )
    if named:
        notes.append(
            f"{len(named)} retain image(s) are of {leaf.name!r} by their label or caption, and "
            f"are not kept: {some(named, 3)}"
        )
    tested = len(gone.samples["test"])
    if gone.count < FEW:
        low, high = wilson(0, tested)
        notes.append(
            f"only {gone.count} forget image(s): should none of the {tested} test image(s) be "
            f"recognised afterwards, the accuracy could still be {low:.0%} to {high:.0%} (95 %)"
        )
    description = {
        "kind": "pairs",
        "forget": forget.describe(),
        "retain": None if retain is None else retain.describe(),
        "counts": {split: len(samples[split]) for split in SPLITS},
        "limits": {split: limits.of(split) for split in SPLITS},
        "seed": seed,
    }
    return Splits(
        gradient=tuple(samples["gradient"]),
        search=tuple(samples["search"]),
        test=tuple(samples["test"]),
        description=description,
        notes=tuple(notes),
    )


class Labels:
    """Which leaf a record is of: by its label, or by the one leaf that its caption names."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._words: dict[str, Concept | None] = {}
        for leaf in taxonomy.leaves:
            for word in {normalise(w) for w in (leaf.name, *leaf.aliases, leaf.plural) if w}:
                self._words[word] = None if word in self._words else leaf  # several: says nothing
        self._longest = max((len(word.split()) for word in self._words), default=0)

    def of(self, record: Record) -> Concept | None:
        if record.label is not None:
            try:
                return self._taxonomy.leaf_of_index(record.label) or self._taxonomy.leaf_of_folder(
                    record.label
                )
            except ConceptError:
                return None
        return None if record.caption is None else self._named(record.caption)

    def _named(self, caption: str) -> Concept | None:
        words = re.findall(r"[^\W_]+(?:['’][^\W_]+)?", normalise(caption))
        found: dict[Concept, None] = {}
        start = 0
        while start < len(words):
            for end in range(min(len(words), start + self._longest), start, -1):
                leaf = self._words.get(" ".join(words[start:end]))
                if leaf is not None:
                    found[leaf] = None
                    start = end - 1  # "golden retriever" does not also name a retriever
                    break
            start += 1
        return next(iter(found)) if len(found) == 1 else None


@dataclass(frozen=True)
class _Taken:
    """Samples by split (None: too few to give every split one), what they hold, how many."""

    samples: dict[str, list[PairSample]] | None
    contents: frozenset[str]
    count: int


def _take(
    source: Source,
    bounds: Mapping[str, int | None],
    seed: int,
    make: Callable[[Record, str], PairSample | None],
    *,
    whole: bool = False,
) -> _Taken:
    """The distinct records of a source by split, in the order in which they stand there."""
    members: dict[str, list[PairSample]] = {split: [] for split in SPLITS}
    distinct: dict[str, PairSample] = {}
    for record in source.records():
        if (
            not whole
            and len(distinct) > SMALL_CLASS
            and all(
                limit is not None and len(members[split]) >= limit
                for split, limit in bounds.items()
            )
        ):
            break
        try:
            content = record.picture.fingerprint()
        except OSError as error:
            source.left_out.add(record.name, f"the image can not be read ({error.strerror})")
            continue
        if content in distinct or (sample := make(record, content)) is None:
            continue
        distinct[content] = sample
        members[by_rank(rank(content, seed), SPLITS)].append(sample)
    if len(distinct) < len(SPLITS):
        return _Taken(None, frozenset(distinct), len(distinct))
    if len(distinct) <= SMALL_CLASS or not all(members.values()):
        ranked = sorted(distinct.values(), key=lambda sample: rank(sample.fingerprint, seed))
        start = 0
        for split, size in by_count(len(ranked), SPLITS).items():
            members[split] = ranked[start : start + size]
            start += size
    chosen = {split: members[split][: bounds[split]] for split in SPLITS}
    return _Taken(chosen, frozenset(distinct), len(distinct))


def _why(source: Source) -> str:
    notes = source.left_out.notes("left out")
    return f": {'; '.join(notes)}" if notes else ""
