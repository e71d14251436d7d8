"""Three disjoint sets of records with classes: what class folders are, as a table or as shards."""

from __future__ import annotations

from collections.abc import Mapping

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.sources.records import LeftOut, PairSample, RecordSource, content_of
from slsgu.data.splits.exclusions import BOTH, COPY, NO_CLASS, TWO, because, readable
from slsgu.data.splits.labels import Labels
from slsgu.data.splits.partition import SPLITS
from slsgu.data.splits.pool import Pool
from slsgu.data.splits.splits import Limits, Splits, few_forget, how_divided
from slsgu.errors import DataError
from slsgu.utils.wording import some


def labelled_splits(
    source: RecordSource,
    *,
    taxonomy: Taxonomy,
    request: Request | None,
    limits: Limits,
    seed: int = 0,
    strict: bool = False,
) -> Splits:
    """Gradient, search and test records of classes, in place of class folders: of those whose
    label, or caption, is one of the leaves.

    A picture that stands under two classes is one of a class that is to be forgotten; between two
    that are kept it is left out of both, as for class folders.

    Args:
        request: what is to be forgotten; None treats every leaf as retained.

    Raises:
        DataError: too few usable records.
    """
    forget = frozenset(request.forget_leaves) if request is not None else frozenset()
    others = len(taxonomy.leaves) - len(forget)
    pools = {
        leaf: Pool(
            {s: limits.of(s) if leaf in forget else limits.capped(s, others) for s in SPLITS}, seed
        )
        for leaf in taxonomy.leaves
    }
    excluded = _fill(pools, source, Labels(taxonomy), forget)
    notes = [*source.left_out.notes("data"), *excluded.notes("data")]
    samples, small = _divide(pools, forget, source.left_out)
    if strict:
        source.left_out.refuse("data")
    if small:
        notes.append(f"classes with too few different images to divide, left out: {some(small)}")
    notes += few_forget(samples, forget)
    has_others = any(pool.distinct for leaf, pool in pools.items() if leaf not in forget)
    only_forgotten = (
        request is not None and not has_others and all(map(request.keeps_above, forget))
    )
    if not only_forgotten and not any(sample.leaf not in forget for sample in samples["test"]):
        raise DataError(
            f"no image of another class is left to keep: {'; '.join(notes) or 'add other classes'}"
        )
    return Splits(
        gradient=tuple(samples["gradient"]),
        search=tuple(samples["search"]),
        test=tuple(samples["test"]),
        description={**source.describe(), **how_divided(samples, limits, seed)},
        notes=tuple(notes),
        left_out=(*source.left_out.entries("data"), *excluded.entries("data")),
    )


def _fill(
    pools: Mapping[Concept, Pool],
    source: RecordSource,
    labels: Labels,
    forget: frozenset[Concept],
) -> LeftOut:
    """Read records into the pools of their leaves until all are full; returns the pictures that
    are in none, or no longer, and why."""
    owner: dict[str, Concept | None] = {}  # by content; None: it stands under two that are kept
    excluded = LeftOut()
    for record, data in readable(source):
        content = content_of(data)
        leaf = labels.of(record)
        if leaf is None:
            source.left_out.add(record.name, NO_CLASS)
            continue
        if content in owner:
            first = owner[content]
            if first is leaf or (first in forget and leaf in forget):
                excluded.add(record.name, COPY)
                continue
            if first in forget:
                excluded.add(record.name, BOTH)
                continue
            why = BOTH if leaf in forget else TWO
            if first is not None:
                excluded.add(pools[first].distinct[content].name, why)
                pools[first].remove(content)
            if leaf not in forget:
                excluded.add(record.name, why)
                owner[content] = None
                continue
        owner[content] = leaf
        pools[leaf].add(PairSample(leaf, None, record.name, content, record.picture))
        if all(pool.full for pool in pools.values()):
            break
    return excluded


def _divide(
    pools: Mapping[Concept, Pool], forget: frozenset[Concept], left_out: LeftOut
) -> tuple[dict[str, list[PairSample]], list[str]]:
    """The samples of each split, and the kept classes that are too small to divide, for people.

    Raises:
        DataError: a class that is to be forgotten is too small.
    """
    samples: dict[str, list[PairSample]] = {split: [] for split in SPLITS}
    small = []
    for leaf, pool in pools.items():
        members = pool.divide()
        if members is None:
            if leaf in forget:
                raise DataError(
                    f"{leaf.key!r} is to be forgotten but has {len(pool.distinct)} different "
                    f"image(s); it needs at least {len(SPLITS)}, one each for {', '.join(SPLITS)}"
                    f"{because(left_out)}"
                )
            if pool.distinct:
                small.append(f"{leaf.key} ({len(pool.distinct)})")
            continue
        for split in SPLITS:
            samples[split] += members[split]
    return samples, small
