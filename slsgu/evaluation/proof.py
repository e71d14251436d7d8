"""The proof: what a patch does on images that played no part in any choice."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.batches import Reading, stream
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.errors import DataError, SlsguError, SlsguWarning
from slsgu.evaluation.exam import Answers, Exam, exam_of
from slsgu.evaluation.found import FewShot
from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.replay import edited
from slsgu.evaluation.streamed_tower import StreamedTower
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.models.sense import shortcoming
from slsgu.patch.patch import Patch
from slsgu.utils.distributed import ALONE, Ranks
from slsgu.utils.progress import SILENT, Progress

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


def evaluate(
    clip: Clip,
    samples: Sequence[Sample],
    taxonomy: Taxonomy,
    templates: Sequence[str],
    *,
    reading: Reading | None = None,
    seed: int = 0,
    request: Request | None = None,
    patch: Patch | None = None,
    split: str = "test",
    ledger: Ledger | None = None,
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> Proof:
    """Measure a model with and without a patch. Images are streamed; after the patch they are
    embedded again from the layer that moved on.

    Args:
        clip: the unpatched model; it is unchanged afterwards, to the bit.
        samples: the images, all from one split.
        reading: how they are read.
        seed: of the bootstrap.
        request: what the patch is to make forgotten; None if nothing is.
        patch: None measures the model as it is (after equals before).
        split: that the images are of, for the ledger.
        ledger: pictures used by another split are left out.
        ranks: the processes that share the images; all return the same.

    Raises:
        LayerMismatchError: the patch was not made for this model.
        SlsguError: the patched model cannot answer any more.
        DataError: no usable image is left.
    """
    reading = reading or Reading()
    ledger = Ledger() if ledger is None else ledger
    edit = _Edit(clip, patch)
    images = _embed_images(edit, samples, reading, split, ledger, progress, ranks)
    if not images.samples:
        raise DataError(f"no usable image is left in the {split} split{ledger.why(split)}")
    exam = exam_of(images.samples, taxonomy, request)
    if request is not None:
        only_forget = all(s.leaf in request.forget_leaves for s in samples)
        _refuse_half(exam, request, split, ledger, only_forget=only_forget)
    book = PromptBook.of(exam.concepts, templates)
    prompts = edit.embed_texts(book.texts)
    if (reason := shortcoming(images.before, prompts[0])) is not None:
        warnings.warn(f"{reason}, so the figures mean nothing", SlsguWarning, stacklevel=2)
    if patch is not None:
        refuse_broken(images.after, prompts[1])
    answers = tuple(
        replace(exam.answer(embedded, classes), top5=exam.top5(embedded, classes[-1]))
        for embedded, classes in (
            (images.before, exam.class_embeddings(prompts[0], book)),
            (images.after, exam.class_embeddings(prompts[1], book)),
        )
    )
    measures = exam.measure_with_intervals(answers[0], answers[1], seed=seed)
    few_shot = FewShot.among(exam.leaves, request)
    if few_shot is not None:
        found = few_shot.found(few_shot.hits(images.before), images.after)
        measures = replace(measures, found=found)
    return Proof(
        exam=exam,
        samples=tuple(images.samples),
        before=answers[0],
        after=answers[1],
        measures=measures,
        similarity=(
            class_similarity(exam, images.before, prompts[0], book),
            class_similarity(exam, images.after, prompts[1], book),
        ),
    )


def embed(
    clip: Clip,
    samples: Sequence[Sample],
    *,
    patch: Patch | None,
    split: str,
    ledger: Ledger,
    reading: Reading | None = None,
    progress: Progress = SILENT,
) -> Embedded:
    """Embed images with and without a patch; the arguments are those of `evaluate`.

    Raises:
        LayerMismatchError: the patch was not made for this model.
    """
    edit = _Edit(clip, patch)
    return _embed_images(edit, samples, reading or Reading(), split, ledger, progress, ALONE)


class _Edit:
    """A model and the layers that a patch moves, which can be put in and taken out again."""

    def __init__(self, clip: Clip, patch: Patch | None) -> None:
        self.clip = clip
        self._parameters = dict(clip.model.named_parameters())
        self._moved: dict[str, Tensor] = {}
        if patch is not None:
            patch.check(self._parameters)
            self._moved = {
                name: patch.patched(name).to(self._parameters[name]) for name in patch.layers
            }
        self.vision = [name for name in self._moved if name.startswith("visual.")]
        self._language = [name for name in self._moved if not name.startswith("visual.")]
        places = {layer.name: layer.block for layer in inventory(clip.model, norms=True)}
        self.cut = min((places.get(name) or 0 for name in self.vision), default=0)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the layers are as the patch has them; afterwards, as they were, to the bit."""
        with contextlib.ExitStack() as stack:
            for name, weight in self._moved.items():
                stack.enter_context(edited(self._parameters[name], weight))
            yield

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings of texts before and after [P, d]."""
        with torch.no_grad():
            before = after = self.clip.encode_text(texts)
            if self._language:
                with self.in_place():
                    after = self.clip.encode_text(texts)
        return before, after


@dataclass(frozen=True, eq=False)
class Embedded:
    """Images and their normalised embeddings before and after a patch [N, d]."""

    samples: list[Sample]
    before: Tensor
    after: Tensor


def _embed_images(
    edit: _Edit,
    samples: Sequence[Sample],
    reading: Reading,
    split: str,
    ledger: Ledger,
    progress: Progress,
    ranks: Ranks,
) -> Embedded:
    """Stream the images of this process through the model, before and after the edit; all processes
    return the images of all, in the order of the samples."""
    clip = edit.clip
    share = ranks.share(samples, reading.batch_size)
    place = {id(sample): index for index, sample in enumerate(samples)}
    positions: list[int] = []
    embedded: dict[str, list[Tensor]] = {"before": [], "after": []}
    tower = StreamedTower(clip, cut=edit.cut)
    with torch.no_grad(), progress.bar(f"{split} images", len(share)) as advance:
        for batch in stream(
            share,
            clip.preprocess,
            split=split,
            ledger=ledger,
            reading=reading,
            progress=advance,
        ):
            positions += [place[id(sample)] for sample in batch.samples]
            embedded["before"].append(normalize(tower.load(batch.pixels), dim=-1))
            if edit.vision:
                with edit.in_place():
                    embedded["after"].append(normalize(tower.run(), dim=-1))
    nothing = torch.empty(0, int(clip.model_cfg["embed_dim"]))
    parts = {moment: torch.cat(x or [nothing.to(clip.device)]) for moment, x in embedded.items()}
    if not embedded["after"]:
        parts["after"] = parts["before"]
    if ranks.world == 1:
        return Embedded([samples[i] for i in positions], parts["before"], parts["after"])
    gathered = ranks.gather((
        positions, parts["before"].cpu(), parts["after"].cpu(), ledger.skipped, ledger.overlaps
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
    return Embedded([samples[indices[i]] for i in order], before, after)


def _refuse_half(
    exam: Exam, request: Request, split: str, ledger: Ledger, *, only_forget: bool
) -> None:
    """A split that has lost all images of one kind proves nothing.

    Args:
        only_forget: whether there were no images of anything else from the start.
    """
    if not exam.forget.any() or (exam.forget.all() and not only_forget):
        which = "image of anything else" if exam.forget.any() else f"image of {request.title}"
        raise DataError(
            f"the {split} split has no usable {which}: nothing can be measured{ledger.why(split)}"
        )


def refuse_broken(*embeddings: Tensor) -> None:
    """Normalised embeddings have length one. Where numbers overflow they are zero or nan, and the
    first class would count as every answer.

    Raises:
        SlsguError: they are not of length one.
    """
    for rows in embeddings:
        if not torch.allclose(rows.norm(dim=-1), torch.ones(()).to(rows), rtol=0, atol=0.01):
            raise SlsguError(
                "the patched model cannot answer any more: its embeddings are zero or out of the "
                "range of numbers. Take a smaller step or scale"
            )


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
