"""The settings of the machine: speed and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slsgu.task.checks import at_least_one, between, whole

if TYPE_CHECKING:
    import torch

    from slsgu.models.clip import Clip

MOST_WORKERS = 1024  # more than any machine reads pictures with
MOST_AT_ONCE = 64  # images per forward pass, where nothing speaks against it


class Checked:
    """Ends the chain of checks of the settings that are combined."""

    def __post_init__(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class MachineSettings(Checked):
    """Speed and memory: never a result beyond rounding.

    Attributes:
        batch_size: images per forward pass; None takes what suits the model.
        workers: processes that read images; None decides.
        activation_memory: GiB of search images and activations that the search may keep; None
            takes half of what is free.
        checkpoint_activations: compute activations again on the way back instead of keeping them:
            less memory, more time, the same gradient.
    """

    batch_size: int | None = None
    workers: int | None = None
    activation_memory: float | None = None
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one("batch_size", 1 if self.batch_size is None else self.batch_size)
        if self.workers is not None:
            whole("workers", self.workers)
            between("workers", self.workers, 0, MOST_WORKERS)
        if self.activation_memory is not None:
            between("activation_memory", self.activation_memory, 0, 2**20)

    def sized_for(self, clip: Clip) -> MachineSettings:
        """The same, with the batch size that suits a model where none was given."""
        from slsgu.models.footprint import images_at_once

        size = self.batch_size or images_at_once(clip, most=MOST_AT_ONCE)
        return replace(self, batch_size=size)

    @property
    def images_at_once(self) -> int:
        """Images per forward pass."""
        return self.batch_size or MOST_AT_ONCE

    def activation_bytes(self, device: torch.device) -> int:
        """Bytes that the search may keep for each of three: its images, and the activations of
        either tower."""
        from slsgu.utils.memory import cache_bytes

        if self.activation_memory is None:
            return cache_bytes(device) // 3
        return int(self.activation_memory * 2**30) // 3

    def micro_batch(self, contrastive_batch: int) -> int:
        """The largest divisor of the contrastive batch up to `images_at_once`, so that none
        straddles two logical batches."""
        sizes = range(1, min(self.images_at_once, contrastive_batch) + 1)
        return max(size for size in sizes if contrastive_batch % size == 0)
