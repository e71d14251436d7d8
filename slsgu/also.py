"""What else is kept: zero-shot accuracy on data sets that the request does not mention.

A set has a floor of its own, and plays no part in the search; a patch that breaks its floor is no
success. Pictures that the edit is made from, or that are to be forgotten, are left out of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from slsgu.clip import Clip
from slsgu.data.folders import FolderSource
from slsgu.data.labels import Labels
from slsgu.data.ledger import Ledger
from slsgu.data.opening import is_class_folders, open_source
from slsgu.data.pair_splits import NO_CLASS
from slsgu.data.partition import SMALL_CLASS, rank
from slsgu.data.records import LeftOut, PairSample
from slsgu.data.samples import Sample
from slsgu.data.splits import make_splits
from slsgu.errors import DataError
from slsgu.measures import LevelAccuracy
from slsgu.patch import Patch
from slsgu.progress import SILENT, Progress
from slsgu.proof import Proof, prove
from slsgu.request import Request
from slsgu.settings import Settings
from slsgu.sources import find_taxonomy
from slsgu.taxonomy import Concept, Taxonomy
from slsgu.templates import load_templates

if TYPE_CHECKING:
    from slsgu.plan import Plan


@dataclass(frozen=True)
class Also:
    """A data set that is to stay as it is.

    Attributes:
        name: what people call it.
        source: class folders, or shards with labels (`cls`) or captions that name a class.
        taxonomy: a YAML file; None takes the class folders, or the class names of the shards.
        floor: least share of the accuracy at the finest level that must remain.
    """

    name: str
    source: str
    taxonomy: str | None = None
    floor: float = 0.85


@dataclass(frozen=True, eq=False)
class AlsoKept:
    """What an edit did to a data set.

    Attributes:
        left_out: its classes that are to be forgotten, by name: their images are not asked.
        entries: what else of it is not used, each with its name and the reason, as JSON values.
    """

    also: Also
    proof: Proof
    left_out: tuple[str, ...] = ()
    entries: tuple[dict[str, str], ...] = ()

    @property
    def title(self) -> str:
        """Its name, and what of it was not asked."""
        without = f" without {', '.join(self.left_out)}" if self.left_out else ""
        return self.also.name + without

    @property
    def fine(self) -> LevelAccuracy:
        """Accuracy at the finest level."""
        return next(row for row in self.proof.measures.levels if row.fine)

    @property
    def ratio(self) -> float | None:
        """Accuracy after over before; None where it can not be told from chance."""
        row = self.fine
        return row.after / row.before if row.measurable else None

    @property
    def holds(self) -> bool | None:
        """Whether the floor holds; None where it can not be measured."""
        return None if self.ratio is None else self.ratio >= self.also.floor

    def miss(self) -> str | None:
        """What is lost beyond the floor, in words."""
        if self.holds is not False:
            return None
        name, floor = self.also.name, self.also.floor
        return f"{name} falls to {self.ratio:.1%} of what it was (floor {floor:.1%})"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.also.name,
            **self.fine.to_json(),
            "classes": round(1 / self.fine.chance),
            "ratio": self.ratio,
            "floor": self.also.floor,
            "holds": self.holds,
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True, eq=False)
class AlsoImages:
    """The images of a data set, found and not yet read.

    Attributes:
        left_out: classes that are to be forgotten, by name.
        notes: what else of the data set is not used, for people.
        entries: the same, each with its name and the reason, as JSON values.
    """

    also: Also
    samples: tuple[Sample, ...]
    taxonomy: Taxonomy
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()
    entries: tuple[dict[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        also: Also,
        *,
        settings: Settings,
        request: Request | None = None,
        spent: Mapping[str, str] = MappingProxyType({}),
    ) -> AlsoImages:
        """Find the images of a data set.

        Args:
            request: what is to be forgotten; images of classes that are called so are left out,
                but the classes stay among the answers.
            spent: pictures that are not asked either, by content: the reason why.

        Raises:
            DataError: the data set can not be used.
        """
        taxonomy = find_taxonomy(also.taxonomy, also.source)
        forgotten = () if request is None else _called_alike(taxonomy, request)
        left_out = LeftOut()
        notes: tuple[str, ...] = ()
        asked = [leaf for leaf in taxonomy.leaves if leaf not in forgotten]
        if is_class_folders(also.source):
            kept, notes = _from_folders(also, taxonomy, asked, settings, spent, left_out)
        else:
            kept = _from_records(also, taxonomy, asked, settings, spent, left_out)
        if not kept:
            why = "; ".join(left_out.notes()) or "all of it is to be forgotten"
            raise DataError(f"{also.name}: no image of {also.source} can be asked ({why})")
        return cls(
            also=also,
            samples=tuple(kept),
            taxonomy=taxonomy,
            left_out=tuple(sorted(leaf.name for leaf in forgotten)),
            notes=(*notes, *left_out.notes(also.name)),
            entries=tuple(left_out.entries(also.name)),
        )

    def measure(
        self,
        clip: Clip,
        *,
        settings: Settings,
        patch: Patch | None = None,
        ledger: Ledger | None = None,
        progress: Progress = SILENT,
    ) -> AlsoKept:
        """Zero-shot accuracy with and without a patch.

        Args:
            ledger: of the run. Pixels that its gradient and search have used are left out; it
                learns that, and which pictures can not be read.

        Raises:
            DataError: no usable image is left.
        """
        for note in self.notes:
            progress.say(f"note: {note}")
        ledger = Ledger() if ledger is None else ledger
        own = ledger.for_others()
        try:
            proof = prove(
                clip,
                self.samples,
                self.taxonomy,
                load_templates(settings.templates, self.taxonomy),
                settings=settings,
                patch=patch,
                ledger=own,
                progress=progress,
            )
        except DataError as error:
            raise DataError(f"{self.also.name}: {error}") from None
        ledger.add(own, self.also.name)
        return AlsoKept(self.also, proof, self.left_out, self.entries)


def find_others(plan: Plan, also: Sequence[Also]) -> list[AlsoImages]:
    """The images of the other data sets of a plan, without those that the plan uses itself.

    Raises:
        DataError: one of the data sets can not be used.
    """
    spent = plan.spent
    return [
        AlsoImages.of(each, settings=plan.settings, request=plan.request, spent=spent)
        for each in also
    ]


def _called_alike(taxonomy: Taxonomy, request: Request) -> tuple[Concept, ...]:
    """The leaves that answer to a name of what is to be forgotten, or lie below such a concept."""
    if not request.named:
        return ()
    words = {
        word
        for leaf in request.forget_leaves
        for concept in request.forgotten_names(leaf)
        for word in (concept.name, *concept.aliases, concept.plural, concept.id)
    }
    gone = {c for word in words if word for c in taxonomy.search(word)}
    return tuple(leaf for leaf in taxonomy.leaves if gone & set(leaf.lineage))


def _from_folders(
    also: Also,
    taxonomy: Taxonomy,
    asked: Collection[Concept],
    settings: Settings,
    spent: Mapping[str, str],
    left_out: LeftOut,
) -> tuple[list[Sample], tuple[str, ...]]:
    """The images of class folders to test on, those of `test/` if there is one; and notes."""
    folders = FolderSource(Path(also.source), taxonomy)
    splits = make_splits(folders, request=None, limits=settings.limits, seed=settings.seed)
    kept = []
    for sample in splits.test:
        if sample.leaf not in asked:
            continue
        if why := spent.get(sample.fingerprint):
            left_out.add(sample.name, why)
        else:
            kept.append(sample)
    return kept, tuple(f"{also.name}: {note}" for note in splits.notes)


def _from_records(
    also: Also,
    taxonomy: Taxonomy,
    asked: Collection[Concept],
    settings: Settings,
    spent: Mapping[str, str],
    left_out: LeftOut,
) -> list[Sample]:
    """The images of a table or of shards to test on, by their labels or captions."""
    source = open_source(also.source)
    labels = Labels(taxonomy)
    limit = settings.limits.test
    chosen: dict[Concept, dict[str, Sample]] = {leaf: {} for leaf in asked}
    for record in source.records():
        leaf = labels.of(record)
        if leaf is None:
            source.left_out.add(record.name, NO_CLASS)
            continue
        members = chosen.get(leaf)
        if members is None or (limit is not None and len(members) >= max(limit, SMALL_CLASS)):
            continue
        try:
            content = record.picture.fingerprint()
        except OSError as error:
            source.left_out.add(record.name, f"the image can not be read ({error.strerror})")
            continue
        if why := spent.get(content):
            left_out.add(record.name, why)
        else:
            sample = PairSample(leaf, None, record.name, content, record.picture)
            members.setdefault(content, sample)
    if settings.strict:
        source.left_out.refuse(also.name)
    left_out.update(source.left_out)
    return [
        sample
        for members in chosen.values()
        for sample in sorted(members.values(), key=lambda s: rank(s.fingerprint, settings.seed))[
            :limit
        ]
    ]
