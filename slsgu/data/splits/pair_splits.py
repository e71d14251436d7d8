"""Three disjoint sets of records: of what is to be forgotten, and of what is kept.

Retain records are taken from the beginning of a source until every split has enough, so a long one
is not read to its end. The split of a record is decided by its content, as for class folders.
"""

from __future__ import annotations

import io
from collections.abc import Set as AbstractSet

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, normalise
from slsgu.data.sources.records import LeftOut, PairSample, Record, RecordSource, content_of
from slsgu.data.splits.exclusions import BOTH, COPY, TWO, because, readable
from slsgu.data.splits.labels import Labels
from slsgu.data.splits.partition import SPLITS
from slsgu.data.splits.pool import Pool
from slsgu.data.splits.splits import Limits, Splits, few_forget
from slsgu.errors import DataError


def pair_splits(
    forget: RecordSource,
    retain: RecordSource | None,
    *,
    request: Request,
    limits: Limits,
    seed: int = 0,
    strict: bool = False,
) -> Splits:
    """Gradient, search and test records.

    A picture that is both to be forgotten and to be kept is forgotten. Not kept either is what the
    retain set has of the concept in other pictures, by label or caption, also beside other things;
    of a concept without a name, what has a caption of the forget set; nor a picture that stands
    under two classes. All of it is told.

    Args:
        forget: records of what is to be forgotten, whatever their captions say.
        retain: records of everything else; None if there are none.
        request: of one leaf. If it has no name, captions alone say what is in a picture.
        limits: of forget records, for each split; the retain totals of `Limits` for the others
            (the test split has the total of the search split).
        strict: refuse a source that holds anything that is no usable record.

    Raises:
        DataError: too few usable records.
    """
    (leaf,) = request.forget_leaves
    copies = LeftOut()
    met = set[str]()  # by content: what is left out of the forget set is not kept either
    gone = Pool({split: limits.of(split) for split in SPLITS}, seed)
    for record, data in readable(forget):  # to its end: a picture further on is not kept either
        content = content_of(data)
        met.add(content)
        if not request.named and record.caption is None:
            forget.left_out.add(record.name, "there is neither a caption nor a name (--name)")
        elif content in gone.distinct:
            copies.add(record.name, COPY)
        else:
            gone.add(_sample(leaf, record, content, data))
    samples = gone.divide()
    if samples is None:
        raise DataError(
            f"{len(gone.distinct)} different forget image(s); at least {len(SPLITS)} are needed "
            f"({', '.join(SPLITS)}){because(forget.left_out)}"
        )
    reserved: list[PairSample] = []
    notes = forget.left_out.notes("forget set")
    left_out = [*forget.left_out.entries("forget"), *copies.entries("forget")]
    if retain is not None:
        totals = (limits.retain_gradient, limits.retain_search, limits.retain_search)
        pool = Pool(dict(zip(SPLITS, totals, strict=True)), seed)
        said = {normalise(sample.caption or "") for sample in gone.distinct.values()} - {""}
        named_by = Labels(request.taxonomy) if request.named else None
        away = _not_kept(retain, pool, leaf, met=met, said=said, labels=named_by)
        kept = pool.divide()
        if kept is None:
            raise DataError(
                f"{len(pool.distinct)} different retain image(s) to keep; at least {len(SPLITS)} "
                f"are needed{because(retain.left_out, away)}"
            )
        sizes = {sample.sides for split in SPLITS for sample in kept[split]}
        reserved = [sample for sample in gone.distinct.values() if sample.sides in sizes]
        samples = {split: samples[split] + kept[split] for split in SPLITS}
        notes += [*retain.left_out.notes("retain set"), *away.notes("retain set")]
        left_out += [*retain.left_out.entries("retain"), *away.entries("retain")]
    if strict:
        for source in (forget, retain):
            if source is not None:
                source.left_out.refuse(str(source.describe()["root"]))
    notes += copies.notes("forget set")
    notes += few_forget(samples, {leaf})
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
        left_out=tuple(left_out),
        reserved=tuple(reserved),
        forgotten=frozenset(met),
    )


def _not_kept(
    retain: RecordSource,
    pool: Pool,
    leaf: Concept,
    *,
    met: AbstractSet[str],
    said: AbstractSet[str],
    labels: Labels | None,
) -> LeftOut:
    """Fill a pool with what is to be kept; returns what is not, and why.

    Args:
        leaf: what is to be forgotten.
        met: the pictures of the forget set, by content.
        said: their captions, normalised.
        labels: finds the class of a record; None where only captions are known.
    """
    away = LeftOut()
    told = f"it is {leaf.name!r} by its label or caption"
    if labels is None:
        told = "its caption is one of the forget set"
    of_it = set[str]()  # pictures with several captions, one of which names the concept
    of_two = set[str]()  # pictures that stand under two classes
    for record, data in readable(retain):
        content = content_of(data)
        found = None if labels is None else labels.of(record)
        if labels is None:
            is_said = normalise(record.caption or "") in said
        else:
            is_said = found is leaf or leaf in labels.named(record)
        if content in met:
            away.add(record.name, BOTH)
        elif is_said or content in of_it:
            away.add(record.name, told)
            of_it.add(content)
            pool.remove(content)
        elif found is None and record.caption is None:
            retain.left_out.add(record.name, _no_class(record))
        elif content in of_two:
            away.add(record.name, TWO)
        elif (first := pool.distinct.get(content)) is not None:
            if found in (None, first.leaf) or first.leaf is None:
                away.add(record.name, COPY)
                continue
            for name in (first.name, record.name):
                away.add(name, TWO)
            of_two.add(content)
            pool.remove(content)
        else:
            pool.add(_sample(found, record, content, data))
        if pool.full:
            break
    return away


def _no_class(record: Record) -> str:
    if record.label is None:
        return "there is neither a caption nor a class"
    return f"no class is called {record.label!r}"


def _sample(leaf: Concept | None, record: Record, content: str, data: bytes) -> PairSample:
    """A sample whose sides are known, while its bytes are there."""
    from slsgu.data.images import sides

    size = sides(io.BytesIO(data))
    return PairSample(leaf, record.caption, record.name, content, record.picture, size)
