"""Evaluate a weight edit by re-running only what it can change.

One layer moves at a time. Everything before it, and the whole other tower, stays as it was, so
the output of the stage before the layer's own is kept and each trial starts from there. Layers
are visited from shallow to deep, and the kept activations are carried forward with them: at any
time there is one set of activations per tower in memory, within a budget; spans of inputs that do
not fit are run from the start each time.

This needs nothing of an architecture but its list of sequential stages (`layers.stages`): stages
that are skipped hand their input through, the last of them returns what was kept, and linear maps
before the first stage (patch embeddings) return zeros that nobody reads. Before it is used, a cut
is checked against the full forward; a tower that does not agree is run in full.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from slsgu.models.layers import linear_maps

TOLERANCE = 1e-4  # largest difference of a normalised embedding between a replay and a full run


@dataclass
class _Span:
    """Inputs `start:stop`, and what stage `cut - 1` puts out for them; cut 0 runs in full."""

    start: int
    stop: int
    cut: int = 0
    kept: Tensor | None = None


class Tower:
    """One tower on fixed inputs: its features, in full or from a cut between two stages.

    Args:
        network: the modules that run.
        encode: features [B, d], not normalised, of inputs `start:stop`.
        count: how many inputs there are.
        stage_list: the tower's sequential stages; empty to always run in full.
        batch_size: inputs per forward pass.
        budget: bytes of activations that may be kept.
        cut: keep what stage `cut - 1` puts out on the way, as `cut_before` does in a second run.
        base: features of the unedited model [count, d], where they are known: nothing is run.
    """

    def __init__(
        self,
        network: nn.Module,
        encode: Callable[[int, int], Tensor],
        count: int,
        stage_list: Sequence[nn.Module],
        batch_size: int,
        budget: float = float("inf"),
        cut: int = 0,
        base: Tensor | None = None,
    ) -> None:
        self._network = network
        self._encode = encode
        self._batch_size = batch_size
        self._stages = list(stage_list)
        self._stem: dict[nn.Module, Tensor] | None = None  # output of one input, zeros
        self._budget = budget
        self._first_cut = cut
        if base is not None:
            self._spans, self.base = self._new_spans(count), base
            return
        self.restart(count)
        if cut and self._stages and self._spans:
            self._check()

    def part(self, encode: Callable[[int, int], Tensor], rows: Tensor) -> Tower:
        """The same tower on some of its inputs, without a cut. What it keeps once it is cut is
        within what is left of the budget.

        Args:
            encode: features of stretches of these inputs.
            rows: their places.
        """
        kept = sum(span.kept.nbytes for span in self._spans if span.kept is not None)
        return Tower(
            self._network,
            encode,
            len(rows),
            self._stages,
            self._batch_size,
            max(0.0, self._budget - kept),
            base=self.base[rows.to(self.base.device)],
        )

    def _new_spans(self, count: int) -> list[_Span]:
        size = self._batch_size
        return [_Span(i, min(i + size, count)) for i in range(0, count, size)]

    def restart(self, count: int) -> None:
        """Begin anew with other inputs of the same kind, which `encode` then returns features of.

        A cut that was found not to agree with the full forward stays out of use. Must be called
        while the model is unedited.
        """
        self._spans = self._new_spans(count)
        features, room = [], self._budget
        with torch.no_grad():
            for span in self._spans:
                features.append(self._first_run(span, self._first_cut if room > 0 else 0))
                room -= 0 if span.kept is None else span.kept.nbytes
                if room < 0:
                    span.cut, span.kept = 0, None
        self.base = torch.cat(features)  # of the unedited model [count, d]

    def cut_before(self, block: int | None) -> None:
        """Keep what stage `block - 1` puts out. `None` or 0: run in full from now on.

        Must be called while the model is unedited.
        """
        block = block or 0
        if not self._stages or not self._spans or block == self._spans[0].cut:
            return
        room = self._budget
        for span in self._spans:
            if block < span.cut or block == 0 or room <= 0:
                span.cut, span.kept = 0, None
            if block == 0 or room <= 0:
                continue
            kept = self._output_of(block - 1, span)
            room -= kept.nbytes
            span.cut, span.kept = (block, kept) if room >= 0 else (0, None)
            if span is self._spans[0] and not self._check():
                return

    def spans(self) -> Iterator[tuple[int, int, Callable[[], Tensor]]]:
        """Stretches of the inputs: start, stop, and what runs their features [B, d] from the cut;
        gradients flow if they are enabled."""
        for span in self._spans:
            yield span.start, span.stop, functools.partial(self._run, span)

    @property
    def kept(self) -> Tensor | None:
        """What the stage before the cut puts out for all inputs; None where nothing is kept."""
        kept = [span.kept for span in self._spans if span.kept is not None]
        return torch.cat(kept) if kept and len(kept) == len(self._spans) else None

    def run_from(self, kept: Tensor) -> Tensor:
        """Features [n, d] of any n inputs, at most as many as a batch, by their rows of `kept`;
        gradients flow if they are enabled."""
        return self._run(_Span(0, len(kept), self._spans[0].cut, kept))

    def run(self) -> Tensor:
        """Features [count, d] with the weights as they are now."""
        with torch.no_grad():
            return torch.cat([self._run(span) for span in self._spans])

    def _run(self, span: _Span) -> Tensor:
        with self._skipping(span):
            return self._encode(span.start, span.stop)

    def _first_run(self, span: _Span, cut: int) -> Tensor:
        """A full run, which keeps what stage `cut - 1` puts out."""
        if not cut or not self._stages:
            return self._run(span)
        outputs: list[Tensor] = []
        stage = self._stages[cut - 1]
        handle = stage.register_forward_hook(lambda _module, _args, output: outputs.append(output))
        try:
            features = self._run(span)
        finally:
            handle.remove()
        span.cut, span.kept = cut, outputs[0]
        return features

    def _check(self) -> bool:
        """Whether the cut of the first span may be used; if not, none ever will be."""
        agrees = self._agrees(self._spans[0])
        if not agrees:
            self._stages = []
            for span in self._spans:
                span.cut, span.kept = 0, None
        return agrees

    def _agrees(self, span: _Span) -> bool:
        """Whether a replay gives what the full run gave, and leaves what was kept as it is."""
        if span.kept is None:
            return True
        kept = span.kept.clone()
        with torch.no_grad():
            replayed = normalize(self._run(span), dim=-1)
        expected = normalize(self.base[span.start : span.stop], dim=-1)
        return torch.allclose(replayed, expected, rtol=0, atol=TOLERANCE) and torch.equal(
            kept, span.kept
        )

    def _output_of(self, stage: int, span: _Span) -> Tensor:
        """What one stage puts out for one span; nothing behind it is run."""
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
            outputs.append(output)
            raise _Stop

        handle = self._stages[stage].register_forward_hook(keep)
        try:
            with torch.no_grad(), self._skipping(span), contextlib.suppress(_Stop):
                self._encode(span.start, span.stop)
        finally:
            handle.remove()
        return outputs[0]

    @contextlib.contextmanager
    def _skipping(self, span: _Span) -> Iterator[None]:
        """Stages before the cut hand their input through; the last one returns what was kept."""
        if span.cut == 0:
            yield
            return
        if self._stem is None:
            self._stem = self._find_stem()
        count = span.stop - span.start
        stubs: dict[nn.Module, Callable[..., Tensor]] = {
            module: _returning(zeros.expand(count, *zeros.shape[1:]))
            for module, zeros in self._stem.items()
        }
        stubs |= dict.fromkeys(self._stages[: span.cut - 1], _hand_through)
        assert span.kept is not None
        stubs[self._stages[span.cut - 1]] = _returning(span.kept)
        forwards = {module: module.__dict__.get("forward") for module in stubs}
        try:
            for module, stub in stubs.items():
                module.forward = stub
            yield
        finally:
            for module, forward in forwards.items():
                module.__dict__.pop("forward", None)  # the class's own method shows through again
                if forward is not None:
                    module.forward = forward

    def _find_stem(self) -> dict[nn.Module, Tensor]:
        """Linear maps that run before the first stage, with zeros of the shape of their output.

        Only maps of a whole batch: their output starts with the batch size.
        """
        span = self._spans[0]
        stem: dict[nn.Module, Tensor] = {}

        def note(module: nn.Module, _args: Any, output: Tensor) -> None:
            if output.shape[0] == span.stop - span.start:
                stem[module] = output.new_zeros(()).expand(1, *output.shape[1:])

        def stop(_module: nn.Module, _args: Any) -> None:
            raise _Stop

        handles = [module.register_forward_hook(note) for module in linear_maps(self._network)]
        handles.append(self._stages[0].register_forward_pre_hook(stop))
        try:
            with torch.no_grad(), contextlib.suppress(_Stop):
                self._encode(span.start, span.stop)
        finally:
            for handle in handles:
                handle.remove()
        return stem


class _Stop(Exception):
    """Leaves a forward pass early."""


def _hand_through(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


def _returning(value: Tensor) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: value
