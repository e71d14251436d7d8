"""What is to be forgotten and kept: a model, a request, images in three splits, and prompts.

A task is cheap: it looks files up and decodes nothing. It knows no method, so every way to unlearn
can be given the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.concepts.templates import load_templates
from slsgu.data.batches import Reading
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.data.splits.exclusions import BOTH
from slsgu.data.splits.splits import Splits
from slsgu.errors import DataError
from slsgu.models.clip import Clip
from slsgu.task.find import find_splits, find_taxonomy
from slsgu.task.machine_settings import MachineSettings
from slsgu.task.pairs import Pairs
from slsgu.task.settings import DataSettings

MADE_FROM = "the edit was made with it"


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that an edit is made for and measured on, looked up and checked.

    Attributes:
        clip: the model, unedited.
        request: what is to be forgotten, in which taxonomy.
        splits: the images, in three disjoint sets.
        templates: prompt templates with one `{}` each.
        data: which images were chosen, and how.
        machine: speed and memory.
    """

    clip: Clip
    request: Request
    splits: Splits
    templates: tuple[str, ...]
    data: DataSettings
    machine: MachineSettings

    @property
    def taxonomy(self) -> Taxonomy:
        return self.request.taxonomy

    @property
    def seed(self) -> int:
        """Of whatever is drawn at random."""
        return self.data.seed

    @property
    def reading(self) -> Reading:
        """How images are read."""
        return Reading(self.machine.images_at_once, self.machine.workers, self.data.strict)

    @cached_property
    def _forget_leaves(self) -> frozenset[Concept]:
        return frozenset(self.request.forget_leaves)

    @cached_property
    def forget_samples(self) -> tuple[Sample, ...]:
        """Gradient images of what is to be forgotten."""
        return tuple(x for x in self.splits.gradient if x.leaf in self._forget_leaves)

    @cached_property
    def forget_test_samples(self) -> tuple[Sample, ...]:
        """Test images of what is to be forgotten."""
        return tuple(x for x in self.splits.test if x.leaf in self._forget_leaves)

    @cached_property
    def retain_samples(self) -> tuple[Sample, ...]:
        """Gradient images of everything else; where there are none, those of what is to be
        forgotten, which are then kept as what stands above them (`forget_only`)."""
        others = tuple(x for x in self.splits.gradient if x.leaf not in self._forget_leaves)
        return others or self.forget_samples

    @cached_property
    def forget_only(self) -> bool:
        """Whether there are no retain images: the knowledge-tracing setting, in which the forget
        images captioned with their parent take the place of the retain set."""
        return all(x.leaf in self._forget_leaves for x in self.splits.gradient)

    @property
    def excluded(self) -> dict[str, str]:
        """Pictures that prove nothing about other data sets, by content: the reason why."""
        samples = [*self.splits.gradient, *self.splits.search]
        forget = {
            x.fingerprint for x in [*samples, *self.splits.test] if x.leaf in self._forget_leaves
        }
        made_from = {x.fingerprint: MADE_FROM for x in samples}
        return made_from | dict.fromkeys(forget | self.splits.forgotten, BOTH)

    def ledger(self) -> Ledger:
        """What keeps the pictures of the splits apart, empty. Decodes those that are to be
        forgotten where other files may have the same pixels."""
        return Ledger(Ledger.pixels_of(self.splits.reserved))


def make_task(
    clip: Clip,
    concepts: Sequence[str],
    *,
    data: str | Path | None = None,
    taxonomy: str | Path | Taxonomy | None = None,
    pairs: Pairs | None = None,
    settings: DataSettings | None = None,
    machine: MachineSettings | None = None,
) -> Task:
    """Look up concepts, images and prompts.

    Args:
        clip: the model.
        concepts: what to forget, by name, alias or path; none with `pairs`.
        data: a folder with one folder per class, or None for the menagerie's drawings.
        taxonomy: a YAML file, a `Taxonomy`, or None for the menagerie's (drawings) or a flat
            list of the class folders.
        pairs: what to forget and to keep, given by images in place of concepts and data.
        settings: which images; None for the defaults.
        machine: speed and memory; None for the defaults.

    Raises:
        ConceptError: a concept is unknown or ambiguous.
        DataError: images or taxonomy cannot be used.
    """
    settings, machine = settings or DataSettings(), machine or MachineSettings()
    machine = machine.sized_for(clip)
    if pairs is not None:
        if concepts or data is not None:
            raise DataError("give concepts and data, or images to forget and to keep, not both")
        tree = None if taxonomy is None else find_taxonomy(taxonomy, None)
        pairs.check()
        request = pairs.request(tree)
        splits = pairs.splits(request, settings.limits, settings.seed, settings.strict)
    else:
        tree = find_taxonomy(taxonomy, data)
        request = Request.of(tree, list(concepts))
        splits = find_splits(clip, data, tree, settings, request)
    templates = load_templates(settings.templates, request.taxonomy)
    return Task(clip, request, splits, templates, settings, machine)
