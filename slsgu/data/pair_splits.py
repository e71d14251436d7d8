"""Three disjoint sets of records: of what is to be forgotten, and of what is kept.

Retain records are taken from the beginning of a source until every split has enough, so a long one
is not read to its end. The split of a record is decided by its content, as for class folders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from slsgu.data.labels import Labels
from slsgu.data.partition import SMALL_CLASS, SPLITS, by_count, by_rank, rank
from slsgu.data.records import PairSample, Record, Source
from slsgu.data.scan import some
from slsgu.data.splits import Limits, Splits
from slsgu.errors import DataError
from slsgu.measures import wilson
from slsgu.request import Request
from slsgu.taxonomy import Concept, Taxonomy

FEW = 5  # forget images below which a warning says what can be proved with them


def pair_splits(
    forget: Source,
    retain: Source | None,
    *,
    request: Request,
    limits: Limits,
    seed: int = 0,
    strict: bool = False,
    named: bool = True,
) -> Splits:
    """Gradient, search and test records.

    A picture that is both to be forgotten and to be kept is forgotten; so is left out what the
    retain set says of the concept in other pictures, also beside other things. Both are told.

    Args:
        forget: records of what is to be forgotten, whatever their captions say.
        retain: records of everything else; None if there are none.
        request: of one leaf.
        limits: of forget records, for each split; the retain totals of `Limits` for the others
            (the test split has the total of the search split).
        strict: refuse a source that holds anything that is no usable record.
        named: whether the leaf has a name that captions may use. If not, captions alone say what
            is in a picture.

    Raises:
        DataError: too few usable records.
    """
    (leaf,) = request.forget_leaves
    copies = 0
    gone = _Pool({split: limits.of(split) for split in SPLITS}, seed)
    for record, content in _read(forget):  # to its end: a picture further on is not kept either
        if not named and record.caption is None:
            forget.left_out.add(record.name, "there is neither a caption nor a name (--name)")
        elif content in gone.distinct:
            copies += 1
        else:
            gone.add(PairSample(leaf, record.caption, record.name, content, record.picture))
    samples = gone.divide()
    if samples is None:
        raise DataError(
            f"{len(gone.distinct)} different forget image(s); at least {len(SPLITS)} are needed "
            f"({', '.join(SPLITS)}){_why(forget)}"
        )
    both: list[str] = []
    said: list[str] = []
    notes = forget.left_out.notes("forget set")
    if retain is not None:
        totals = (limits.retain_gradient, limits.retain_search, limits.retain_search)
        pool = _Pool(dict(zip(SPLITS, totals, strict=True)), seed)
        labels = Labels(request.taxonomy)
        away: set[str] = set()  # pictures with several captions, one of which names the concept
        for record, content in _read(retain):
            found = labels.of(record) if named else None
            if content in gone.distinct:
                both.append(record.name)
            elif named and (found is leaf or leaf in labels.named(record)):
                said.append(record.name)
                away.add(content)
                if content in pool.distinct:
                    pool = pool.without(content)
            elif content in away:
                said.append(record.name)
            elif found is None and record.caption is None:
                retain.left_out.add(record.name, f"no class is called {record.label!r}")
            elif content in pool.distinct:
                copies += 1
            else:
                pool.add(PairSample(found, record.caption, record.name, content, record.picture))
            if pool.full:
                break
        kept = pool.divide()
        if kept is None:
            raise DataError(
                f"{len(pool.distinct)} different retain image(s); at least {len(SPLITS)} are "
                f"needed, besides the {len(both)} that are to be forgotten{_why(retain)}"
            )
        samples = {split: samples[split] + kept[split] for split in SPLITS}
        notes += retain.left_out.notes("retain set")
    if strict:
        for source in (forget, retain):
            if source is not None:
                source.left_out.refuse(str(source.describe()["root"]))
    if both:
        notes.append(
            f"{len(both)} image(s) stand in both sets, and are forgotten, not kept: {some(both, 3)}"
        )
    if said:
        notes.append(
            f"{len(said)} retain image(s) are of {leaf.name!r} by their label or caption, and "
            f"are not kept: {some(said, 3)}"
        )
    if copies:
        notes.append(f"{copies} record(s) repeat a picture of the same set; the first is used")
    if len(gone.distinct) < FEW:
        tested = sum(sample.leaf is leaf for sample in samples["test"])
        low, high = wilson(0, tested)
        notes.append(
            f"only {len(gone.distinct)} forget image(s): should none of the {tested} test image(s) "
            f"be recognised afterwards, the accuracy could still be {low:.0%} to {high:.0%} (95 %)"
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


def labelled_splits(
    source: Source,
    *,
    taxonomy: Taxonomy,
    request: Request | None,
    limits: Limits,
    seed: int = 0,
    strict: bool = False,
) -> Splits:
    """Gradient, search and test records of classes, in place of class folders: of those whose
    label, or caption, is one of the leaves.

    Args:
        request: what is to be forgotten; None treats every leaf as retained.

    Raises:
        DataError: too few usable records.
    """
    forget = frozenset(request.forget_leaves) if request is not None else frozenset()
    others = len(taxonomy.leaves) - len(forget)
    pools = {
        leaf: _Pool(
            {s: limits.of(s) if leaf in forget else limits.capped(s, others) for s in SPLITS}, seed
        )
        for leaf in taxonomy.leaves
    }
    labels = Labels(taxonomy)
    owner: dict[str, Concept] = {}  # a picture is of one class: what is to be forgotten wins
    for record, content in _read(source):
        leaf = labels.of(record)
        if leaf is None:
            source.left_out.add(record.name, "its label or caption names no one class")
            continue
        first = owner.setdefault(content, leaf)
        if first is not leaf and leaf in forget and first not in forget:
            pools[first] = pools[first].without(content)
            owner[content] = leaf
        elif first is not leaf or content in pools[leaf].distinct:
            continue
        pools[leaf].add(PairSample(leaf, None, record.name, content, record.picture))
        if all(pool.full for pool in pools.values()):
            break
    samples: dict[str, list[PairSample]] = {split: [] for split in SPLITS}
    notes = source.left_out.notes("data")
    few = []
    for leaf, pool in pools.items():
        found = pool.divide()
        if found is None and leaf in forget:
            raise DataError(
                f"{leaf.key!r} is to be forgotten but has {len(pool.distinct)} different image(s); "
                f"it needs at least {len(SPLITS)} ({', '.join(SPLITS)}){_why(source)}"
            )
        if found is None and pool.distinct:
            few.append(f"{leaf.key} ({len(pool.distinct)})")
        if found is None:
            continue
        for split in SPLITS:
            samples[split] += found[split]
    if strict:
        source.left_out.refuse("data")
    if few:
        notes.append(f"classes with too few different images to divide, left out: {some(few)}")
    others_found = any(pool.distinct for leaf, pool in pools.items() if leaf not in forget)
    alone = request is not None and not others_found and all(map(request.keeps_above, forget))
    if not alone and not any(sample.leaf not in forget for sample in samples["test"]):
        raise DataError(f"no image is left to keep: {'; '.join(notes) or 'add other classes'}")
    return Splits(
        gradient=tuple(samples["gradient"]),
        search=tuple(samples["search"]),
        test=tuple(samples["test"]),
        description={
            **source.describe(),
            "counts": {split: len(samples[split]) for split in SPLITS},
            "limits": {split: limits.of(split) for split in SPLITS},
            "seed": seed,
        },
        notes=tuple(notes),
    )


class _Pool:
    """The distinct samples of one kind, divided among the splits as they come.

    Args:
        bounds: the most samples of each split; None for all.
    """

    def __init__(self, bounds: Mapping[str, int | None], seed: int) -> None:
        self.bounds, self.seed = bounds, seed
        self.distinct: dict[str, PairSample] = {}
        self._members: dict[str, list[PairSample]] = {split: [] for split in SPLITS}

    def add(self, sample: PairSample) -> None:
        self.distinct[sample.fingerprint] = sample
        split = by_rank(rank(sample.fingerprint, self.seed), SPLITS)
        self._members[split].append(sample)

    @property
    def full(self) -> bool:
        """Whether no further sample would be used."""
        return len(self.distinct) > SMALL_CLASS and all(
            limit is not None and len(self._members[split]) >= limit
            for split, limit in self.bounds.items()
        )

    def without(self, content: str) -> _Pool:
        """The same pool without one picture."""
        rest = _Pool(self.bounds, self.seed)
        for sample in self.distinct.values():
            if sample.fingerprint != content:
                rest.add(sample)
        return rest

    def divide(self) -> dict[str, list[PairSample]] | None:
        """The samples of each split; None where there are too few to give every split one."""
        members = self._members
        if len(self.distinct) < len(SPLITS):
            return None
        if len(self.distinct) <= SMALL_CLASS or not all(members.values()):
            ranked = sorted(
                self.distinct.values(), key=lambda sample: rank(sample.fingerprint, self.seed)
            )
            sizes = by_count(len(ranked), SPLITS)
            ends = list(itertools.accumulate(sizes.values()))
            members = {
                split: ranked[end - size : end]
                for (split, size), end in zip(sizes.items(), ends, strict=True)
            }
        return {split: members[split][: self.bounds[split]] for split in SPLITS}


def _read(source: Source) -> Iterator[tuple[Record, str]]:
    """Records with the hash of their content; one that can not be read is left out."""
    for record in source.records():
        try:
            yield record, record.picture.fingerprint()
        except OSError as error:
            source.left_out.add(record.name, f"the image can not be read ({error.strerror})")


def _why(source: Source) -> str:
    notes = source.left_out.notes("left out")
    return f": {'; '.join(notes)}" if notes else ""
