"""Several processes that share one pass, as `torchrun` starts them; a single one is its own group.

    torchrun --nproc-per-node 4 -m slsgu grads --concept "golden retriever"

Each process takes its share of the images; sums and counts are added up over all of them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from slsgu.errors import SlsguError

T = TypeVar("T")
SIBLINGS = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets beside WORLD_SIZE


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together.

    Attributes:
        rank: its number; 0 writes and speaks.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T], size: int) -> list[T]:
        """The part of a list that is this process's: every `world`-th stretch of `size` items, so
        that no stretch is split, whatever the number of processes."""
        starts = range(self.rank * size, len(items), self.world * size)
        return [item for start in starts for item in items[start : start + size]]

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank, in every process."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def agree(self, error: SlsguError | None) -> None:
        """Meet the others after a stretch of work; an error of one ends all with its message.

        Raises:
            SlsguError: the error of the first process that has one.
        """
        for failure in self.gather(error):
            if failure is not None:
                raise failure


ALONE = Ranks()


def world_size() -> int:
    """How many processes `torchrun` started; 1 without it.

    Raises:
        SlsguError: the variables by which it tells them apart are not as it sets them.
    """
    world, rank = (_variable(name, default) for name, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    together = "start several processes with torchrun, or unset RANK and WORLD_SIZE"
    if world < 1 or not 0 <= rank < world:
        raise SlsguError(
            f"RANK is {rank} and WORLD_SIZE is {world} in the environment: RANK counts from 0 to "
            f"WORLD_SIZE - 1. To work on one request together, {together}"
        )
    missing = [name for name in SIBLINGS if world > 1 and not os.environ.get(name)]
    if missing:
        raise SlsguError(
            f"WORLD_SIZE is {world} in the environment, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set: {together}"
        )
    return world


def _variable(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise SlsguError(f"{name} is {text!r} in the environment, and should be a whole number")
    return int(text)


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, and leave them at the end.

    Args:
        device: where this process computes; CUDA devices talk by NCCL, others by gloo.
    """
    if world_size() == 1:
        yield ALONE
        return
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise SlsguError(f"the processes cannot find each other: {error}") from error
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
