"""Many drawings at once: drawn by several processes, kept on disk if wanted."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slsgu.errors import ArtifactError, SlsguError
from slsgu.menagerie.draw import DRAW_VERSION, draw
from slsgu.utils.child import environment, python

SCHEMA = 1
KIND = "slsgu-drawings"

FEW = 400
"""Fewer pictures than this are drawn here: starting another process would take longer."""


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
        workers: processes; as many as there are cores by default, and none besides this one for
            a small job.
        progress: told how far it is.

    Returns:
        ``[len(leaves) * per_leaf, size, size, 3]``, in the order of the leaves.
    """
    what = json.dumps([DRAW_VERSION, list(leaves), per_leaf, seed, size])
    key = hashlib.sha256(what.encode()).hexdigest()[:16]
    file = cache / f"drawings-{key}.safetensors" if cache else None
    total = len(leaves) * per_leaf
    if file and (kept := _kept(file, (total, size, size, 3), progress)) is not None:
        return kept
    pictures = np.empty((total, size, size, 3), np.uint8)
    count = 1 if total < FEW else min(workers or os.cpu_count() or 1, total)
    bounds = [total * i // count for i in range(count + 1)]
    lock, stopped = threading.Lock(), threading.Event()
    done = 0

    def tick() -> None:
        nonlocal done
        if stopped.is_set():
            raise SlsguError("the drawing was stopped")
        with lock:
            done += 1
            if total >= FEW and done * 10 // total > (done - 1) * 10 // total:
                progress(f"drawn {done} of {total}")

    if count == 1:
        for i in range(total):
            pictures[i] = draw(leaves[i // per_leaf], i % per_leaf, seed=seed, size=size)
            tick()
    else:
        with ThreadPoolExecutor(count) as readers:
            parts = [
                readers.submit(_draw_elsewhere, pictures[a:b], a, leaves, per_leaf, seed, tick)
                for a, b in pairwise(bounds)
            ]
            try:
                for part in parts:
                    part.result()
            except BaseException:  # an interrupt, say: nobody waits for the rest
                stopped.set()
                raise
    if file:
        _keep(file, pictures, what)
    return pictures


def _keep(file: Path, pictures: NDArray[np.uint8], what: str) -> None:
    """Writes pictures for the next call. (The processes that draw need no torch.)"""
    import torch

    from slsgu.utils.artifact import write_artifact

    tensors = {"pictures": torch.from_numpy(pictures)}
    write_artifact(file, tensors, kind=KIND, schema=SCHEMA, header={"drawn": what})


def _kept(
    file: Path, shape: tuple[int, ...], progress: Callable[[str], None]
) -> NDArray[np.uint8] | None:
    """The pictures of an earlier call; None where there are none, or something else lies there."""
    import torch

    from slsgu.utils.artifact import read_artifact

    if not os.path.lexists(file):
        return None
    try:
        _, tensors = read_artifact(file, kind=KIND, schema=SCHEMA, what="cache of drawings")
    except ArtifactError as error:
        progress(f"drawing anew: {error}")
        return None
    pictures = tensors.get("pictures")
    if pictures is None or pictures.dtype != torch.uint8 or tuple(pictures.shape) != shape:
        progress(f"drawing anew: {file} holds something else")
        return None
    progress(f"reusing {file}")
    return pictures.numpy()


def _draw_elsewhere(
    pictures: NDArray[np.uint8],
    start: int,
    leaves: Sequence[str],
    per_leaf: int,
    seed: int,
    tick: Callable[[], None],
) -> None:
    """Fills ``pictures`` (numbers ``start ..`` of the pool) from another process.

    A plain child process rather than ``multiprocessing``: it neither forks a process that has
    threads nor imports the caller's script again.
    """
    size = pictures.shape[1]
    order = {
        "leaves": list(leaves),
        "per_leaf": per_leaf,
        "seed": seed,
        "size": size,
        "start": start,
        "count": len(pictures),
    }
    command = python("-c", "from slsgu.menagerie.pool import _serve; _serve()")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(order).encode())
        child.stdin.close()
        for picture in pictures:
            raw = child.stdout.read(picture.nbytes)
            if len(raw) != picture.nbytes:
                raise SlsguError("a process that draws the menagerie stopped early")
            picture[:] = np.frombuffer(raw, np.uint8).reshape(picture.shape)
            tick()


def _serve() -> None:
    """The child's side: reads an order from stdin, writes raw pictures to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # reaches all processes; the parent ends this one
    order = json.load(sys.stdin)
    try:
        for i in range(order["start"], order["start"] + order["count"]):
            leaf, index = order["leaves"][i // order["per_leaf"]], i % order["per_leaf"]
            picture = draw(leaf, index, seed=order["seed"], size=order["size"])
            sys.stdout.buffer.write(picture.tobytes())
        sys.stdout.flush()
    except BrokenPipeError:  # the parent wants no more, or is no more
        os._exit(1)
