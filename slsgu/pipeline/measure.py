"""A data set on which nothing is chosen, measured with and without a patch.

Every image counts, but for those that the patch was made from: they prove nothing about it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.concepts.templates import load_templates
from slsgu.data.batches import Reading
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.data.splits.splits import Limits, Splits, identity
from slsgu.errors import ArtifactError, DataError, SlsguError
from slsgu.evaluation.other_sets import Also, OtherSet
from slsgu.evaluation.proof import Proof, evaluate
from slsgu.gradients.gradients import Gradients
from slsgu.models.clip import Clip
from slsgu.patch.header import with_images
from slsgu.patch.patch import Patch
from slsgu.pipeline.run_folder import RunFolder
from slsgu.task.find import find_images, find_splits, is_drawings, title_of_data
from slsgu.task.machine_settings import MachineSettings
from slsgu.task.settings import DataSettings
from slsgu.task.task import MADE_FROM, Task
from slsgu.utils.distributed import ALONE, Ranks
from slsgu.utils.files import json_sha256
from slsgu.utils.progress import SILENT, Progress

USED = ("gradient", "search")  # splits that a patch is made from


@dataclass(frozen=True, eq=False)
class MadeFrom:
    """The pictures that a patch was made from.

    Attributes:
        samples: by split, as far as they can be found again.
        pixels: pixel hashes of gradient images, as a run has recorded them.
        doubts: why there may be others, in words; empty if all are known.
    """

    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    pixels: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @classmethod
    def of_run(cls, folder: RunFolder, task: Task | None) -> MadeFrom:
        """The pictures that a run used: none, where its patch was made and accepted on texts.

        Args:
            folder: its gradients, if they are there, say which pictures they are of.
            task: made again from the run's request; None if its images are not there any more.
        """
        gradients = patch = None
        with contextlib.suppress(ArtifactError):
            gradients = Gradients.load(folder.gradients)
        with contextlib.suppress(ArtifactError):
            patch = Patch.load(folder.patch)
        if patch is not None and not with_images(patch.parts):
            return cls()
        pixels = () if gradients is None else tuple(gradients.info["pixel_hashes"])
        if task is None:
            doubt = f"the images of the run {folder.path} cannot be found again"
            return cls(pixels=pixels, doubts=(doubt,))
        now = json_sha256([identity(sample) for sample in task.splits.gradient])
        same = (gradients is not None and gradients.key.get("images") == now) or (
            patch is not None and patch.metadata.get("data") == task.splits.sha256
        )
        doubts = () if same else (f"the images of the run {folder.path} are not what they were",)
        if task.splits.description.get("kind") == "drawings":  # no split shares any with another
            return cls(pixels=pixels)
        return cls(_used(task.splits), pixels, doubts)

    @classmethod
    def of_patch(
        cls, patch: Patch, clip: Clip, data: str | Path | Task | None, taxonomy: Taxonomy
    ) -> MadeFrom:
        """The pictures that a patch was made from, if they are of this data: the data is divided
        again as for the patch, which has recorded a hash of the outcome."""
        if not isinstance(data, Task) and is_drawings(data):
            return cls()
        found = cls()
        for part in with_images(patch.parts):
            splits = _divided_as_for(part, clip, data, taxonomy)
            if splits is None:
                what = ", ".join(part.get("request", {}).get("paths", ())) or "the patch"
                found += cls(doubts=(f"it is not known on which images {what} was forgotten",))
            else:
                found += cls(_used(splits))
        return found

    def __add__(self, other: MadeFrom) -> MadeFrom:
        """The pictures of either."""
        samples = {s: (*self.samples.get(s, ()), *other.samples.get(s, ())) for s in USED}
        doubts = dict.fromkeys((*self.doubts, *other.doubts))
        return MadeFrom(samples, (*self.pixels, *other.pixels), tuple(doubts))

    @property
    def contents(self) -> dict[str, str]:
        """The pictures by content: why they are left out."""
        return {x.fingerprint: MADE_FROM for part in self.samples.values() for x in part}

    def claim(self, ledger: Ledger) -> None:
        """Keep their pixels from everything that is measured: the same picture may lie in another
        file. Decodes the pictures, but for those whose pixels a run has recorded."""
        for pixels in self.pixels:
            ledger.claim(pixels, USED[0])
        for split in USED if self.samples else ():
            known = split == USED[0] and self.pixels
            for pixels in () if known else Ledger.pixels_of(self.samples.get(split, ())):
                ledger.claim(pixels, split)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a data set says about a model, and about a patch.

    Attributes:
        title: what the data set is called.
        request: what counts as forgotten; None if nothing does.
        patch: None if the model was measured as it is.
        proof: the answers, before and after.
        left_out: how many pictures were left out because the patch was made from them.
        doubts: why there may be more of them, in words.
        also: other data sets; only in the first of several processes.
        ledger: pictures that could not be read.
    """

    title: str
    request: Request | None
    patch: Patch | None
    proof: Proof
    left_out: int
    doubts: tuple[str, ...]
    also: tuple[OtherSet, ...]
    ledger: Ledger


def evaluate_data(
    clip: Clip,
    data: str | Path | Task | None,
    taxonomy: Taxonomy,
    *,
    request: Request | None = None,
    patch: Patch | None = None,
    made_from: MadeFrom | None = None,
    settings: DataSettings | None = None,
    machine: MachineSettings | None = None,
    also: Sequence[Also] = (),
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Measure all images of a data set: of its `test/`, where there is one.

    Args:
        clip: the unpatched model; it is unchanged afterwards.
        data: class folders, a table or shards; None for the drawings. Of a task, its test images.
        request: what the patch is to make forgotten, in this taxonomy.
        patch: None measures the model as it is.
        made_from: pictures to leave out.
        settings: `limits.test` is the most images of a class; None measures all of them.
        machine: speed and memory.
        also: other data sets to measure.
        ranks: the processes that share the images.

    Raises:
        DataError: no image is left that can be measured.
        LayerMismatchError: the patch was not made for this model.
    """
    settings = settings or DataSettings(limits=Limits(test=None))
    machine = (machine or MachineSettings()).sized_for(clip)
    made_from = made_from or MadeFrom()
    excluded = made_from.contents
    ledger = data.ledger() if isinstance(data, Task) else Ledger()
    others = [
        OtherSet.find(each, settings=settings, request=request, excluded=excluded) for each in also
    ]
    samples, left_out = _find(clip, data, taxonomy, request, settings, excluded, progress)
    made_from.claim(ledger)
    reading = Reading(machine.images_at_once, machine.workers, settings.strict)
    proof = evaluate(
        clip,
        samples,
        taxonomy,
        load_templates(settings.templates, taxonomy),
        reading=reading,
        seed=settings.seed,
        request=request,
        patch=patch,
        ledger=ledger,
        progress=progress,
        ranks=ranks,
    )
    left_out += sum(overlap.other in USED for overlap in ledger.overlaps)
    measured = [
        each.measure(
            clip, settings=settings, reading=reading, patch=patch, ledger=ledger, progress=progress
        )
        for each in (others if ranks.first else ())
    ]
    return Evaluation(
        title=_title(data),
        request=request,
        patch=patch,
        proof=proof,
        left_out=left_out,
        doubts=made_from.doubts,
        also=tuple(measured),
        ledger=ledger,
    )


def _find(
    clip: Clip,
    data: str | Path | Task | None,
    taxonomy: Taxonomy,
    request: Request | None,
    settings: DataSettings,
    excluded: Mapping[str, str],
    progress: Progress,
) -> tuple[Sequence[Sample], int]:
    """The images to measure, and how many were left out because the patch was made from them."""
    if isinstance(data, Task):
        for note in data.splits.notes:
            progress.say(f"note: {note}")
        return data.splits.test, 0
    found = find_images(clip, data, taxonomy, settings, excluded)
    others = replace(found.left_out, reasons=dict(found.left_out.reasons))
    left_out = len(others.reasons.pop(MADE_FROM, ()))
    for note in (*found.notes, *others.notes()):
        progress.say(f"note: {note}")
    forget = frozenset(() if request is None else request.forget_leaves)
    if not found.samples or (forget and not any(x.leaf in forget for x in found.samples)):
        why = others.notes()
        if left_out:
            why.append(f"{left_out} left out, because the patch was made from them")
        what = "no image" if request is None else f"no image of {request.title}"
        raise DataError(
            f"{what} in {data} can be measured" + (f" ({'; '.join(why)})" if why else "")
        )
    return found.samples, left_out


def _title(data: str | Path | Task | None) -> str:
    if not isinstance(data, Task):
        return title_of_data(data)
    return str(data.splits.description.get("root") or data.splits.description["kind"])


def _used(splits: Splits) -> dict[str, tuple[Sample, ...]]:
    return {split: splits.of(split) for split in USED}


def _divided_as_for(
    part: Mapping[str, Any], clip: Clip, data: str | Path | Task | None, taxonomy: Taxonomy
) -> Splits | None:
    """The splits of a data set that a patch was made with; None if they cannot be made again: the
    data is another one, or other numbers of images were asked for."""
    seed, request = part.get("seed"), part.get("request", {})
    if not isinstance(seed, int) or not isinstance(part.get("data"), str):
        return None
    if isinstance(data, Task):
        splits = data.splits
    else:
        try:
            settings = DataSettings(seed=seed)
            wanted = Request.of(taxonomy, request.get("paths", ()))
            splits = find_splits(clip, data, taxonomy, settings, wanted)
        except SlsguError:
            return None
    return splits if splits.sha256 == part["data"] else None
