"""What else is kept: zero-shot accuracy on data sets that the request does not mention.

A set has a floor of its own, and plays no part in the search; a patch that breaks its floor is no
success. Pictures that the edit is made from, or that are to be forgotten, are left out of it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.concepts.templates import load_templates
from slsgu.data.batches import Reading
from slsgu.data.images import UnreadableImageError, pixel_hash
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.data.splits.test_only import images_of
from slsgu.errors import DataError, SlsguError
from slsgu.evaluation.metrics import LevelAccuracy
from slsgu.evaluation.proof import Proof, evaluate
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch
from slsgu.task.find import find_taxonomy
from slsgu.task.settings import DataSettings
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress


@dataclass(frozen=True)
class Also:
    """A data set that is to stay as it is.

    Attributes:
        name: what people call it.
        source: class folders, or shards with labels (`cls`) or captions that name a class.
        taxonomy: a YAML file; None takes the class folders, or the class names of the shards.
        floor: least share of the accuracy at the finest level that must remain.

    Raises:
        SlsguError: there is no name, or the floor is no share.
    """

    name: str
    source: str
    taxonomy: str | None = None
    floor: float = 0.85

    def __post_init__(self) -> None:
        if not self.name:
            raise SlsguError(f"the data set {self.source} has no name")
        if not 0 <= self.floor <= 1:
            raise SlsguError(f"the floor of {self.name} is {self.floor}; it must lie in 0 to 1")


@dataclass(frozen=True, eq=False)
class OtherSet:
    """A data set beside the request: its images, and once it is measured, the result.

    Attributes:
        also: the data set as the user named it.
        images: found and not yet read.
        taxonomy: where the classes come from.
        left_out: its classes that are to be forgotten, by name: their images are not used.
        notes: what else of it is not used, for people.
        entries: the same, each with its name and the reason, as JSON values.
        result: what an edit did to it; None until it is measured.
    """

    also: Also
    images: tuple[Sample, ...]
    taxonomy: Taxonomy
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    entries: tuple[dict[str, str], ...] = ()
    result: Proof | None = None

    def describe(self) -> dict[str, Any]:
        """What decides how a model does on it, as JSON values."""
        images = [[x.leaf.key if x.leaf else None, x.fingerprint] for x in self.images]
        return {"name": self.also.name, "taxonomy": self.taxonomy.sha256, "images": images}

    @classmethod
    def find(
        cls,
        also: Also,
        *,
        settings: DataSettings,
        request: Request | None = None,
        excluded: Mapping[str, str] = MappingProxyType({}),
    ) -> OtherSet:
        """Find the images of a data set.

        Args:
            request: what is to be forgotten; images of classes that share a name, alias or id with
                it are left out, but the classes stay among the answers.
            excluded: pictures that are not used either, by content: the reason why.

        Raises:
            DataError: the data set cannot be used.
        """
        taxonomy = find_taxonomy(also.taxonomy, also.source)
        forgotten = () if request is None else _same_names(taxonomy, request)
        leaves = [leaf for leaf in taxonomy.leaves if leaf not in forgotten]
        chosen = images_of(
            also.source,
            taxonomy,
            leaves,
            limit=settings.limits.test,
            seed=settings.seed,
            excluded=excluded,
            strict=settings.strict,
        )
        if not chosen.samples:
            reason = "; ".join(chosen.left_out.notes()) or "all of it is to be forgotten"
            raise DataError(f"{also.name}: no image of {also.source} can be used ({reason})")
        return cls(
            also=also,
            images=tuple(chosen.samples),
            taxonomy=taxonomy,
            left_out=tuple(sorted(leaf.name for leaf in forgotten)),
            notes=(
                *(f"{also.name}: {note}" for note in chosen.notes),
                *chosen.left_out.notes(also.name),
            ),
            entries=tuple(chosen.left_out.entries(also.name)),
        )

    def check(self, ledger: Ledger) -> None:
        """Look for an image that can be used, which takes no longer than to find one.

        Args:
            ledger: what was used to make an edit.

        Raises:
            DataError: there is none.
        """
        for sample in self.images:
            with contextlib.suppress(UnreadableImageError):
                pixels = pixel_hash(sample.read())
                if ledger.owner(pixels, fingerprint=sample.fingerprint) is None:
                    return
        raise DataError(
            f"{self.also.name}: no image of {self.also.source} can be used: none can be read that "
            "the edit is not made from"
        )

    def measure(
        self,
        clip: Clip,
        *,
        settings: DataSettings,
        reading: Reading | None = None,
        patch: Patch | None = None,
        ledger: Ledger | None = None,
        progress: Progress = SILENT,
    ) -> OtherSet:
        """The same set with its result: zero-shot accuracy with and without a patch.

        Args:
            ledger: of the run. Pixels that its gradient and search have used are left out; it
                learns that, and which pictures cannot be read.

        Raises:
            DataError: no usable image is left.
        """
        for note in self.notes:
            progress.say(f"note: {note}")
        ledger = Ledger() if ledger is None else ledger
        set_ledger = ledger.for_others()
        try:
            proof = evaluate(
                clip,
                self.images,
                self.taxonomy,
                load_templates(settings.templates, self.taxonomy),
                reading=reading,
                seed=settings.seed,
                patch=patch,
                ledger=set_ledger,
                progress=progress,
            )
        except DataError as error:
            raise DataError(f"{self.also.name}: {error}") from None
        ledger.add(set_ledger, self.also.name)
        return replace(self, result=proof)

    # -- once it is measured ------------------------------------------------------------------

    @property
    def proof(self) -> Proof:
        """The result, which must be there."""
        assert self.result is not None, f"{self.also.name} is not measured yet"
        return self.result

    @property
    def title(self) -> str:
        """Its name, and which of its classes were left out."""
        without = f" without {', '.join(self.left_out)}" if self.left_out else ""
        return self.also.name + without

    @property
    def fine(self) -> LevelAccuracy:
        """Accuracy at the finest level."""
        return next(row for row in self.proof.measures.levels if row.fine)

    @property
    def ratio(self) -> float | None:
        """Accuracy after over before; None where it cannot be told from chance."""
        row = self.fine
        return row.after / row.before if row.measurable else None

    @property
    def holds(self) -> bool | None:
        """Whether the floor holds; None where it cannot be measured."""
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


def find_others(task: Task, also: Sequence[Also]) -> list[OtherSet]:
    """The images of the other data sets of a task, without those that the task uses itself.

    Raises:
        SlsguError: two have one name.
        DataError: one of the data sets cannot be used.
    """
    names = Counter(each.name for each in also)
    if twice := [name for name, count in names.items() if count > 1]:
        raise SlsguError(f"two data sets are called {twice[0]!r}")
    excluded = task.excluded
    return [
        OtherSet.find(each, settings=task.data, request=task.request, excluded=excluded)
        for each in also
    ]


def _same_names(taxonomy: Taxonomy, request: Request) -> tuple[Concept, ...]:
    """The leaves that share a name, alias, plural or id with what is to be forgotten, or lie below
    a concept that does."""
    if not request.named:
        return ()
    words = {
        word
        for leaf in request.forget_leaves
        for concept in request.forgotten_names(leaf)
        for word in (concept.name, *concept.aliases, concept.plural, concept.id)
    }
    same = {c for word in words if word for c in taxonomy.search(word)}
    return tuple(leaf for leaf in taxonomy.leaves if same & set(leaf.lineage))
