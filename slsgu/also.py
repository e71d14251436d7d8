"""What else is kept: zero-shot accuracy on data sets that the request does not mention.

A set has a floor of its own. It plays no part in the search, so all of its test images are new;
a patch that breaks its floor is no success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsgu.clip import Clip
from slsgu.data.folders import FolderSource
from slsgu.data.labels import Labels
from slsgu.data.opening import is_class_folders, open_source
from slsgu.data.pair_splits import NO_CLASS
from slsgu.data.partition import SMALL_CLASS, rank
from slsgu.data.records import PairSample
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
from slsgu.taxonomy import Concept, Taxonomy, normalise
from slsgu.templates import load_templates


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
    """

    also: Also
    proof: Proof
    left_out: tuple[str, ...] = ()

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
    """

    also: Also
    samples: tuple[Sample, ...]
    taxonomy: Taxonomy
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, also: Also, *, settings: Settings, request: Request | None = None) -> AlsoImages:
        """Find the images of a data set.

        Args:
            request: what is to be forgotten; images of classes that are called so are left out,
                but the classes stay among the answers.

        Raises:
            DataError: the data set can not be used.
        """
        samples, taxonomy, notes = _samples(also, settings)
        forgotten = () if request is None else _called_alike(taxonomy, request)
        kept = tuple(sample for sample in samples if sample.leaf not in forgotten)
        if not kept:
            raise DataError(f"{also.name}: all of {also.source} is to be forgotten")
        return cls(also, kept, taxonomy, tuple(sorted(leaf.name for leaf in forgotten)), notes)

    def measure(
        self,
        clip: Clip,
        *,
        settings: Settings,
        patch: Patch | None = None,
        progress: Progress = SILENT,
    ) -> AlsoKept:
        """Zero-shot accuracy with and without a patch."""
        for note in self.notes:
            progress.say(f"note: {note}")
        proof = prove(
            clip,
            self.samples,
            self.taxonomy,
            load_templates(settings.templates, self.taxonomy),
            settings=settings,
            patch=patch,
            progress=progress,
        )
        return AlsoKept(self.also, proof, self.left_out)


def _called_alike(taxonomy: Taxonomy, request: Request) -> tuple[Concept, ...]:
    """The leaves that are called like what is to be forgotten, or lie below such a concept."""
    gone = {
        normalise(word)
        for leaf in request.forget_leaves
        for concept in request.forgotten_names(leaf)
        for word in (concept.name, *concept.aliases)
    }
    return tuple(x for x in taxonomy.leaves if any(normalise(c.name) in gone for c in x.lineage))


def _samples(also: Also, settings: Settings) -> tuple[Sequence[Sample], Taxonomy, tuple[str, ...]]:
    """The images to test on, those of `test/` if there is one; their taxonomy; and notes."""
    found = find_taxonomy(also.taxonomy, also.source)
    if is_class_folders(also.source):
        folders = FolderSource(Path(also.source), found)
        splits = make_splits(folders, request=None, limits=settings.limits, seed=settings.seed)
        notes = tuple(f"{also.name}: {note}" for note in splits.notes)
        return splits.test, found, notes
    source = open_source(also.source)
    labels = Labels(found)
    limit = settings.limits.test
    chosen: dict[Concept, dict[str, Sample]] = {leaf: {} for leaf in found.leaves}
    for record in source.records():
        leaf = labels.of(record)
        if leaf is None:
            source.left_out.add(record.name, NO_CLASS)
            continue
        if limit is not None and len(chosen[leaf]) >= max(limit, SMALL_CLASS):
            continue
        try:
            content = record.picture.fingerprint()
        except OSError as error:
            source.left_out.add(record.name, f"the image can not be read ({error.strerror})")
            continue
        chosen[leaf].setdefault(
            content, PairSample(leaf, None, record.name, content, record.picture)
        )
    samples = [
        sample
        for members in chosen.values()
        for sample in sorted(members.values(), key=lambda s: rank(s.fingerprint, settings.seed))[
            :limit
        ]
    ]
    if not samples:
        why = "; ".join(source.left_out.notes(also.name)) or "no label or caption names one class"
        raise DataError(f"{also.name}: no image of {also.source} has a class ({why})")
    if settings.strict:
        source.left_out.refuse(also.name)
    return samples, found, tuple(source.left_out.notes(also.name))
