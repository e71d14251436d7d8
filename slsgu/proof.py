"""The proof: what a patch does on images that nothing was chosen on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from slsgu.clip import Clip
from slsgu.data.batches import Ledger, stream
from slsgu.data.samples import Sample
from slsgu.distributed import ALONE, Ranks
from slsgu.errors import DataError, SlsguError
from slsgu.evaluate import Answers, Exam, exam_of
from slsgu.layers import inventory
from slsgu.measures import Measures
from slsgu.patch import Patch
from slsgu.progress import SILENT, Progress
from slsgu.prompts import PromptBook
from slsgu.replay import edited, image_tower
from slsgu.request import Request
from slsgu.settings import Settings
from slsgu.taxonomy import Taxonomy

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Proof:
    """Answers to one exam before and after a patch.

    Attributes:
        samples: the N images, in order.
        similarity: Figure 3, before and after: mean cosine between the images of class i and the
            class embedding of class j at the finest level, each [C, C].
    """

    exam: Exam
    samples: tuple[Sample, ...]
    before: Answers
    after: Answers
    measures: Measures
    similarity: tuple[Matrix, Matrix]


def prove(
    clip: Clip,
    samples: Sequence[Sample],
    taxonomy: Taxonomy,
    templates: Sequence[str],
    *,
    settings: Settings,
    request: Request | None = None,
    patch: Patch | None = None,
    ledger: Ledger | None = None,
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> Proof:
    """Measure a model with and without a patch. Images are streamed; after the patch they are
    embedded again from the layer that moved on.

    Args:
        clip: the unpatched model; it is unchanged afterwards, to the bit.
        samples: the images, all from the test split.
        request: what the patch is to make forgotten; None if nothing is.
        patch: None measures the model as it is (after equals before).
        ledger: pictures used by another split are left out.
        ranks: the processes that share the images; all return the same.

    Raises:
        LayerMismatchError: the patch was not made for this model.
        SlsguError: the patched model has no answers any more.
        DataError: no usable image is left.
    """
    parameters = dict(clip.model.named_parameters())
    moved: dict[str, Tensor] = {}
    if patch is not None:
        patch.check(parameters)
        moved = {name: patch.patched(name).to(parameters[name]) for name in patch.layers}
    ledger = Ledger() if ledger is None else ledger
    towers = {"vision" if name.startswith("visual.") else "language" for name in moved}
    places = {layer.name: layer.block for layer in inventory(clip.model, norms=True)}
    cut = min((places.get(name) or 0 for name in moved if name.startswith("visual.")), default=0)
    mine = ranks.share(samples, settings.batch_size)
    place = {id(sample): index for index, sample in enumerate(samples)}
    seen: list[int] = []
    embedded: dict[str, list[Tensor]] = {"before": [], "after": []}
    with torch.no_grad(), progress.bar("test images", len(mine)) as advance:
        for batch in stream(
            mine,
            clip.preprocess,
            split="test",
            ledger=ledger,
            batch_size=settings.batch_size,
            workers=settings.workers,
            strict=settings.strict,
            progress=advance,
        ):
            seen += [place[id(sample)] for sample in batch.samples]
            tower = image_tower(clip, batch.pixels, cut=cut)
            embedded["before"].append(normalize(tower.base, dim=-1))
            if "vision" in towers:
                with _all_edited(parameters, moved):
                    embedded["after"].append(normalize(tower.run(), dim=-1))
    found, vision_before, vision_after = _together(samples, seen, embedded, clip, ledger, ranks)
    if not found:
        raise DataError(f"no usable image is left in the test split{ledger.why('test')}")
    exam = exam_of(found, taxonomy, request)
    book = PromptBook.of(exam.concepts, templates)
    with torch.no_grad():
        before = after = clip.encode_text(book.texts)
        if "language" in towers:
            with _all_edited(parameters, moved):
                after = clip.encode_text(book.texts)
    if patch is not None:
        _refuse_broken(vision_after, after)
    traced = request is not None and all(s.leaf in request.forget_leaves for s in samples)
    if request is not None and (not exam.forget.any() or (exam.forget.all() and not traced)):
        which = "image of anything else" if exam.forget.any() else f"image of {request.title}"
        raise DataError(
            f"the test split has no usable {which}: nothing can be proved{ledger.why('test')}"
        )
    answers = tuple(
        replace(exam.answer(images, classes), top5=exam.top5(images, classes[-1]))
        for images, classes in (
            (vision_before, exam.class_embeddings(before, book)),
            (vision_after, exam.class_embeddings(after, book)),
        )
    )
    return Proof(
        exam=exam,
        samples=tuple(found),
        before=answers[0],
        after=answers[1],
        measures=exam.measure_with_intervals(answers[0], answers[1], seed=settings.seed),
        similarity=(
            class_similarity(exam, vision_before, before, book),
            class_similarity(exam, vision_after, after, book),
        ),
    )


def _refuse_broken(*embeddings: Tensor) -> None:
    """Normalised embeddings have length one. Where numbers overflow they are zero or nan, and the
    first class would count as every answer."""
    for rows in embeddings:
        if not torch.allclose(rows.norm(dim=-1), torch.ones(()).to(rows), rtol=0, atol=0.01):
            raise SlsguError(
                "the patched model has no answers any more: its embeddings are zero or out of the "
                "range of numbers. Take a smaller step or scale"
            )


def _together(
    samples: Sequence[Sample],
    seen: Sequence[int],
    images: dict[str, list[Tensor]],
    clip: Clip,
    ledger: Ledger,
    ranks: Ranks,
) -> tuple[list[Sample], Tensor, Tensor]:
    """What all processes have seen, in the order of the samples, with embeddings before and after
    [N, d]; a ledger learns what the others could not read."""
    nothing = torch.empty(0, int(clip.model_cfg["embed_dim"]))
    parts = {when: torch.cat(found or [nothing.to(clip.device)]) for when, found in images.items()}
    if not images["after"]:
        parts["after"] = parts["before"]
    if ranks.world == 1:
        return [samples[index] for index in seen], parts["before"], parts["after"]
    gathered = ranks.gather((
        list(seen), parts["before"].cpu(), parts["after"].cpu(), ledger.skipped, ledger.overlaps
    ))  # fmt: skip
    for *_, skipped, overlaps in gathered:
        for skip in skipped:
            ledger.skip(*skip)
        for overlap in overlaps:
            ledger.overlap(*overlap)
    indices = [index for part in gathered for index in part[0]]
    order = sorted(range(len(indices)), key=indices.__getitem__)
    before = torch.cat([part[1] for part in gathered])[order].to(clip.device)
    after = torch.cat([part[2] for part in gathered])[order].to(clip.device)
    return [samples[indices[i]] for i in order], before, after


def class_similarity(exam: Exam, images: Tensor, prompts: Tensor, book: PromptBook) -> Matrix:
    """Figure 3: mean cosine between the images of class i and the text of class j [C, C], at the
    finest level. A class without images has a row of NaN."""
    classes = exam.levels[-1].classes
    texts = book.class_embeddings(prompts, classes)  # [C, d]
    labels = torch.from_numpy(exam.labels[:, -1]).to(images.device)
    images, labels = images[labels >= 0], labels[labels >= 0]
    sums = torch.zeros_like(texts).index_add_(0, labels, images)  # [C, d]
    counts = torch.bincount(labels, minlength=len(classes)).to(images)
    means = sums / counts[:, None]  # 0 / 0 gives the NaN of a class without images
    return np.asarray((means @ texts.T).double().cpu().numpy())


@contextlib.contextmanager
def _all_edited(parameters: dict[str, nn.Parameter], moved: dict[str, Tensor]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, weight in moved.items():
            stack.enter_context(edited(parameters[name], weight))
        yield
