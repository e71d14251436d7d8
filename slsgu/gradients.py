"""The one pass: exact mean gradients of the forget and the retain loss for every layer.

The weights do not move during the pass, so every distinct caption is encoded once for the whole
pass; what the loss says about its embedding is summed over all batches and sent back through the
text tower in one backward pass at the end. An image batch goes through its tower once, or, where
a logical contrastive batch is larger than what fits in memory, twice: embeddings first, then
back-propagation by chunk (GradCache, Gao et al. 2021). Sums are divided by the number of samples
at the end, so a ragged last batch weighs what it should, and the size of a micro-batch changes
nothing.

We store the gradient of the loss itself. Forgetting ascends: `theta + step * gradient`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from slsgu.cache import Gradients
from slsgu.captions import ForgetCaptions
from slsgu.clip import Clip
from slsgu.data.batches import Batch, Ledger, stream
from slsgu.data.samples import Sample
from slsgu.errors import DataError
from slsgu.layers import Layer, inventory
from slsgu.losses import FORGET_LOSSES, RETAIN_LOSSES, ForgetLoss, RetainLoss
from slsgu.plan import Plan
from slsgu.progress import SILENT, Advance, Progress
from slsgu.prompts import PromptBook

TEXT_CHUNK = 256  # captions that go backwards through the text tower together


def compute_gradients(plan: Plan, ledger: Ledger, progress: Progress = SILENT) -> Gradients:
    """Both passes of a plan, for every layer of both towers (gains of norms included).

    A forget image has its captions (`slsgu.captions`) in every template, each with an equal share.
    A retain image is captioned with its leaf, in one template that its content picks.

    Args:
        plan: what to compute on.
        ledger: learns which pictures were used, so that no other split uses them again.

    Raises:
        DataError: no usable image is left in one of the two sets.
    """
    clip, settings = plan.clip, plan.settings
    layers = inventory(clip.model, norms=True)
    request = plan.request

    def batches(samples: Sequence[Sample], advance: Advance) -> Iterator[Batch]:
        return stream(
            samples,
            clip.preprocess,
            split="gradient",
            ledger=ledger,
            batch_size=settings.micro_batch,
            workers=settings.workers,
            strict=settings.strict,
            progress=advance,
        )

    captions = ForgetCaptions(request, settings.forget_loss_used)
    forget_book = PromptBook.of(captions.concepts, plan.templates)
    weights = {leaf: captions.weights(leaf, forget_book) for leaf in request.forget_leaves}
    with progress.bar("forget gradient", len(plan.forget_samples)) as advance:
        forget = forget_pass(
            clip,
            layers,
            batches(plan.forget_samples, advance),
            forget_book.texts,
            lambda batch: torch.stack([weights[sample.leaf] for sample in batch.samples]),
            FORGET_LOSSES[settings.forget_loss_used].of_images,
        )
    retain_book = PromptBook.of(request.retain_leaves, plan.templates)
    # A seeded shuffle mixes the classes of a logical batch.
    order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(
        len(plan.retain_samples)
    )
    with progress.bar("retain gradient", len(order)) as advance:
        retain = retain_pass(
            clip,
            layers,
            batches([plan.retain_samples[i] for i in order], advance),
            retain_book.texts,
            lambda batch: torch.tensor([_caption(sample, retain_book) for sample in batch.samples]),
            RETAIN_LOSSES[settings.retain_loss_used],
            contrastive_batch=settings.contrastive_batch,
        )
    for what, found in (("forget", forget), ("retain", retain)):
        if found.count == 0:
            raise DataError(
                f"no usable image is left in the {what} set of the gradient split"
                f"{ledger.why('gradient')}"
            )
    parameters = dict(clip.model.named_parameters())
    return Gradients(
        forget=forget.gradients,
        retain=retain.gradients,
        weight_norms={layer.name: float(parameters[layer.name].norm()) for layer in layers},
        losses={"forget": forget.loss, "retain": retain.loss},
        counts={"forget": forget.count, "retain": retain.count},
        key=plan.key,
        info={
            "title": request.title,
            "layers": [asdict(layer) for layer in layers],
            "model": clip.describe(),
            "data": plan.splits.description,
            "pixel_hashes": list(ledger.hashes("gradient")),
            "skipped": [[item.name, item.reason] for item in ledger.skipped],
        },
    )


def _caption(sample: Sample, book: PromptBook) -> int:
    """The one caption of a retain image: its leaf in a template picked by its content."""
    rows = book.rows[sample.leaf]
    return rows[int(sample.fingerprint[:8], 16) % len(rows)]


@dataclass(frozen=True)
class Pass:
    """The result of one pass over one set: mean gradients, mean loss, number of images."""

    gradients: dict[str, Tensor]
    loss: float
    count: int


def forget_pass(
    clip: Clip,
    layers: Sequence[Layer],
    batches: Iterable[Batch],
    captions: Sequence[str],
    weights_of: Callable[[Batch], Tensor],
    loss: ForgetLoss,
) -> Pass:
    """Mean gradient of the forget loss over a stream of images.

    Args:
        captions: M distinct captions.
        weights_of: for a batch of B images, how much of each caption an image has [B, M].
    """

    def batch_loss(images: Tensor, texts: Tensor, rows: Sequence[Batch]) -> Tensor:
        weights = torch.cat([weights_of(batch) for batch in rows]).to(images)
        return loss(images, texts, weights).sum()

    return _run_pass(clip, layers, ([batch] for batch in batches), captions, batch_loss)


def retain_pass(
    clip: Clip,
    layers: Sequence[Layer],
    batches: Iterable[Batch],
    captions: Sequence[str],
    caption_of: Callable[[Batch], Tensor],
    loss: RetainLoss,
    *,
    contrastive_batch: int,
) -> Pass:
    """Mean gradient of the retain loss over a stream of images.

    Args:
        captions: M distinct captions.
        caption_of: for a batch of B images, the index of each image's caption [B].
        contrastive_batch: images that are contrasted with each other. The gradient depends on it,
            so it is recorded; it must be a multiple of the size of a full micro-batch.
    """
    scale = dict(clip.model.named_parameters())["logit_scale"].detach().exp().reshape(())

    def batch_loss(images: Tensor, texts: Tensor, rows: Sequence[Batch]) -> Tensor:
        indices = torch.cat([caption_of(batch) for batch in rows]).to(images.device)
        return loss(images, texts, indices, scale) * len(images)

    logical = _logical_batches(batches, contrastive_batch)
    return _run_pass(clip, layers, logical, captions, batch_loss)


def _logical_batches(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Group consecutive micro-batches until `size` images are together."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if sum(len(part.samples) for part in group) >= size:
            yield group
            group = []
    if group:
        yield group


def _run_pass(
    clip: Clip,
    layers: Sequence[Layer],
    groups: Iterable[list[Batch]],
    captions: Sequence[str],
    batch_loss: Callable[[Tensor, Tensor, Sequence[Batch]], Tensor],
) -> Pass:
    """Sum a loss and its gradients over logical batches; gradients gather where autograd leaves
    them, in `param.grad`."""
    clip = replace(clip, precision="fp32")  # gradients are exact whatever evaluation runs in
    parameters = dict(clip.model.named_parameters())
    wanted = [parameters[layer.name] for layer in layers]
    assert not clip.model.training, "gradients are taken in eval mode"
    with torch.no_grad():
        texts = clip.encode_text(captions)  # [M, d]
    text_gradient = torch.zeros_like(texts)
    total, count = 0.0, 0
    try:
        for parameter in wanted:
            parameter.requires_grad_(True)
            parameter.grad = None
        for group in groups:
            leaf = texts.clone().requires_grad_(True)
            if len(group) == 1:
                value = batch_loss(clip.encode_image(group[0].pixels), leaf, group)
                torch.autograd.backward(value)
            else:
                with torch.no_grad():
                    parts = [clip.encode_image(batch.pixels) for batch in group]
                images = torch.cat(parts).requires_grad_(True)  # [B, d]
                value = batch_loss(images, leaf, group)
                torch.autograd.backward(value)
                assert images.grad is not None
                sizes = [len(part) for part in parts]
                for batch, upstream in zip(group, torch.split(images.grad, sizes), strict=True):
                    torch.autograd.backward(clip.encode_image(batch.pixels), upstream)
            assert leaf.grad is not None
            text_gradient += leaf.grad
            total += float(value.detach())
            count += sum(len(batch.samples) for batch in group)
        for start in range(0, len(captions), TEXT_CHUNK):
            part = slice(start, start + TEXT_CHUNK)
            torch.autograd.backward(clip.encode_text(captions[part]), text_gradient[part])
        gradients = {
            layer.name: torch.zeros_like(parameter, device="cpu")
            if parameter.grad is None
            else (parameter.grad / max(count, 1)).to("cpu", torch.float32)
            for layer, parameter in zip(layers, wanted, strict=True)
        }
    finally:
        for parameter in wanted:
            parameter.requires_grad_(False)
            parameter.grad = None
    return Pass(gradients, total / max(count, 1), count)
