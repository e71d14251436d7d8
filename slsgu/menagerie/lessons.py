"""What every step of the menagerie's training is shown: drawings, moved a little, and phrases."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from slsgu.menagerie.canvas import Dice
from slsgu.menagerie.captions import Phrases

PREPROCESS_CFG: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
PAD, CHUNKS = 4, 8  # pixels that a drawing is shifted by at most; chunks shifted alike


class Lessons:
    """Batches of drawings and phrases, decided by the seed alone, one after another.

    Args:
        pictures: the pool of drawings [N, size, size, 3].
        taught: the phrases of every concept.
        batch: drawings in a step.
    """

    def __init__(
        self, pictures: NDArray[np.uint8], taught: Sequence[Phrases], batch: int, seed: int
    ) -> None:
        self._pictures, self._taught, self._batch = pictures, taught, batch
        self._bits = np.random.Generator(np.random.PCG64(seed))
        self._dice = Dice("phrases", seed)
        self._order = np.empty(0, np.int64)

    def take(self) -> tuple[NDArray[np.int64], Tensor, list[str], list[str]]:
        """The next step: places in the pool [B], pixels [B, 3, size, size], and for every concept
        a phrase with its name and one in other words."""
        batch = self._next()
        images = prepare(self._pictures[batch], self._bits)
        return batch, images, *self._phrases()

    def skip(self, steps: int) -> None:
        """Go on as if so many steps had been taken."""
        for _ in range(steps):
            _moves(self._bits, len(self._next()))
            self._phrases()

    def _next(self) -> NDArray[np.int64]:
        if len(self._order) < self._batch:
            self._order = self._bits.permutation(len(self._pictures))
        batch, self._order = self._order[: self._batch], self._order[self._batch :]
        return batch

    def _phrases(self) -> tuple[list[str], list[str]]:
        named = [entry.pick_named(self._dice) for entry in self._taught]
        return named, [entry.pick_other(self._dice) for entry in self._taught]


def prepare(pictures: NDArray[np.uint8], bits: np.random.Generator) -> Tensor:
    """Moves and mirrors pictures a little, and normalises them: ``[B, 3, 64, 64]``."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    flipped, shifts = _moves(bits, len(images))
    flip = torch.from_numpy(flipped)
    images = torch.where(flip[:, None, None, None], images.flip(3), images).float()
    size, pad = images.shape[-1], PAD
    wide = F.pad(images, (pad, pad, pad, pad), mode="replicate")
    # One shift for each eighth of the batch keeps this to a few copies.
    parts = []
    for part, (dy, dx) in zip(wide.chunk(CHUNKS), shifts, strict=False):
        parts.append(part[:, :, dy : dy + size, dx : dx + size])
    mean, std = (torch.tensor(PREPROCESS_CFG[k])[:, None, None] for k in ("mean", "std"))
    return (torch.cat(parts) / 255 - mean) / std


def _moves(
    bits: np.random.Generator, count: int
) -> tuple[NDArray[np.bool_], list[tuple[int, int]]]:
    """Which pictures of a batch are mirrored, and how far each chunk of it is shifted."""
    flipped = bits.random(count) < 0.5
    chunks = -(-count // -(-count // CHUNKS))  # as torch divides them
    shifts = [tuple(int(n) for n in bits.integers(2 * PAD + 1, size=2)) for _ in range(chunks)]
    return flipped, [(dy, dx) for dy, dx in shifts]
