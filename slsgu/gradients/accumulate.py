"""One pass over one set of images: the sum of a loss and of its gradients for every layer.

The weights do not move during a pass, so every distinct caption is encoded once for the whole
pass; what the loss says about its embedding is summed over all batches and sent back through the
text tower in one backward pass at the end. An image batch goes through its tower once, or, where
a logical contrastive batch is larger than what fits in memory, twice: embeddings first, then
back-propagation by chunk (GradCache, Gao et al. 2021); the last chunk keeps its graph and goes
through once. Gradients gather where autograd leaves them, in `param.grad`. Sums are divided by the
number of samples at the end, so a ragged batch weighs what it should.

Autograd goes back no farther than to the shallowest layer that is asked for. Where only layers
behind the last stage of the image tower are, hardly any activations need to be kept, so every
chunk keeps its graph; a tower of which no layer is asked for is not differentiated at all.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from slsgu.data.batches import Batch
from slsgu.errors import ModelError, SlsguError
from slsgu.losses.forget import ForgetLoss
from slsgu.losses.retain import RetainLoss
from slsgu.models.clip import Clip, Precision
from slsgu.models.layers import Layer
from slsgu.utils.distributed import ALONE, Ranks

TEXT_CHUNK = 256  # captions that go backwards through the text tower together
BatchLoss = Callable[[Tensor, Tensor, Sequence[Batch]], Tensor]


@dataclass
class LossGradient:
    """The gradient of one loss for every layer: a sum over images while a pass goes on, to which
    tensors are added in place; the mean when it is finished.

    Attributes:
        gradients: by layer, fp32; while the pass goes on, what lies before the captions'
            embeddings is still missing from the text tower's.
        texts: the same for the captions' embeddings [M, d]; None when finished.
        loss: of the images.
        count: images that were used.
        position: samples that are done with, used or not.
        finished: whether gradients and loss are means, and complete.
    """

    gradients: dict[str, Tensor] = field(default_factory=dict)
    texts: Tensor | None = None
    loss: float = 0.0
    count: int = 0
    position: int = 0
    finished: bool = False

    def finish(self, gradients: dict[str, Tensor], loss: float, count: int) -> None:
        """Turn sums into means.

        Args:
            gradients, loss: summed over all images, in every process.
            count: images in all processes.
        """
        for gradient in gradients.values():
            gradient /= max(count, 1)
        self.gradients, self.texts = gradients, None
        self.loss, self.count, self.finished = loss / max(count, 1), count, True


@dataclass(frozen=True, kw_only=True)
class PassOptions:
    """How a pass runs, which changes its speed and memory.

    Attributes:
        precision: of forward and backward; sums over batches are fp32 in any case. Not fp32, it
            changes the gradient, so it is recorded.
        checkpointing: keep no activations of a block, compute them again on the way back.
        ranks: the processes that share the pass.
    """

    precision: Precision = "fp32"
    checkpointing: bool = False
    ranks: Ranks = ALONE


def forget_loss_of(weights_of: Callable[[Batch], Tensor], loss: ForgetLoss) -> BatchLoss:
    """The summed forget loss of a batch.

    Args:
        weights_of: for a batch of B images, how much of each caption an image has [B, M].
    """

    def batch_loss(images: Tensor, texts: Tensor, rows: Sequence[Batch]) -> Tensor:
        weights = torch.cat([weights_of(batch) for batch in rows]).to(images)
        return loss(images, texts, weights).sum()

    return batch_loss


def retain_loss_of(
    clip: Clip, caption_of: Callable[[Batch], Tensor], loss: RetainLoss
) -> BatchLoss:
    """The summed retain loss of a logical batch.

    Args:
        caption_of: for a batch of B images, the index of each image's caption [B].
    """
    scale = dict(clip.model.named_parameters())["logit_scale"].detach().exp().reshape(())

    def batch_loss(images: Tensor, texts: Tensor, rows: Sequence[Batch]) -> Tensor:
        indices = torch.cat([caption_of(batch) for batch in rows]).to(images.device)
        return loss(images, texts, indices, scale) * len(images)

    return batch_loss


def run_pass(
    clip: Clip,
    layers: Sequence[Layer],
    batches: Iterable[Batch],
    captions: Sequence[str],
    batch_loss: BatchLoss,
    *,
    logical_batch: int,
    options: PassOptions | None = None,
    sums: LossGradient | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> LossGradient:
    """Mean gradients of a loss over a stream of images.

    Args:
        batches: the share of this process, from where `sums` left off; a micro-batch never
            straddles two logical ones.
        captions: M distinct captions.
        logical_batch: samples whose loss is taken together; the gradient of a contrastive loss
            depends on it.
        sums: what was summed up before; it is added to, and returned, finished.
        after_batch: called after each logical batch, when `sums` are up to date.
    """
    options = options or PassOptions()
    ranks = options.ranks
    clip = replace(clip, precision=options.precision)
    sums = sums or LossGradient()
    parameters = dict(clip.model.named_parameters())
    weights = {layer.name: parameters[layer.name] for layer in layers}
    assert not clip.model.training, "gradients are taken in eval mode"
    with torch.no_grad():
        texts = clip.encode_text(captions)  # [M, d]
    sums.texts = torch.zeros_like(texts) if sums.texts is None else sums.texts.to(texts)
    towers = {layer.tower for layer in layers}
    only_last = all(layer.last for layer in layers if layer.tower == "vision")
    with _gathering(weights, sums), _checkpointing(clip, options.checkpointing):
        error = None
        try:
            start = sums.position
            groups = itertools.groupby(batches, key=lambda b: (b.stop - 1) // logical_batch)
            for number, group in groups:
                _add_batch(clip, texts, list(group), batch_loss, sums, only_last)
                sums.position = start + (number + 1) * logical_batch
                sums.gradients = {n: p.grad for n, p in weights.items() if p.grad is not None}
                after_batch()
        except SlsguError as failure:
            error = failure
        ranks.agree(error)
        ranks.add_up(sums.texts)
        chunks = range(0, len(captions) if "language" in towers else 0, TEXT_CHUNK)
        for first in itertools.islice(chunks, ranks.rank, None, ranks.world):
            part = slice(first, first + TEXT_CHUNK)
            torch.autograd.backward(clip.encode_text(captions[part]), sums.texts[part])
        totals = ranks.add_up(torch.tensor([sums.loss, sums.count], dtype=torch.float64))
        gradients = {name: _total(parameter, ranks) for name, parameter in weights.items()}
    sums.finish(gradients, float(totals[0]), int(totals[1]))
    return sums


def _add_batch(
    clip: Clip,
    texts: Tensor,
    group: list[Batch],
    batch_loss: BatchLoss,
    sums: LossGradient,
    keep_graphs: bool,
) -> None:
    """Add one logical batch to the sums.

    Args:
        keep_graphs: of every chunk, not of the last alone.
    """
    leaf = texts.clone().requires_grad_(True)
    *others, last = group
    with torch.set_grad_enabled(keep_graphs):
        parts = [clip.encode_image(batch.pixels) for batch in others]
    embedded = clip.encode_image(last.pixels)  # the graph of the last chunk stays
    images = torch.cat([*parts, embedded]).detach().requires_grad_(True)  # [B, d]
    value = batch_loss(images, leaf, group)
    torch.autograd.backward(value)
    assert images.grad is not None and leaf.grad is not None and sums.texts is not None
    upstream = torch.split(images.grad, [len(part) for part in (*parts, embedded)])
    if embedded.requires_grad:
        torch.autograd.backward(embedded, upstream[-1])
        del embedded
        for batch, part, gradient in zip(others, parts, upstream, strict=False):
            again = part if keep_graphs else clip.encode_image(batch.pixels)
            torch.autograd.backward(again, gradient)
    sums.texts += leaf.grad
    sums.loss += float(value.detach())
    sums.count += sum(len(batch.samples) for batch in group)


@contextlib.contextmanager
def _gathering(weights: dict[str, torch.nn.Parameter], sums: LossGradient) -> Iterator[None]:
    """Within, autograd adds to the sums; outside, no parameter has or needs a gradient."""
    try:
        for name, parameter in weights.items():
            parameter.requires_grad_(True)
            gradient = sums.gradients.get(name)
            parameter.grad = None if gradient is None else gradient.to(parameter)
        yield
    finally:
        for parameter in weights.values():
            parameter.requires_grad_(False)
            parameter.grad = None


def _total(parameter: torch.nn.Parameter, ranks: Ranks) -> Tensor:
    """The gradient of a parameter, summed over processes, taken out of it; fp32 on the CPU."""
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    parameter.grad = None
    return ranks.add_up(gradient.detach()).to("cpu", torch.float32)


@contextlib.contextmanager
def _checkpointing(clip: Clip, enabled: bool) -> Iterator[None]:
    """OpenCLIP's activation checkpointing, switched on within."""
    if not enabled:
        yield
        return
    switch: Any = clip.model.set_grad_checkpointing
    try:
        switch(True)
    except (NotImplementedError, AssertionError, TypeError, AttributeError) as error:
        raise ModelError(
            f"a tower of {clip.name} cannot checkpoint activations; leave that option out"
        ) from error
    try:
        yield
    finally:
        switch(False)
