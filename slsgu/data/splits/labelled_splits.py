"""Three disjoint sets of records with classes: what class folders are, as a table or as shards."""

from __future__ import annotations

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.sources.records import LeftOut, PairSample, RecordSource, content_of
from slsgu.data.sources.scan import some
from slsgu.data.splits.exclusions import BOTH, COPY, NO_CLASS, TWO, because, readable
from slsgu.data.splits.labels import Labels
from slsgu.data.splits.partition import SPLITS
from slsgu.data.splits.pool import Pool
from slsgu.data.splits.splits import Limits, Splits, few_forget
from slsgu.errors import DataError


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
    labels = Labels(taxonomy)
    owner: dict[str, Concept | None] = {}  # by content; None: it stands under two that are kept
    away = LeftOut()
    for record, data in readable(source):
        content = content_of(data)
        leaf = labels.of(record)
        if leaf is None:
            source.left_out.add(record.name, NO_CLASS)
            continue
        if content in owner:
            first = owner[content]
            if first is leaf or (first in forget and leaf in forget):
                away.add(record.name, COPY)
                continue
            if first in forget:
                away.add(record.name, BOTH)
                continue
            why = BOTH if leaf in forget else TWO
            if first is not None:
                away.add(pools[first].distinct[content].name, why)
                pools[first].remove(content)
            if leaf not in forget:
                away.add(record.name, why)
                owner[content] = None
                continue
        owner[content] = leaf
        pools[leaf].add(PairSample(leaf, None, record.name, content, record.picture))
        if all(pool.full for pool in pools.values()):
            break
    samples: dict[str, list[PairSample]] = {split: [] for split in SPLITS}
    notes = [*source.left_out.notes("data"), *away.notes("data")]
    few = []
    for leaf, pool in pools.items():
        found = pool.divide()
        if found is None and leaf in forget:
            raise DataError(
                f"{leaf.key!r} is to be forgotten but has {len(pool.distinct)} different image(s); "
                f"it needs at least {len(SPLITS)} ({', '.join(SPLITS)}){because(source.left_out)}"
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
    notes += few_forget(samples, forget)
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
        left_out=(*source.left_out.entries("data"), *away.entries("data")),
    )
