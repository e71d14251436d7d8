"""How far a patch moves what a larger system reads: hidden states of prompts, or patch tokens.

Zero-shot accuracy is CLIP's own task. Stable Diffusion and LLaVA take hidden states instead, so a
patch for them is measured there too: what is given of prompts (pictures) with the concept should
move far, and what is given of all others little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from slsgu.concepts.prompts import prompts_for
from slsgu.concepts.taxonomy import Concept
from slsgu.data.batches import stream
from slsgu.data.samples import Sample
from slsgu.interop.targets import find_target
from slsgu.models.clip import Clip
from slsgu.models.layers import stages
from slsgu.patch.patch import Patch
from slsgu.task.task import Task

MOST_TEXTS = 500  # of each group: more say the same
TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Movement:
    """How far what is read of a group of prompts or pictures has moved.

    Attributes:
        count: of prompts or pictures.
        mean: of the distances, each as a share of the length of what was read before.
        most: 95 of 100 are no further.
    """

    count: int
    mean: float
    most: float

    @classmethod
    def of(cls, distances: Sequence[float]) -> Movement | None:
        """Of distances; None where there are none."""
        if not distances:
            return None
        values = torch.tensor(distances, dtype=torch.float64)
        return cls(len(distances), float(values.mean()), float(values.quantile(0.95)))


@dataclass(frozen=True)
class Moved:
    """What a patch moves of what a system reads.

    Attributes:
        system: its name in `slsgu.interop.targets.TARGETS`.
        what: what was measured, in words.
        concept: of prompts or pictures with the concept that was forgotten.
        kept: of the others.
    """

    system: str
    what: str
    concept: Movement | None
    kept: Movement | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def measure_moved(system: str, task: Task, patch: Patch, samples: Sequence[Sample]) -> Moved | None:
    """How far a patch moves what a system reads of the test split.

    Args:
        system: a name in `slsgu.interop.targets.TARGETS`.
        task: what was forgotten; its model is unpatched, and is so again afterwards.
        patch: checked to be read there.
        samples: the pictures that the patch was measured on.

    Returns:
        None for CLIP itself, of which the accuracy says it.

    Raises:
        SlsguError: there is no such system.
    """
    target, clip = find_target(system), task.clip
    if target.tower is None:
        return None
    if target.tower == "language":
        groups = [
            _distances_of_texts(system, clip, patch, texts) for texts in _texts(task, samples)
        ]
        what = "hidden states of prompts"
    else:
        groups = _distances_of_pictures(system, task, patch, samples)
        what = "patch tokens of test images"
    return Moved(system, what, *(Movement.of(group) for group in groups))


def given(system: str, clip: Clip, run: Callable[[], Tensor]) -> list[Tensor]:
    """What a system is given of a batch: states of tokens [B, L, w], and for the second encoder of
    Stable Diffusion XL also the embeddings [B, d].

    Args:
        run: the forward pass of the tower.
    """
    target = find_target(system)
    assert target.tower is not None
    blocks = stages(clip.model, target.tower)
    # Both encoders of XL give the states before the last block, whatever else the second gives.
    left_out = 1 if system.startswith("sdxl") else target.unread_blocks
    found: list[Tensor] = []
    handle = blocks[len(blocks) - 1 - left_out].register_forward_hook(
        lambda module, args, output: found.append(output)
    )
    try:
        embeddings = run()
    finally:
        handle.remove()
    states = found[0].float()
    if system in ("sd1", "sd2"):
        norm: Any = getattr(clip.model, "text", clip.model)
        states = norm.ln_final(states)
    if system == "llava":
        states = states[:, 1:]  # without the class token
    return [states, embeddings] if system == "sdxl-2" else [states]


def _texts(task: Task, samples: Sequence[Sample]) -> list[list[str]]:
    """Prompts, and captions of test pictures, with the concept, and without it."""
    forget = frozenset(task.request.forget_leaves)
    found: list[list[str]] = [[], []]
    for group, leaves in enumerate((task.request.forget_leaves, task.request.retain_leaves)):
        found[group] += _prompts(leaves, task.templates)
    for sample in samples:
        if sample.caption is not None:
            found[0 if sample.leaf in forget else 1].append(sample.caption)
    concept, kept = (list(dict.fromkeys(texts)) for texts in found)
    named = set(concept)
    kept = [text for text in kept if text not in named]
    return [_spread(texts, MOST_TEXTS) for texts in (concept, kept)]


def _prompts(leaves: Iterable[Concept], templates: Sequence[str]) -> Iterator[str]:
    for leaf in leaves:
        yield from prompts_for(leaf, templates)


def _spread(texts: list[str], most: int) -> list[str]:
    """At most so many, evenly from all of them."""
    step = max(1, -(-len(texts) // most))
    return texts[::step]


def _distances_of_texts(system: str, clip: Clip, patch: Patch, texts: Sequence[str]) -> list[float]:
    """How far the states of each text move, up to its end: what pads it differs between systems."""
    found: list[float] = []
    encode: Any = clip.model.encode_text
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        tokens = clip.tokenize(texts[start : start + TEXTS_AT_ONCE]).to(clip.device)
        ends = tokens.argmax(dim=-1, keepdim=True)
        counts = torch.arange(tokens.shape[1], device=tokens.device) <= ends  # [B, L]
        before, after = _before_and_after(system, clip, patch, partial(encode, tokens))
        found += _relative(before, after, counts)
    return found


def _distances_of_pictures(
    system: str, task: Task, patch: Patch, samples: Sequence[Sample]
) -> list[list[float]]:
    """How far the patch tokens of each picture move: with the concept, and without it."""
    clip, forget = task.clip, frozenset(task.request.forget_leaves)
    found: list[list[float]] = [[], []]
    batches = stream(
        samples, clip.preprocess, split="test", ledger=task.ledger(), reading=task.reading
    )
    for batch in batches:
        run = partial(clip.image_features, batch.pixels)
        before, after = _before_and_after(system, clip, patch, run)
        for sample, distance in zip(batch.samples, _relative(before, after), strict=True):
            found[0 if sample.leaf in forget else 1].append(distance)
    return found


def _before_and_after(
    system: str, clip: Clip, patch: Patch, run: Callable[[], Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    before = given(system, clip, run)
    with patch.applied(clip.model):
        return before, given(system, clip, run)


def _relative(
    before: list[Tensor], after: list[Tensor], counts: Tensor | None = None
) -> list[float]:
    """Distances as shares of the lengths before, over all that is given.

    Args:
        counts: which of the tokens of the first count [B, L]; None for all.
    """
    squares = torch.zeros(2, len(before[0]), dtype=torch.float64)
    for old, new in zip(before, after, strict=True):
        pair = torch.stack([new - old, old]).double().square().cpu()  # [2, B, ...]
        if counts is not None and pair.dim() == 4:
            pair = pair * counts.cpu()[None, :, :, None]
        squares += pair.flatten(2).sum(dim=2)
    return (squares[0] / squares[1].clamp(min=1e-30)).sqrt().tolist()
