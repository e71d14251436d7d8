"""Samples to batches of pixels: decoded ahead, in order, each picture cleared with the ledger.

Memory does not grow with the number of images: a few batches are in flight, and of the
past only hashes are kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slsgu.concepts.taxonomy import Concept
from slsgu.data.images import UnreadableImageError, pixel_hash
from slsgu.data.ledger import Ledger as Ledger
from slsgu.data.samples import Sample
from slsgu.errors import DataError
from slsgu.utils.progress import Advance

Transform = Callable[[Image.Image], Tensor]

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG in <sys/prctl.h>
_SMALL_JOB = 256  # samples; below this, starting processes costs more than it saves
_MOST_WORKERS = 4
_CHUNK = 16  # pictures that travel together from a worker


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        batch_size: B, samples per stretch that is read and handed on together.
        workers: processes that decode. 0 decodes in this one; None takes `default_workers`.
        strict: an unreadable picture is an error; otherwise it is left out.
    """

    batch_size: int = 64
    workers: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        assert self.batch_size >= 1, f"batch_size is {self.batch_size}"


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples and their pixels [B, 3, H, W], float32, on the CPU.

    Attributes:
        stop: the place, in the samples that are read, behind the stretch that this batch is of.
    """

    samples: tuple[Sample, ...]
    pixels: Tensor
    stop: int


@dataclass(frozen=True, eq=False)
class _Decoded:
    """What a worker sends back for one sample: pixels [3, H, W] and their hash, or why not."""

    hash: str = ""
    pixels: npt.NDArray[np.float32] | None = None
    reason: str = ""


def stream(
    samples: Sequence[Sample],
    transform: Transform,
    *,
    split: str,
    ledger: Ledger,
    reading: Reading = Reading(),
    progress: Advance | None = None,
) -> Iterator[Batch]:
    """Read samples in order, in batches of fixed stretches of them.

    A picture that cannot be read, or that another split has used (by its pixels), is left out and
    recorded in the ledger; its batch is then smaller, and a batch without any is passed over. So
    what is batched together does not depend on pictures elsewhere: a pass can be interrupted, or
    shared among processes, and have the same batches.

    Args:
        samples: what to read.
        transform: OpenCLIP's preprocessing, RGB picture to float32 [3, H, W].
        split: gradient, search or test; it claims the pictures.
        ledger: what every split has used so far.
        reading: the size of a stretch, the processes that decode, and whether an unreadable
            picture is an error.
        progress: called with how many more samples are done, whether used or not.

    Raises:
        DataError: a picture cannot be read and `reading.strict` is set, or a worker process died.
    """
    usable: list[Sample] = []
    pixels: list[npt.NDArray[np.float32]] = []
    # closing: leaving early, by an error or Ctrl-C, ends the workers at once.
    with contextlib.closing(_decode(samples, transform, reading.workers)) as decoded:
        for stop, (sample, item) in enumerate(zip(samples, decoded, strict=True), start=1):
            if item.pixels is None:
                if reading.strict:
                    raise DataError(
                        f"{sample.name}: {item.reason} (strict: unreadable images are refused)"
                    )
                ledger.skip(sample.name, item.reason)
            elif ledger.claim(item.hash, split, sample.fingerprint):
                usable.append(sample)
                pixels.append(item.pixels)
            else:
                owner = ledger.owner(item.hash, besides=split, fingerprint=sample.fingerprint)
                assert owner is not None
                ledger.overlap(sample.name, split, owner)
            if progress is not None:
                progress(1)
            if stop % reading.batch_size == 0 or stop == len(samples):
                if usable:
                    yield _batch(usable, pixels, stop)
                usable, pixels = [], []


def collect(
    samples: Sequence[Sample],
    transform: Transform,
    *,
    split: str,
    ledger: Ledger,
    reading: Reading = Reading(),
    progress: Advance | None = None,
    required: Iterable[Concept] = (),
    budget: float = math.inf,
) -> tuple[tuple[Sample, ...], Tensor]:
    """Read a split whole.

    Args:
        required: leaves that must have at least one usable picture.
        budget: bytes of main memory. What is larger lies in a temporary file that is mapped into
            memory: the system keeps of it what fits.
        samples, transform, split, ledger, reading, progress: as for `stream`.

    Returns:
        The samples that were read, and their pixels [N, 3, H, W].

    Raises:
        DataError: nothing usable is left, or nothing of a required leaf; and as `stream`.
    """
    usable: list[Sample] = []
    pixels: Tensor | None = None
    for batch in stream(
        samples,
        transform,
        split=split,
        ledger=ledger,
        reading=reading,
        progress=progress,
    ):
        if pixels is None:
            pixels = _room((len(samples), *batch.pixels.shape[1:]), budget)
        pixels[len(usable) : len(usable) + len(batch.samples)] = batch.pixels
        usable += batch.samples
    covered = {sample.leaf for sample in usable}
    missing = [leaf.key for leaf in required if leaf not in covered]
    if missing or pixels is None:
        of = f" of {', '.join(missing)}" if missing else ""
        raise DataError(f"no usable image{of} is left in the {split} split{ledger.why(split)}")
    return tuple(usable), pixels[: len(usable)]


def _room(shape: tuple[int, ...], budget: float) -> Tensor:
    """An uninitialised float32 tensor, in a file that has no name if it is larger than `budget`."""
    size = 4 * math.prod(shape)
    if size <= budget:
        return torch.empty(shape)
    with tempfile.TemporaryFile(prefix="slsgu-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a sparse file on a full disk kills
        except OSError as error:
            raise DataError(
                f"the search images take {size / 2**20:.0f} MiB, more than may be held in "
                f"memory, and {tempfile.gettempdir()} has no room for them "
                f"({error.strerror}): set TMPDIR, or take fewer --search-images"
            ) from None
        except AttributeError:  # not on this system
            file.truncate(size)
        return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=shape))


def default_workers(count: int) -> int:
    """Processes for `count` samples: one per core up to four, none for small jobs."""
    if count < _SMALL_JOB or multiprocessing.current_process().daemon:
        return 0  # a daemonic process may not have children
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return 0 if cores == 1 else min(cores, _MOST_WORKERS)


def _batch(samples: list[Sample], pixels: list[npt.NDArray[np.float32]], stop: int) -> Batch:
    return Batch(tuple(samples), torch.from_numpy(np.stack(pixels)), stop)  # [B, 3, H, W]


class _Pictures(Dataset[_Decoded]):
    """Samples by index, decoded: what the worker processes run."""

    def __init__(self, samples: Sequence[Sample], transform: Transform) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> _Decoded:
        try:
            image = self.samples[index].read()
        except UnreadableImageError as error:
            return _Decoded(reason=error.reason)
        # numpy, not torch: tensors travel through /dev/shm, which is tiny in many containers.
        return _Decoded(pixel_hash(image), self.transform(image).to(torch.float32).numpy())


def _decode(
    samples: Sequence[Sample], transform: Transform, workers: int | None
) -> Generator[_Decoded, None, None]:
    """Decoded samples, in order."""
    pictures = _Pictures(samples, transform)
    workers = default_workers(len(samples)) if workers is None else min(workers, len(samples))
    if workers == 0:
        for index in range(len(pictures)):
            yield pictures[index]
        return
    # fork: workers start in milliseconds, where spawn and forkserver import torch and OpenCLIP
    # again (seconds) and run a caller's script twice unless it is guarded by `__main__`. After
    # torch has run threads a forked child must not use them: DataLoader sets its workers to one
    # thread, and they touch neither CUDA nor autograd. Elsewhere fork is missing or unsafe.
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork beside threads, for which see above; torch warns of more
        # workers than cores, which is the caller's choice.
        warnings.simplefilter("ignore")
        chunks = iter(
            DataLoader(
                pictures,
                batch_size=_CHUNK,
                num_workers=workers,
                collate_fn=_as_list,
                multiprocessing_context="fork" if sys.platform == "linux" else "spawn",
                worker_init_fn=_ignore_interrupts,
                generator=torch.Generator(),  # else the caller's random state would move
            )
        )
    try:
        for chunk in chunks:
            yield from chunk
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "a process that reads images died, perhaps for lack of memory; try fewer workers, or 0 "
            f"({error})"
        ) from error
    finally:
        del chunks  # ends the workers and waits for them


def _as_list(items: list[_Decoded]) -> list[_Decoded]:
    return items


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches the whole process group; this process ends its workers itself. Where it is
    killed it cannot, and one that waits to hand over pictures would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
