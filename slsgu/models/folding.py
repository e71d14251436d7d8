"""Batch normalisation within the convolution before it, where neither needs a gradient.

In evaluation mode the norm is a fixed scale and shift of each channel, so a convolution with scaled
kernels and another bias gives the same at once (Jacob et al., arXiv 1712.05877, equation 14). The
network itself is left as it is, with its hooks: what it calls is looked at on the way, and the
kernels are scaled anew in every pass, so that an edit counts.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

T = TypeVar("T")
_watched: ContextVar[int] = ContextVar("watched", default=0)


class Watcher(TorchFunctionMode):
    """For modes that watch the calls of a network: within, nothing is folded."""

    def __enter__(self) -> Watcher:
        _watched.set(_watched.get() + 1)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        _watched.set(_watched.get() - 1)
        super().__exit__(*error)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Norm:
    """The arguments of `torch.nn.functional.batch_norm`, under its names."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


@dataclass(frozen=True)
class _Fold:
    """A convolution and the norm that its output goes to, and nothing else."""

    kernel: Tensor
    mean: Tensor
    var: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def is_free(self, bias: Tensor | None) -> bool:
        """Whether no gradient of it is asked for."""
        parts = (self.kernel, bias, self.weight, self.bias)
        return not torch.is_grad_enabled() or not any(
            part is not None and part.requires_grad for part in parts
        )

    def fused(self, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Kernels and bias that do the work of both."""
        return fuse_conv_bn_weights(
            self.kernel, bias, self.mean, self.var, self.eps, self.weight, self.bias
        )


class _Outputs(Generic[T]):
    """What belongs to a tensor, as long as that is there."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Tensor], T]] = {}

    def put(self, tensor: Tensor, value: T) -> None:
        self._found[id(tensor)] = weakref.ref(tensor), value

    def get(self, tensor: object) -> T | None:
        reference, value = self._found.get(id(tensor), (None, None))
        return value if reference is not None and reference() is tensor else None


@dataclass(frozen=True)
class Folding:
    """What is known of the convolutions of a network: filled by the passes that run through it."""

    _known: dict[int, tuple[Tensor, _Fold | None]] = field(default_factory=dict)

    def run(self, network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """What `network` makes of `pixels`, up to rounding. It must be in evaluation mode."""
        if _watched.get():
            return network(pixels)
        with _Pass(self._known) as work:
            features = network(pixels)
        self._known.update(work.learnt())  # of a whole pass only
        return features


class _Pass(TorchFunctionMode):
    """One forward pass: a convolution that is known is folded, any other one is learnt."""

    def __init__(self, known: Mapping[int, tuple[Tensor, _Fold | None]]) -> None:
        super().__init__()
        self._known = known
        self._folded: _Outputs[_Fold] = _Outputs()
        self._plain: _Outputs[Tensor] = _Outputs()  # the kernel of each
        self._new: dict[int, tuple[Tensor, _Fold | None]] = {}

    def learnt(self) -> dict[int, tuple[Tensor, _Fold | None]]:
        return self._new

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # torch's own signature
        kwargs = kwargs or {}
        if func is torch.conv2d:
            return self._convolution(*args, **kwargs)
        if func is functional.batch_norm:
            return self._norm(_Norm(*args, **kwargs))
        result = func(*args, **kwargs)
        if isinstance(result, Tensor | tuple | list):  # its shape may be asked for
            self._note_use([*args, *kwargs.values()])
        return result

    def _convolution(
        self, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
    ) -> Tensor:
        kernel, fold = self._known.get(id(weight), (None, None))
        if fold is not None and kernel is weight and fold.is_free(bias):
            output = torch.conv2d(input, *fold.fused(bias), *rest, **named)
            self._folded.put(output, fold)
            return output
        self._note_use([input])
        output = torch.conv2d(input, weight, bias, *rest, **named)
        if kernel is not weight and isinstance(weight, nn.Parameter):  # others come and go
            self._plain.put(output, weight)
        return output

    def _norm(self, norm: _Norm) -> Tensor:
        if self._folded.get(norm.input) is not None:
            return norm.input
        kernel = self._plain.get(norm.input)
        if kernel is not None:
            first = id(kernel) not in self._new
            self._new[id(kernel)] = kernel, _fold(kernel, norm) if first else None
        return functional.batch_norm(**norm.__dict__)

    def _note_use(self, values: list[Any]) -> None:
        """A convolution whose output goes elsewhere, too, stays as it is."""
        for value in values:
            for tensor in value if isinstance(value, tuple | list) else [value]:
                kernel = self._plain.get(tensor)
                if kernel is not None:
                    self._new[id(kernel)] = kernel, None


def _fold(kernel: Tensor, norm: _Norm) -> _Fold | None:
    mean, var = norm.running_mean, norm.running_var
    if norm.training or mean is None or var is None:
        return None
    return _Fold(kernel, mean, var, norm.weight, norm.bias, norm.eps)
