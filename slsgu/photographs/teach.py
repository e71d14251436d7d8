"""The recipe of the text tower: a small transformer learns which vector each name stands for.

Each text is a name in a template. Its embedding is drawn to the vector of that name by two losses:
one minus the cosine, and the cross-entropy between the similarities to all class vectors and those
that the right vector has, so that errors which would confuse classes count more than others.

The width of the tower bounds how many independent directions its embeddings have, which is what
accuracy depends on most: a wide tower of two blocks does better than a narrow one of four.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip import SimpleTokenizer
from open_clip.transformer import TextTransformer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from slsgu.errors import SlsguError
from slsgu.photographs.names import Lessons, Lexicon, lexicon
from slsgu.photographs.projection import DIMENSIONS, Projection
from slsgu.utils.files import json_sha256, replacing

TEXT_CFG: dict[str, Any] = {
    "context_length": 24,
    "vocab_size": 49408,
    "width": 448,
    "heads": 7,
    "layers": 2,
    "mlp_ratio": 1.0,
}
BATCH, CHUNKS = 256, 4
STEPS = 2400
PEAK_RATE = 3e-3
WARM_UP = 60  # steps
SHARPNESS = 30.0  # similarities are multiplied by it before the softmax
PULL = 10.0  # weight of the cosine beside the cross-entropy
SAVE_EVERY = 100  # steps


class Pupil:
    """The tower in training, with the few thousand tokens that occur.

    Args:
        space: the embedding space.
        seed: of the first weights and of the batches.
    """

    def __init__(self, space: Projection, *, seed: int, batch: int = BATCH) -> None:
        self.book: Lexicon = lexicon(space)
        self.lessons = Lessons(self.book, size=batch, seed=seed)
        self.classes = space.classes
        self.tokenizer = SimpleTokenizer(context_length=TEXT_CFG["context_length"])
        self.vocabulary = self._vocabulary()
        cfg = {**TEXT_CFG, "vocab_size": len(self.vocabulary)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tower = TextTransformer(**cfg, output_dim=DIMENSIONS)
        self._start_projection()
        self.optimizer = torch.optim.AdamW(
            self.tower.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def _vocabulary(self) -> Tensor:
        """The tokens that occur, sorted: so the end token stays the largest, which is how OpenCLIP
        finds it."""
        found: Tensor = torch.unique(self.tokenizer(self.lessons.parts()))
        return found

    def _start_projection(self) -> None:
        """Begin with the directions that matter most: the embedding space has them in order."""
        width = TEXT_CFG["width"]
        spread = self.book.vectors.std(0)
        kept = torch.cat([torch.arange(width - 1), torch.tensor([DIMENSIONS - 1])])
        start = torch.zeros(width, DIMENSIONS)
        start[torch.arange(width), kept] = spread[kept]
        with torch.no_grad():
            self.tower.text_projection.copy_(start)

    def encode(self, texts: list[str]) -> Tensor:
        """Embeddings [n, d] of length 1."""
        tokens = torch.searchsorted(self.vocabulary, self.tokenizer(texts))
        length = int(tokens.argmax(1).max()) + 1  # what follows the last end of text has no effect
        return functional.normalize(self._features(tokens[:, :length]).float(), dim=1)

    def _features(self, tokens: Tensor) -> Tensor:
        """OpenCLIP's `encode_text`, on the tokens that count alone."""
        tower: Any = self.tower
        length = tokens.shape[1]
        hidden = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        hidden = tower.ln_final(hidden)
        last: Tensor = hidden[torch.arange(len(tokens)), tokens.argmax(1)]
        features: Tensor = last @ tower.text_projection
        return features

    def step(self, number: int, rate: float) -> float:
        """Learn one batch; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        texts, words = self.lessons.batch(number)
        order = sorted(range(len(texts)), key=lambda i: len(self.tokenizer.encode(texts[i])))
        total = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for part in torch.tensor(order).chunk(CHUNKS):  # texts of like length: little padding
            with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
                embedded = self.encode([texts[i] for i in part.tolist()])
            wanted = self.book.vectors[words[part]]
            loss: Tensor = self._loss(embedded, wanted) * len(part) / len(texts)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self.optimizer.step()
        return total

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"tower": self.tower.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.tower.load_state_dict(state["tower"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _loss(self, embedded: Tensor, wanted: Tensor) -> Tensor:
        right = (SHARPNESS * wanted @ self.classes.T).log_softmax(1)
        found = (SHARPNESS * embedded @ self.classes.T).log_softmax(1)
        confusion = functional.kl_div(found, right, log_target=True, reduction="batchmean")
        loss: Tensor = confusion + PULL * (1 - (embedded * wanted).sum(1)).mean()
        return loss


def teach(
    out: Path,
    space: Projection,
    *,
    steps: int = STEPS,
    seed: int = 0,
    batch: int = BATCH,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train the text tower and write it as fp16 safetensors. Stopped, it goes on where it was.

    Args:
        out: file to write. `out` with `.state` added holds what a later call goes on from.
        space: the embedding space of the classes.
        steps: length of training in batches.
        seed: of first weights and batches.
        batch: texts per batch.
        progress: called with a line when something happens.

    Returns:
        `out`.

    Raises:
        SlsguError: `out` exists, or the state is of another training.
    """
    if out.exists():
        raise SlsguError(f"{out} exists already; give another name or remove it")
    if steps < 1 or batch < CHUNKS:
        raise SlsguError(f"training takes at least one step and {CHUNKS} texts per batch")
    kept = out.with_name(out.name + ".state")
    pupil = Pupil(space, seed=seed, batch=batch)
    recipe = {"seed": seed, "steps": steps, "batch": batch, "text_cfg": TEXT_CFG}
    recipe["taught"] = json_sha256([pupil.book.words, pupil.lessons.templates])
    progress(f"{len(pupil.book.words)} words, {len(pupil.lessons.templates)} templates")
    first = _resume(kept, pupil, recipe)
    if first:
        progress(f"going on from step {first} of {steps}")
    started, running = time.monotonic(), 0.0
    for step in range(first, steps):
        loss = pupil.step(step, _rate(step, steps))
        running = loss if step == first else 0.95 * running + 0.05 * loss
        if (step + 1) % SAVE_EVERY == 0 and step + 1 < steps:
            with replacing(kept) as part:
                torch.save({"recipe": recipe, "step": step + 1, **pupil.state()}, part)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            seconds = time.monotonic() - started
            progress(f"step {step + 1} of {steps}  loss {running:.4f}  {seconds:.0f} s")
    _write(out, pupil, recipe)
    kept.unlink(missing_ok=True)
    return out


def _rate(step: int, steps: int) -> float:
    """Learning rate: a warm-up, then half a cosine to zero."""
    warm_up = min(1.0, (step + 1) / WARM_UP)
    return PEAK_RATE * warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))


def _resume(kept: Path, pupil: Pupil, recipe: dict[str, Any]) -> int:
    """The step to go on from."""
    if not kept.exists():
        return 0
    try:
        state = torch.load(kept, map_location="cpu", weights_only=True)
        same, step = state["recipe"] == recipe, int(state["step"])
    except Exception as error:
        raise SlsguError(f"{kept} is damaged; remove it to begin anew") from error
    if not same:
        raise SlsguError(f"{kept} is of another training; remove it, or give another name")
    pupil.restore(state)
    return step


def _write(out: Path, pupil: Pupil, recipe: dict[str, Any]) -> None:
    """Write the tower: of the token embeddings, only the rows of tokens that were taught."""
    state = {k: v.detach().half().contiguous() for k, v in pupil.tower.state_dict().items()}
    state["tokens"] = pupil.vocabulary.int()
    # One key alone: safetensors writes several in any order, and the same must give the same bytes.
    metadata = {"slsgu": json.dumps({"recipe": recipe}, sort_keys=True)}
    with replacing(out) as part:
        save_file(state, part, metadata)
