"""Hidden states: what a tower holds of each token behind one of its blocks. Systems that CLIP is a
part of read it there, before its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slsgu.models.layers import Tower


@dataclass(frozen=True, eq=False)
class StatePlace:
    """A place in a tower where something else reads it.

    Attributes:
        tower: the tower.
        stage: the block whose output is read, as a number in `slsgu.models.layers.stages`.
        block: the block itself, whose output is [B, L, w].
        norm: what runs on it before it is read; None for nothing.
        skipped: tokens at the beginning that are not read.
        embeds: whether the embeddings that the tower ends in are read too.
    """

    tower: Tower
    stage: int
    block: nn.Module
    norm: nn.Module | None = None
    skipped: int = 0
    embeds: bool = False

    @contextlib.contextmanager
    def watch(self) -> Iterator[list[Tensor]]:
        """Within, every forward pass of the tower appends what is read of its batch [B, L, w]."""
        seen: list[Tensor] = []

        def note(_module: nn.Module, _args: Any, output: Tensor) -> None:
            read = output.detach()
            read = read if self.norm is None else self.norm(read).detach()
            seen.append(read[:, self.skipped :].float())

        handle = self.block.register_forward_hook(note)
        try:
            yield seen
        finally:
            handle.remove()


@dataclass(frozen=True, eq=False)
class States:
    """What is read of n inputs of a tower.

    Attributes:
        tokens: T states of tokens of all inputs, one input after the other [T, w].
        owner: the input that each is of [T].
        embeddings: of the inputs [n, d]; None where they are not read.
        count: n.
    """

    tokens: Tensor
    owner: Tensor
    embeddings: Tensor | None
    count: int

    @classmethod
    def of(
        cls,
        seen: Sequence[Tensor],
        embeddings: Tensor | None,
        *,
        rows: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> States:
        """Collect what `StatePlace.watch` has seen.

        Args:
            seen: of each batch, in order, [B, L, w]; L may differ.
            embeddings: of all inputs [N, d]; None where they are not read.
            rows: which inputs to keep, ascending; None for all.
            lengths: how many tokens of each input count; what pads a text differs between systems.
                None for all.
        """
        starts = [0]
        for batch in seen:
            starts.append(starts[-1] + len(batch))
        rows = range(starts[-1]) if rows is None else rows
        parts: list[Tensor] = []
        at = 0
        for row in rows:
            while row >= starts[at + 1]:
                at += 1
            state = seen[at][row - starts[at]]
            parts.append(state if lengths is None else state[: lengths[row]])
        sizes = torch.tensor([len(part) for part in parts])
        kept = None if embeddings is None else embeddings[list(rows)].detach().clone()
        return cls(
            torch.cat(parts), torch.arange(len(parts)).repeat_interleave(sizes), kept, len(parts)
        )

    def distances(self, after: States) -> Tensor:
        """How far each input has moved [n], float64: the distance of each token as a share of its
        length, root mean square over the tokens of the input. (A few tokens of CLIP are many times
        as long as all others, and would be all that counts in the length of the whole.)

        Args:
            after: the same inputs.
        """
        owner = self.owner.to(self.tokens.device)
        sums = torch.zeros(self.count, dtype=torch.float64, device=owner.device)
        sums.index_add_(0, owner, _squares(self.tokens, after.tokens))
        counts = torch.bincount(owner, minlength=self.count).double()
        if self.embeddings is not None and after.embeddings is not None:  # as one more token
            sums += _squares(self.embeddings, after.embeddings).to(sums.device)
            counts += 1
        return (sums / counts).sqrt().cpu()


def _squares(before: Tensor, after: Tensor) -> Tensor:
    """The squared distance between rows, as a share of the squared length before [n], float64."""
    lengths = before.double().square().sum(dim=1).clamp(min=1e-30)
    return (after.to(before.device).double() - before.double()).square().sum(dim=1) / lengths
