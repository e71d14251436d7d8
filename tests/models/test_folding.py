"""Folding changes nothing but rounding, leaves out the norms that it can, and only those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from slsgu.models.folding import Folding, Watcher


class _Counting(TorchFunctionMode):
    """How many norms are computed within."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is functional.batch_norm
        return func(*args, **(kwargs or {}))


class _Watching(Watcher, _Counting):
    pass


class _Net(nn.Module):
    """Convolutions in every surrounding."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.plain_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.bare = nn.Conv2d(4, 4, 1)  # no norm
        self.two, self.two_norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False)
        self.shared = nn.Conv2d(4, 4, 1)
        self.shared_norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.own = nn.BatchNorm2d(4, track_running_stats=False)  # of the batch, never fixed
        self.last = nn.Conv2d(4, 4, 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain_norm(self.plain(x)).relu()
        x = self.bare(x)
        raw = self.two(x)
        x = self.two_norm(raw) + raw.sigmoid()  # what comes before the norm is used, too
        for norm in self.shared_norms:
            x = norm(self.shared(x))
        return self.own(self.last(x)).mean(dim=(2, 3))


@pytest.fixture
def net() -> Iterator[nn.Module]:
    with torch.no_grad():
        yield _Net().eval()


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(2, 3, 8, 8)


def _norms(folding: Folding, net: Callable[[Tensor], Tensor], pixels: Tensor) -> int:
    with _Counting() as counting:
        folding.run(net, pixels)
    return counting.count


def test_only_a_norm_that_alone_follows_its_convolution_is_left_out(
    net: nn.Module, pixels: Tensor
) -> None:
    folding = Folding()
    assert _norms(folding, net, pixels) == 5
    assert _norms(folding, net, pixels) == 4  # but the first


def test_features_stay_as_they_are(net: nn.Module, pixels: Tensor) -> None:
    folding, expected = Folding(), net(pixels)
    for _ in range(3):
        torch.testing.assert_close(folding.run(net, pixels), expected, rtol=1e-5, atol=1e-6)
    net.get_parameter("plain_norm.weight").mul_(2)
    assert not torch.allclose(net(pixels), expected)  # the norm counts


@pytest.mark.parametrize("name", ["plain.weight", "plain.bias", "plain_norm.bias", "bare.weight"])
def test_an_edit_counts_at_once_and_so_does_its_end(
    net: nn.Module, pixels: Tensor, name: str
) -> None:
    folding = Folding()
    before = [folding.run(net, pixels) for _ in range(2)][-1]
    weight = net.get_parameter(name)
    weight.add_(0.5)
    torch.testing.assert_close(folding.run(net, pixels), net(pixels), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(folding.run(net, pixels), before)
    weight.sub_(0.5)
    torch.testing.assert_close(folding.run(net, pixels), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["plain.weight", "plain.bias", "plain_norm.weight", "last.weight"])
def test_gradients_are_those_of_the_network(net: nn.Module, pixels: Tensor, name: str) -> None:
    folding = Folding()
    folding.run(net, pixels)
    weight = net.requires_grad_(False).get_parameter(name).requires_grad_()
    with torch.enable_grad():
        expected, found = (
            torch.autograd.grad(run(pixels).square().sum(), weight)[0]
            for run in (net, lambda x: folding.run(net, x))
        )
        assert _norms(folding, net, pixels) == (4 if name == "last.weight" else 5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().max() > 1e-3


def test_a_pass_that_breaks_off_teaches_nothing(net: nn.Module, pixels: Tensor) -> None:
    folding = Folding()

    def stop(_module: nn.Module, _args: Any) -> None:
        raise KeyboardInterrupt

    handle = net.get_submodule("bare").register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        folding.run(net, pixels)
    handle.remove()
    assert _norms(folding, net, pixels) == 5


def test_other_kernels_in_place_of_those_known_are_not_folded(
    net: nn.Module, pixels: Tensor
) -> None:
    folding = Folding()
    folding.run(net, pixels)
    other = {"plain.weight": torch.randn_like(net.get_parameter("plain.weight"))}

    def changed(x: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(net, other, (x,))
        return result

    for _ in range(2):
        found = folding.run(changed, pixels)
        torch.testing.assert_close(found, changed(pixels), rtol=1e-5, atol=1e-6)
    assert _norms(folding, net, pixels) == 4 and _norms(folding, changed, pixels) == 5


def test_who_watches_sees_the_network_as_it_is(net: nn.Module, pixels: Tensor) -> None:
    folding = Folding()
    folding.run(net, pixels)
    with _Watching() as watching:
        folding.run(net, pixels)
    assert watching.count == 5
    assert _norms(folding, net, pixels) == 4
