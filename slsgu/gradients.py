"""The one pass: exact mean gradients of the forget and the retain loss for every layer.

A forget image has its captions (`slsgu.captions`) in every template, each with an equal share. A
retain image is captioned with its own words, if it brings any, or with its leaf, in one template
that its content picks.

We store the gradient of the loss itself. Forgetting ascends: `theta + step * gradient`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from slsgu.cache import Gradients
from slsgu.captions import ForgetCaptions
from slsgu.data.batches import Ledger, stream
from slsgu.data.samples import Sample
from slsgu.distributed import ALONE, Ranks
from slsgu.errors import DataError
from slsgu.files import json_sha256
from slsgu.layers import inventory
from slsgu.losses import FORGET_LOSSES, RETAIN_LOSSES
from slsgu.partial import Partial
from slsgu.passes import BatchLoss, How, Pass, forget_loss_of, retain_loss_of, run_pass
from slsgu.plan import Plan
from slsgu.progress import SILENT, Progress
from slsgu.prompts import PromptBook
from slsgu.retain_cache import RetainCache, RetainGradient

RunPass: TypeAlias = Callable[[str, Sequence[Sample], Sequence[str], BatchLoss], Pass]


def compute_gradients(
    plan: Plan,
    ledger: Ledger,
    progress: Progress = SILENT,
    *,
    partial: Path | None = None,
    ranks: Ranks = ALONE,
    cache: RetainCache | None = None,
) -> Gradients:
    """Both passes of a plan, for every layer of both towers (gains of norms included).

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
    """
    clip, settings = plan.clip, plan.settings
    layers = inventory(clip.model, norms=True)
    request = plan.request
    store = Partial(partial if ranks.world == 1 else None, plan.key, ledger)
    if found := store.load():
        progress.say(found)
        if settings.strict and ledger.skipped:
            name, reason = ledger.skipped[0]
            raise DataError(f"{name}: {reason} (strict: unreadable images are refused)")

    def run(name: str, samples: Sequence[Sample], captions: Sequence[str], loss: BatchLoss) -> Pass:
        size = settings.contrastive_batch
        mine = ranks.share(samples, size)
        sums = store.of(name)
        if sums.finished:
            return Pass(sums.gradients, sums.loss, sums.count)
        with progress.bar(f"{name} gradient", len(mine)) as advance:
            advance(min(sums.position, len(mine)))
            result = run_pass(
                clip,
                layers,
                stream(
                    mine[sums.position :],
                    clip.preprocess,
                    split="gradient",
                    ledger=ledger,
                    batch_size=settings.micro_batch,
                    workers=settings.workers,
                    strict=settings.strict,
                    progress=advance,
                ),
                captions,
                loss,
                logical_batch=size,
                how=How(
                    precision=settings.gradient_precision,
                    checkpointing=settings.checkpoint_activations,
                    ranks=ranks,
                ),
                sums=sums,
                after_batch=store.tick,
            )
        if result.count == 0:
            raise DataError(
                f"no usable image is left in the {name} set of the gradient split"
                f"{ledger.why('gradient')}"
            )
        sums.gradients, sums.texts = result.gradients, None
        sums.loss, sums.count, sums.finished = result.loss, result.count, True
        return result

    captions = ForgetCaptions.of(request, settings.forget_loss_used, plan.forget_samples)
    book = PromptBook.of(captions.concepts, plan.templates)
    weights = {
        (sample.leaf, sample.caption): captions.weights(sample, book)
        for sample in plan.forget_samples
    }
    forget = run(
        "forget",
        plan.forget_samples,
        book.texts,
        forget_loss_of(
            lambda batch: torch.stack([weights[x.leaf, x.caption] for x in batch.samples]),
            FORGET_LOSSES[settings.forget_loss_used].of_images,
        ),
    )
    retain = _retain_pass(plan, run, ledger, progress, cache if ranks.world == 1 else None, store)
    for hashes, skipped, overlaps in ranks.gather(
        (ledger.hashes("gradient"), ledger.skipped, ledger.overlaps)
    ):
        ledger.restore("gradient", hashes)
        for item in skipped:
            ledger.skip(*item)
        for overlap in overlaps:
            ledger.overlap(*overlap)
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
            "overlaps": [list(item) for item in ledger.overlaps],
        },
    )


def _retain_pass(
    plan: Plan,
    run: RunPass,
    ledger: Ledger,
    progress: Progress,
    cache: RetainCache | None,
    store: Partial,
) -> Pass:
    """The pass over the retain images, or what the cache has of it."""
    clip, settings = plan.clip, plan.settings
    # A seeded shuffle mixes the classes of a logical batch.
    order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(
        len(plan.retain_samples)
    )
    retained = [plan.retain_samples[i] for i in order]
    texts = _retain_captions(plan, retained)
    drawn = {text: index for index, text in enumerate(dict.fromkeys(texts))}  # only these are run
    place = {id(sample): drawn[text] for sample, text in zip(retained, texts, strict=True)}
    set_of = plan.splits.description.get("retain")  # class folders are another set every time
    key = {
        "model": plan.key["model"],
        "configuration": plan.key["configuration"],
        "tokens": json_sha256(clip.tokenize(list(drawn)).tolist()),
        "images": json_sha256([[s.fingerprint, t] for s, t in zip(retained, texts, strict=True)]),
        "retain_loss": plan.retain_loss,
        "contrastive_batch": settings.contrastive_batch,
        "precision": settings.gradient_precision,
    }
    if (
        cache is not None
        and set_of is not None
        and (found := cache.load(key)) is not None
        and not (ledger.reserved.keys() & set(found.hashes))
    ):
        progress.say(f"retain gradient: reusing {cache.path(key)}")
        ledger.restore("gradient", found.hashes)
        return found.result
    whole = store.of("retain").position == 0  # else some pictures were read by an earlier process
    with ledger.watching() as seen:
        result = run(
            "retain",
            retained,
            list(drawn),
            retain_loss_of(
                clip,
                lambda batch: torch.tensor([place[id(sample)] for sample in batch.samples]),
                RETAIN_LOSSES[plan.retain_loss],
            ),
        )
    # A picture that could not be read today may be readable tomorrow: only whole sets are kept.
    if cache is not None and set_of is not None and whole and result.count == len(retained):
        cache.save(
            key,
            RetainGradient(result, sorted(seen)),
            title=f"{set_of['root']} on {clip.name}",
        )
    return result


def _retain_captions(plan: Plan, samples: Sequence[Sample]) -> list[str]:
    """The one caption of each retain image: its own; or its leaf, in a template that its content
    picks. Without retain images, what is forgotten is kept as what stands above it."""
    request = plan.request
    kept = {leaf: leaf for leaf in request.retain_leaves}
    if plan.traced:
        depths = {leaf: request.forget_depth(leaf) for leaf in request.forget_leaves}
        kept = {leaf: leaf.lineage[depth - 2] for leaf, depth in depths.items() if depth}
    book = PromptBook.of(dict.fromkeys(kept.values()), plan.templates)
    texts = []
    for sample in samples:
        if sample.caption is not None and not plan.traced:
            texts.append(sample.caption)
            continue
        assert sample.leaf is not None, "a sample without a caption has a leaf"
        rows = book.rows[kept[sample.leaf]]
        texts.append(book.texts[rows[int(sample.fingerprint[:8], 16) % len(rows)]])
    return texts
