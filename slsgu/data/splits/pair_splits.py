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
from slsgu.data.splits.splits import Limits, Splits, few_forget, how_divided
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
    under two classes. All of these are listed as left out.

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
    pool = Pool({split: limits.of(split) for split in SPLITS}, seed)
    contents, copies = _fill_forget(pool, forget, leaf, named=request.named)
    samples = pool.divide()
    if samples is None:
        raise DataError(
            f"the forget set has {len(pool.distinct)} different image(s), and at least "
            f"{len(SPLITS)} are needed, one each for {', '.join(SPLITS)}{because(forget.left_out)}"
        )
    reserved: list[PairSample] = []
    notes = forget.left_out.notes("forget set")
    left_out = [*forget.left_out.entries("forget"), *copies.entries("forget")]
    if retain is not None:
        totals = (limits.retain_gradient, limits.retain_search, limits.retain_search)
        kept_pool = Pool(dict(zip(SPLITS, totals, strict=True)), seed)
        captions = {normalise(sample.caption or "") for sample in pool.distinct.values()} - {""}
        labels = Labels(request.taxonomy) if request.named else None
        excluded = _fill_kept(
            kept_pool, retain, leaf, contents=contents, captions=captions, labels=labels
        )
        kept = kept_pool.divide()
        if kept is None:
            raise DataError(
                f"the retain set has {len(kept_pool.distinct)} different image(s) to keep, and at "
                f"least {len(SPLITS)} are needed, one each for {', '.join(SPLITS)}"
                f"{because(retain.left_out, excluded)}"
            )
        sizes = {sample.sides for split in SPLITS for sample in kept[split]}
        reserved = [sample for sample in pool.distinct.values() if sample.sides in sizes]
        samples = {split: samples[split] + kept[split] for split in SPLITS}
        notes += [*retain.left_out.notes("retain set"), *excluded.notes("retain set")]
        left_out += [*retain.left_out.entries("retain"), *excluded.entries("retain")]
    if strict:
        for source in (forget, retain):
            if source is not None:
                source.left_out.refuse(str(source.describe()["root"]))
    return Splits(
        gradient=tuple(samples["gradient"]),
        search=tuple(samples["search"]),
        test=tuple(samples["test"]),
        description={
            "kind": "pairs",
            "forget": forget.describe(),
            "retain": None if retain is None else retain.describe(),
            **how_divided(samples, limits, seed),
        },
        notes=(*notes, *copies.notes("forget set"), *few_forget(samples, {leaf})),
        left_out=tuple(left_out),
        reserved=tuple(reserved),
        forgotten=frozenset(contents),
    )


def _fill_forget(
    pool: Pool, source: RecordSource, leaf: Concept, *, named: bool
) -> tuple[set[str], LeftOut]:
    """Fill a pool with what is to be forgotten. The source is read to its end: a picture further
    on is not kept either.

    Args:
        named: whether what is to be forgotten has a name; if not, every record needs a caption.

    Returns:
        The content of every picture, also of those that are left out, and the copies among them.
    """
    contents = set[str]()
    copies = LeftOut()
    for record, data in readable(source):
        content = content_of(data)
        contents.add(content)
        if not named and record.caption is None:
            source.left_out.add(
                record.name, "it has no caption, and there is no name (--name) either"
            )
        elif content in pool.distinct:
            copies.add(record.name, COPY)
        else:
            pool.add(_sample(leaf, record, content, data))
    return contents, copies


def _fill_kept(
    pool: Pool,
    source: RecordSource,
    leaf: Concept,
    *,
    contents: AbstractSet[str],
    captions: AbstractSet[str],
    labels: Labels | None,
) -> LeftOut:
    """Fill a pool with what is to be kept; returns what is not, and why.

    Args:
        leaf: what is to be forgotten.
        contents: of the pictures of the forget set.
        captions: of the forget set, normalised.
        labels: finds the class of a record; None where only captions are known.
    """
    excluded = LeftOut()
    is_concept = f"its label or caption names {leaf.name!r}"
    if labels is None:
        is_concept = "its caption is in the forget set too"
    of_concept = set[str]()  # pictures with several captions, one of which names the concept
    of_two = set[str]()  # pictures that stand under two classes
    for record, data in readable(source):
        content = content_of(data)
        label = None if labels is None else labels.of(record)
        if labels is None:
            names_concept = normalise(record.caption or "") in captions
        else:
            names_concept = label is leaf or leaf in labels.named(record)
        if content in contents:
            excluded.add(record.name, BOTH)
        elif names_concept or content in of_concept:
            excluded.add(record.name, is_concept)
            of_concept.add(content)
            pool.remove(content)
        elif label is None and record.caption is None:
            source.left_out.add(record.name, _no_class(record))
        elif content in of_two:
            excluded.add(record.name, TWO)
        elif (first := pool.distinct.get(content)) is not None:
            if label in (None, first.leaf) or first.leaf is None:
                excluded.add(record.name, COPY)
                continue
            for name in (first.name, record.name):
                excluded.add(name, TWO)
            of_two.add(content)
            pool.remove(content)
        else:
            pool.add(_sample(label, record, content, data))
        if pool.full:
            break
    return excluded


def _no_class(record: Record) -> str:
    if record.label is None:
        return "it has neither a caption nor a class"
    return f"no class is called {record.label!r}"


def _sample(leaf: Concept | None, record: Record, content: str, data: bytes) -> PairSample:
    """A sample whose sides are known, while its bytes are there."""
    from slsgu.data.images import sides

    size = sides(io.BytesIO(data))
    return PairSample(leaf, record.caption, record.name, content, record.picture, size)
