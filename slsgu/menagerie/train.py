"""The recipe of the menagerie's model: a small OpenCLIP model, trained from nothing on drawings.

Every step draws one phrase with its name and one in other words for *every* concept of the tree,
encodes these 142 texts once, and scores a batch of pictures against all of them:

* image to text, at each level: cross-entropy over the classes of that level;
* image to text, over all concepts: the picture's leaf and all its ancestors share the target;
* text to image: the pictures under a concept share its target.

So names, plurals, aliases and definitions of every level mean something to the model.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import CLIP, SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.errors import SlsguError
from slsgu.menagerie.captions import Phrases, phrases
from slsgu.menagerie.draw import DRAW_VERSION
from slsgu.menagerie.lessons import PREPROCESS_CFG, Lessons
from slsgu.menagerie.paths import TAXONOMY_FILE
from slsgu.menagerie.pool import draw_pool
from slsgu.menagerie.targets import Targets
from slsgu.menagerie.unfinished import EVERY, Unfinished
from slsgu.utils.cache import cache_folder
from slsgu.utils.files import json_sha256, replacing_folder

TRAIN_SEED = 1_000_003
"""The stream of drawings that training uses; evaluate on any other."""

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 128,
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": 64,
        "patch_size": 8,
        "width": 128,
        "layers": 6,
        "head_width": 32,
        "mlp_ratio": 4.0,
    },
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}
BATCH = 256
STEPS = 2000
PEAK_RATE = 1.5e-3
WARM_UP = 150  # steps


def train(
    out: Path,
    *,
    leave_out: Sequence[Concept | str] = (),
    images_per_leaf: int = 1000,
    steps: int = STEPS,
    minutes: float = 50.0,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Trains the menagerie's model and writes it as an OpenCLIP ``local-dir``.

    Args:
        out: folder to write; must not exist.
        leave_out: concepts whose pictures and words the model must never see.
        images_per_leaf: size of the pool of drawings.
        steps: length of training in batches of 256.
        minutes: a slower machine stops the schedule early, so that training never takes longer.
        seed: of initialisation, batches and phrases.
        cache: folder in which the pool of drawings is kept between runs.
        progress: called with a line when something happens.

    A training that was ended early goes on where it last wrote its state, beside ``out``.

    Returns:
        ``out``.

    Raises:
        SlsguError: ``out`` exists, nothing is left to learn, or a number makes no sense.
    """
    if out.exists():
        raise SlsguError(f"{out} exists already; choose a new folder")
    if not (math.isfinite(minutes) and minutes > 0):
        raise SlsguError(f"{minutes:g} is no number of minutes to train for: give one above 0")
    if steps < 1 or images_per_leaf < 1:
        raise SlsguError("training takes at least one step and one image per leaf")
    taxonomy = Taxonomy.load(TAXONOMY_FILE)
    without = [taxonomy.find(c) if isinstance(c, str) else c for c in leave_out]
    taught = phrases(taxonomy, leave_out=without)
    targets = Targets(taxonomy, taught)
    if len(targets.leaves) < 2:
        raise SlsguError("fewer than two leaves are left to learn")
    progress(f"{len(targets.leaves)} leaves, {len(taught)} concepts")
    names = [leaf.name for leaf in targets.leaves]
    pictures = draw_pool(names, images_per_leaf, seed=TRAIN_SEED, cache=cache, progress=progress)
    tokenizer = SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    vocabulary, tokens = tokenise(tokenizer, taught)
    torch.manual_seed(seed)
    text_cfg = {**MODEL_CFG["text_cfg"], "vocab_size": len(vocabulary)}
    model = CLIP(**{**MODEL_CFG, "text_cfg": text_cfg})
    recipe_key = json_sha256([
        [entry.concept.key for entry in taught], taxonomy.sha256, DRAW_VERSION, images_per_leaf,
        steps, minutes, seed, MODEL_CFG,
    ])  # fmt: skip
    unfinished = Unfinished.of(out, recipe_key)
    steps_taken = fit(
        model, pictures, images_per_leaf, taught, targets, tokens, steps, minutes, seed, progress,
        unfinished,
    )  # fmt: skip
    with replacing_folder(out) as partial:
        recipe = {
            "seed": seed,
            "steps": steps_taken,
            "schedule": {"steps": steps, "minutes": minutes},
            "images_per_leaf": images_per_leaf,
            "draw_version": DRAW_VERSION,
            "taxonomy": taxonomy.sha256,
            "left_out": [c.key for c in without],
        }
        save(model, vocabulary, partial, recipe)
    unfinished.remove()
    return out


def tokenise(
    tokenizer: SimpleTokenizer, taught: Sequence[Phrases]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The tokens that occur, and every phrase ``[context]`` as positions in that list.

    Training with the few hundred tokens that occur spares the optimizer 49,000 idle rows. The list
    is sorted, so the end token stays the largest, which is how OpenCLIP finds it.
    """
    texts = list(
        dict.fromkeys(text for entry in taught for text in (*entry.all(), entry.concept.name))
    )
    vocabulary, numbers = torch.unique(tokenizer(texts), sorted=True, return_inverse=True)
    return vocabulary, dict(zip(texts, numbers, strict=True))


def fit(
    model: CLIP,
    pictures: NDArray[np.uint8],
    per_leaf: int,
    taught: Sequence[Phrases],
    targets: Targets,
    tokens: dict[str, Tensor],
    steps: int,
    minutes: float,
    seed: int,
    progress: Callable[[str], None],
    unfinished: Unfinished | None = None,
) -> int:
    """The training loop: AdamW, warm-up, cosine to zero, bf16 products. Returns the steps taken.

    It takes up what an earlier, unfinished training of the same has come to: random numbers are
    drawn again up to there, so that every step sees what it would have seen.
    """
    optimizer = _optimizer(model)
    lessons = Lessons(pictures, taught, BATCH, seed)
    done, spent = (0, 0.0) if unfinished is None else unfinished.load(model, optimizer)
    if done:
        progress(f"going on after {done} steps")
    lessons.skip(done)
    started = time.monotonic() - spent
    running = 0.0
    model.train()
    for step in range(done, steps):
        # A slow machine runs out of minutes first: the schedule then follows the clock.
        share = max(step / steps, (time.monotonic() - started) / (60 * minutes))
        if share >= 1:
            progress(f"out of time after {step} steps")
            return step
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, share)
        batch, images, named, other = lessons.take()
        labels = torch.from_numpy(batch // per_leaf)
        texts = torch.stack([tokens[phrase] for phrase in (*named, *other)])
        # Plain attention takes half the time of the fused kernel on so few tokens.
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
            v = model.encode_image(images)
            t = model.encode_text(texts)
        v, t = F.normalize(v.float(), dim=1), F.normalize(t.float(), dim=1)
        logits = model.logit_scale.exp() * v @ t.T  # [B, 2C]
        count = len(taught)
        loss = targets.loss(logits[:, :count], labels) + targets.loss(logits[:, count:], labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, math.log(100))
        running = loss.item() if step == done else 0.95 * running + 0.05 * loss.item()
        if step % 50 == 0 or step + 1 == steps:
            accuracy = targets.accuracy(logits[:, :count], labels)
            progress(
                f"step {step:5d}  loss {running:.3f}  batch accuracy {accuracy:.3f}  "
                f"scale {model.logit_scale.exp().item():.1f}  "
                f"{time.monotonic() - started:.0f} s"
            )
        if unfinished is not None and (step + 1) % EVERY == 0:
            unfinished.save(model, optimizer, step + 1, time.monotonic() - started)
    return steps


def _optimizer(model: CLIP) -> torch.optim.AdamW:
    """AdamW; no weight decay on embeddings, gains and biases."""
    decay = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in n]
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or "embedding" in n]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)


def _rate(step: int, share: float) -> float:
    """Learning rate of a step, after a share of the schedule."""
    warm_up = min(1.0, (step + 1) / WARM_UP)
    return PEAK_RATE * warm_up * 0.5 * (1 + math.cos(math.pi * share))


def save(model: CLIP, vocabulary: Tensor, folder: Path, recipe: dict[str, Any]) -> None:
    """Writes the ``local-dir`` in fp16; rows of tokens that no caption uses are zero."""
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    learned = state["token_embedding.weight"]
    rows = torch.zeros(MODEL_CFG["text_cfg"]["vocab_size"], learned.shape[1])
    rows[vocabulary] = learned
    rows[0] = 0.0  # padding: it comes after the end token, which attention cannot look past
    state["token_embedding.weight"] = rows
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items()}
    metadata = {
        "format": "pt",
        "slsgu": json.dumps({"schema": 1, "recipe": recipe}, sort_keys=True),
    }
    weights = folder / "open_clip_model.safetensors"
    save_file(half, weights, metadata)
    weights.chmod(0o644)
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    (folder / "open_clip_config.json").write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8"
    )


def default_cache() -> Path:
    """Where the command keeps the pool of drawings: the user's own cache folder. In the temporary
    folder, anybody could put another file under its name."""
    return cache_folder() / "menagerie"
