"""The one pass: exact mean gradients of the forget and the retain loss for every layer.

A forget image has its captions (`slsgu.losses.captions`) in every template, each with an equal
share. A retain image is captioned with its own words, if it brings any, or with its leaf, in one
template that its content picks.

We store the gradient of the loss itself. Forgetting ascends: `theta + step * gradient`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from slsgu.concepts.prompts import PromptBook
from slsgu.data.batches import Reading, stream
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.errors import ArtifactError, DataError, ModelError
from slsgu.gradients.accumulate import (
    BatchLoss,
    LossGradient,
    PassOptions,
    forget_loss_of,
    retain_loss_of,
    run_pass,
)
from slsgu.gradients.bank import RetainCache
from slsgu.gradients.gradients import Gradients
from slsgu.gradients.resume import Partial
from slsgu.losses.captions import ForgetCaptions
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.losses.retain import RETAIN_LOSSES
from slsgu.models.layers import Layer
from slsgu.models.sense import refuse_uninformative
from slsgu.task.plan import Plan
from slsgu.utils.distributed import ALONE, Ranks
from slsgu.utils.files import json_sha256
from slsgu.utils.progress import SILENT, Progress


def compute_gradients(
    plan: Plan,
    ledger: Ledger,
    progress: Progress = SILENT,
    *,
    partial: Path | None = None,
    ranks: Ranks = ALONE,
    cache: RetainCache | None = None,
) -> Gradients:
    """Both passes of a plan, for every layer of both towers (gains of norms included), or for the
    one layer that the plan fixes.

    Args:
        plan: what to compute on.
        ledger: learns which pictures were used, so that no other split uses them again.
        partial: where unfinished sums are kept, and gone on with; None keeps none. With several
            processes none are kept.
        ranks: the processes that share the work; all return the same.
        cache: where the gradient of a retain set of the user's own is looked up and kept; with
            several processes it is not used.

    Raises:
        DataError: no usable image is left in one of the two sets.
        ModelError: the model's embeddings hold no information, or are no numbers.
    """
    refuse_uninformative(plan.task.clip)
    single = ranks.world == 1
    passes = _Passes(
        plan=plan,
        layers=plan.layers,
        ledger=ledger,
        progress=progress,
        store=Partial(partial if single else None, plan.key, ledger),
        ranks=ranks,
    )
    passes.resume()
    forget = _forget_pass(passes)
    retain = _retain_pass(passes, cache if single else None)
    _share_ledgers(ledger, ranks)
    return _gradients(passes, forget, retain)


@dataclass(frozen=True, eq=False)
class _Passes:
    """What the passes of one plan have in common."""

    plan: Plan
    layers: Sequence[Layer]
    ledger: Ledger
    progress: Progress
    store: Partial
    ranks: Ranks

    def resume(self) -> None:
        """Take up what an interrupted run has left.

        Raises:
            DataError: it met a picture that cannot be read, and the task is strict.
        """
        if message := self.store.load(self.fits):
            self.progress.say(message)
            if self.plan.task.data.strict and self.ledger.skipped:
                name, reason = self.ledger.skipped[0]
                raise DataError(f"{name}: {reason} (strict: unreadable images are refused)")

    def fits(self, sums: LossGradient) -> bool:
        """Whether gradients from a file are of layers of this model. A finished pass has all."""
        shapes = {layer.name: layer.shape for layer in self.layers}
        matches = all(shapes.get(n) == tuple(t.shape) for n, t in sums.gradients.items())
        return matches and (not sums.finished or sums.gradients.keys() == shapes.keys())

    def run(
        self, name: str, samples: Sequence[Sample], captions: Sequence[str], loss: BatchLoss
    ) -> LossGradient:
        """One pass over a set of images, as far as it is not done already."""
        task, settings = self.plan.task, self.plan.settings
        size = settings.contrastive_batch
        share = self.ranks.share(samples, size)
        sums = self.store.of(name)
        if sums.finished:
            return sums
        width = int(task.clip.model_cfg["embed_dim"])
        if sums.texts is not None and tuple(sums.texts.shape) != (len(captions), width):
            raise ArtifactError(
                f"unfinished gradient pass is damaged: {self.store.path} is of other captions: "
                "remove it"
            )
        reading = task.reading
        with self.progress.bar(f"{name} gradient", len(share)) as advance:
            advance(min(sums.position, len(share)))
            batches = stream(
                share[sums.position :],
                task.clip.preprocess,
                split="gradient",
                ledger=self.ledger,
                reading=Reading(task.machine.micro_batch(size), reading.workers, reading.strict),
                progress=advance,
            )
            options = PassOptions(
                precision=settings.gradient_precision,
                checkpointing=task.machine.checkpoint_activations,
                ranks=self.ranks,
            )
            result = run_pass(
                task.clip,
                self.layers,
                batches,
                captions,
                loss,
                logical_batch=size,
                options=options,
                sums=sums,
                after_batch=self.store.tick,
            )
        if result.count == 0:
            raise DataError(
                f"no usable image is left in the {name} set of the gradient split"
                f"{self.ledger.why('gradient')}"
            )
        if not math.isfinite(result.loss):
            raise ModelError(
                f"{task.clip.name}: the {name} loss is {result.loss:g}, so some embeddings are no "
                "numbers. Check the weights, and mean and std of the model's preprocessing"
            )
        return result


def _forget_pass(passes: _Passes) -> LossGradient:
    """The pass over the images that are to be forgotten."""
    plan = passes.plan
    name, samples = plan.settings.forget_loss_used, plan.task.forget_samples
    captions = ForgetCaptions.of(plan.task.request, name, samples)
    book = PromptBook.of(captions.concepts, plan.task.templates)
    weights = {(sample.leaf, sample.caption): captions.weights(sample, book) for sample in samples}
    loss = forget_loss_of(
        lambda batch: torch.stack([weights[x.leaf, x.caption] for x in batch.samples]),
        FORGET_LOSSES[name].of_images,
    )
    return passes.run("forget", samples, book.texts, loss)


def _retain_pass(passes: _Passes, cache: RetainCache | None) -> LossGradient:
    """The pass over the retain images, or what the cache has of it."""
    plan, ledger = passes.plan, passes.ledger
    task, settings = plan.task, plan.settings
    # A seeded shuffle mixes the classes of a logical batch.
    samples = task.retain_samples
    order = np.random.Generator(np.random.PCG64(task.seed)).permutation(len(samples))
    retained = [samples[i] for i in order]
    texts = _retain_captions(plan, retained)
    # Only the captions that were picked are run.
    captions = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    place = {id(sample): captions[text] for sample, text in zip(retained, texts, strict=True)}
    set_of = task.splits.description.get("retain")  # class folders are another set every time
    key = {
        "algorithm": plan.key["algorithm"],
        "layers": plan.key["layers"],
        "model": plan.key["model"],
        "configuration": plan.key["configuration"],
        "tokens": json_sha256(task.clip.tokenize(list(captions)).tolist()),
        "images": json_sha256([[s.fingerprint, t] for s, t in zip(retained, texts, strict=True)]),
        "retain_loss": plan.retain_loss,
        "contrastive_batch": settings.contrastive_batch,
        "precision": settings.gradient_precision,
    }
    keys = [key]  # of all layers, which serve one as well; then of the one that is fixed
    if settings.layer is not None:
        keys.append({**key, "layer": settings.layer})
    for each in keys:
        if cache is None or set_of is None or (cached := cache.load(each)) is None:
            continue
        gradient, hashes = cached
        wanted = {layer.name for layer in passes.layers}
        gradient.gradients = {n: t for n, t in gradient.gradients.items() if n in wanted}
        if passes.fits(gradient) and not ledger.reserved.keys() & set(hashes):
            passes.progress.say(f"retain gradient: reusing {cache.path(each)}")
            ledger.restore("gradient", hashes)
            return gradient
    complete = passes.store.of("retain").position == 0  # else an earlier process read some pictures
    loss = retain_loss_of(
        task.clip,
        lambda batch: torch.tensor([place[id(sample)] for sample in batch.samples]),
        RETAIN_LOSSES[plan.retain_loss],
    )
    with ledger.watching() as claimed:
        result = passes.run("retain", retained, list(captions), loss)
    # A picture that could not be read today may be readable tomorrow: only whole sets are kept.
    if cache is not None and set_of is not None and complete and result.count == len(retained):
        title = f"{set_of['root']} on {task.clip.name}"
        cache.save(keys[-1], result, sorted(claimed), title=title)
    return result


def _retain_captions(plan: Plan, samples: Sequence[Sample]) -> list[str]:
    """The one caption of each retain image: its own; or its leaf, in a template that its content
    picks. Without retain images, what is forgotten is kept as what stands above it."""
    task, request = plan.task, plan.task.request
    named = {leaf: leaf for leaf in request.retain_leaves}
    if task.forget_only:
        depths = {leaf: request.forget_depth(leaf) for leaf in request.forget_leaves}
        named = {leaf: leaf.lineage[depth - 2] for leaf, depth in depths.items() if depth}
    book = PromptBook.of(dict.fromkeys(named.values()), task.templates)
    texts = []
    for sample in samples:
        if sample.caption is not None and not task.forget_only:
            texts.append(sample.caption)
            continue
        assert sample.leaf is not None, "a sample without a caption has a leaf"
        rows = book.rows[named[sample.leaf]]
        texts.append(book.texts[rows[int(sample.fingerprint[:8], 16) % len(rows)]])
    return texts


def _share_ledgers(ledger: Ledger, ranks: Ranks) -> None:
    """Tell every process which pictures the others have used and left out."""
    for hashes, skipped, overlaps in ranks.gather(
        (ledger.hashes("gradient"), ledger.skipped, ledger.overlaps)
    ):
        ledger.restore("gradient", hashes)
        for item in skipped:
            ledger.skip(*item)
        for overlap in overlaps:
            ledger.overlap(*overlap)


def _gradients(passes: _Passes, forget: LossGradient, retain: LossGradient) -> Gradients:
    """Both means, with what made them."""
    task, ledger = passes.plan.task, passes.ledger
    parameters = dict(task.clip.model.named_parameters())
    return Gradients(
        forget=forget.gradients,
        retain=retain.gradients,
        weight_norms={x.name: float(parameters[x.name].norm()) for x in passes.layers},
        losses={"forget": forget.loss, "retain": retain.loss},
        counts={"forget": forget.count, "retain": retain.count},
        key=passes.plan.key,
        info={
            "title": task.request.title,
            "layers": [asdict(layer) for layer in passes.layers],
            "model": task.clip.describe(),
            "data": task.splits.description,
            "pixel_hashes": list(ledger.hashes("gradient")),
            "skipped": [[item.name, item.reason] for item in ledger.skipped],
            "overlaps": [list(item) for item in ledger.overlaps],
        },
    )
