"""Many drawings at once: drawn by several processes, kept on disk if wanted."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slsgu.files import replacing
from slsgu.menagerie.draw import DRAW_VERSION, draw

Job = tuple[str, int, int, int, int]


def _draw_some(job: Job) -> NDArray[np.uint8]:
    leaf, start, stop, seed, size = job
    return np.stack([draw(leaf, i, seed=seed, size=size) for i in range(start, stop)])


def draw_pool(
    leaves: Sequence[str],
    per_leaf: int,
    *,
    seed: int,
    size: int = 64,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> NDArray[np.uint8]:
    """Draws pictures ``0 .. per_leaf - 1`` of every leaf.

    Args:
        leaves: names of leaves.
        per_leaf: how many pictures of each.
        seed: the stream of pictures.
        size: pixels.
        cache: folder in which the pictures are kept for the next call with the same arguments.
        workers: processes; all cores by default, and none besides this one for a small job.
        progress: told how far it is.

    Returns:
        ``[len(leaves) * per_leaf, size, size, 3]``, in the order of the leaves.
    """
    what = json.dumps([DRAW_VERSION, list(leaves), per_leaf, seed, size])
    file = (
        cache / f"drawings-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npy" if cache else None
    )
    if file and file.exists():
        progress(f"reusing {file}")
        kept: NDArray[np.uint8] = np.load(file)
        return kept
    total = len(leaves) * per_leaf
    pictures = np.empty((total, size, size, 3), np.uint8)
    chunk = 50
    jobs = [
        (leaf, start, min(start + chunk, per_leaf), seed, size)
        for leaf in leaves
        for start in range(0, per_leaf, chunk)
    ]
    count = workers or os.cpu_count() or 1
    done = 0

    def keep(part: NDArray[np.uint8]) -> None:
        nonlocal done
        pictures[done : done + len(part)] = part
        done += len(part)
        if done * 10 // total > (done - len(part)) * 10 // total:
            progress(f"drawn {done} of {total}")

    if count == 1 or total < 400:
        for job in jobs:
            keep(_draw_some(job))
    else:
        with ProcessPoolExecutor(count) as executor:
            for part in executor.map(_draw_some, jobs):
                keep(part)
    if file:
        with replacing(file) as partial, partial.open("wb") as stream:
            np.save(stream, pictures)
    return pictures
