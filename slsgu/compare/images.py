"""The images of a comparison that are not simply those of a split: what probes learn from, and
pictures of the concept from another source."""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.audit.subject import examples_of
from slsgu.baselines.material import Material, Pictures, read_pictures
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.data.splits.test_only import images_of
from slsgu.errors import DataError
from slsgu.task.task import Task
from slsgu.utils.progress import Progress


def chosen_examples(task: Task, material: Material) -> tuple[list[Sample], tuple[Tensor, Tensor]]:
    """The gradient images that probes learn from, as the audit chooses them: samples, pixels and
    embeddings by the unedited model."""
    parts = [x for x in (material.forget, material.retain) if x is not None]
    samples = [sample for part in parts for sample in part.samples]
    place = {sample.fingerprint: index for index, sample in enumerate(samples)}
    rows = [place[x.fingerprint] for x in examples_of(task) if x.fingerprint in place]
    pixels = torch.cat([part.pixels for part in parts])[rows]
    before = torch.cat([part.before for part in parts])[rows]
    return [samples[row] for row in rows], (pixels, before)


def pictures_elsewhere(task: Task, source: str, ledger: Ledger, progress: Progress) -> Pictures:
    """Images of what is to be forgotten from another source, without those of the task, whatever
    file holds their pixels."""
    found = images_of(
        source,
        task.taxonomy,
        task.request.forget_leaves,
        limit=task.data.limits.test,
        seed=task.seed,
        excluded=task.excluded,
        strict=task.data.strict,
    )
    if not found.samples:
        reasons = "; ".join(found.left_out.notes()) or "none has the name of a class"
        raise DataError(f"no image of {task.request.title} in {source} can be used ({reasons})")
    return read_pictures(task, found.samples, "elsewhere", ledger, progress)
