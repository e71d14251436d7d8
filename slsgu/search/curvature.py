"""The curvature of what must be kept: the Fisher matrix of the answers that must stay.

Kept are the answers on retain images at every level, and on forget images at the levels above the
request, each among the classes that are kept: that an image is less often taken for something
forgotten is no harm. Labels are drawn from the model's own answers, which makes the second moment
of the gradients the Fisher matrix (Martens 2020, section 5), and needs no right labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from slsgu.direction.kfac import KroneckerFisher
from slsgu.models.layers import Layer
from slsgu.search.taps import Taps

if TYPE_CHECKING:
    from slsgu.evaluation.search_set import SearchSet

TEXT_DRAWS = 8  # a draw is of one label per image; prompts are few, so they get several


def kept_fisher(
    search_set: SearchSet, layers: Sequence[Layer], *, seed: int
) -> dict[str, KroneckerFisher]:
    """Kronecker factors of the Fisher matrix for each layer of one tower, from the search images.

    Runs the tower once from where it was cut, so `search_set.replay` must be prepared for the
    shallowest of the layers.

    Args:
        layers: layers of one tower.
        seed: of the labels drawn.

    Returns:
        Metrics by layer name. Layers that are no linear map of tokens (gains, attention pools)
        have none.
    """
    if not layers:
        return {}
    tower = layers[0].tower
    assert all(layer.tower == tower for layer in layers)
    moments = {layer.name: _Moments() for layer in layers}
    draw: _Draw

    def add(name: str, inputs: Tensor, gradients: Tensor) -> None:
        moments[name].add(inputs, gradients, draw)

    draws = list((_image_draws if tower == "vision" else _prompt_draws)(search_set, seed))
    weights = {layer.name: search_set.replay.parameters[layer.name] for layer in layers}
    for start, stop, run in search_set.replay.spans(tower):
        with torch.enable_grad(), Taps(weights, add):
            features = run()
        if not features.requires_grad:  # none of the layers is one that can be watched
            return {}
        active = [one for one in draws if bool(one.gradient[start:stop].any())]
        for draw in active:
            gradient = draw.gradient[start:stop]
            torch.autograd.backward(features, gradient, retain_graph=draw is not active[-1])
    return {
        layer.name: moments[layer.name].fisher(transposed=_is_transposed(layer))
        for layer in layers
        if moments[layer.name].tokens > 0
    }


@dataclass(frozen=True, eq=False)
class _Draw:
    """Gradients of the loss of labels drawn, with respect to a tower's features [n, d].

    Attributes:
        weight: of its second moment in the sum over draws.
        inputs: whether the inputs that it touches count: those of retained images, once.
    """

    gradient: Tensor
    weight: float
    inputs: bool


@dataclass(eq=False)
class _Moments:
    """Running second moments of a layer's inputs and output gradients."""

    inputs: Tensor = field(default_factory=lambda: torch.zeros(()))
    outputs: Tensor = field(default_factory=lambda: torch.zeros(()))
    tokens: int = 0

    def add(self, inputs: Tensor, gradients: Tensor, draw: _Draw) -> None:
        inputs, gradients = inputs.float(), gradients.float()
        outputs = draw.weight * (gradients.T @ gradients).to("cpu", torch.float64)
        self.outputs = self.outputs + outputs
        if draw.inputs:
            inputs = inputs[gradients.any(dim=1)]  # tokens on which no answer depends are left out
            self.inputs = self.inputs + (inputs.T @ inputs).to("cpu", torch.float64)
            self.tokens += len(inputs)

    def fisher(self, *, transposed: bool) -> KroneckerFisher:
        return KroneckerFisher(self.inputs / self.tokens, self.outputs, transposed)


def _is_transposed(layer: Layer) -> bool:
    """Raw projections are stored [in, out], the weights of modules [out, in, ...]."""
    return len(layer.shape) == 2 and not layer.name.endswith("weight")


def _image_draws(search_set: SearchSet, seed: int) -> Iterator[_Draw]:
    """One draw for retained images and one for forget images: an image has its own gradient."""
    features, prompts = (search_set.replay.features_of(tower) for tower in ("vision", "language"))
    classes = search_set.exam.class_embeddings(normalize(prompts, dim=-1), search_set.book)
    for forget in (False, True):
        images = features.detach().clone().requires_grad_(True)
        chosen = torch.from_numpy(search_set.exam.forget == forget).to(images.device)
        losses = list(_losses(search_set, normalize(images, dim=-1), classes, chosen, seed))
        if losses:
            torch.autograd.backward(torch.stack(losses).sum())
            assert images.grad is not None
            only = bool(
                search_set.exam.forget.all()
            )  # no retain images: then these are what is kept
            yield _Draw(images.grad, 1 / int(chosen.sum()), inputs=not forget or only)


def _prompt_draws(search_set: SearchSet, seed: int) -> Iterator[_Draw]:
    """A draw sums over all images: with labels from the model, means are zero and second moments
    add up."""
    features, prompts = (search_set.replay.features_of(tower) for tower in ("vision", "language"))
    images = normalize(features, dim=-1)
    for number in range(TEXT_DRAWS):
        texts = prompts.detach().clone().requires_grad_(True)
        classes = search_set.exam.class_embeddings(normalize(texts, dim=-1), search_set.book)
        total = texts.new_zeros(())
        for forget in (False, True):
            chosen = torch.from_numpy(search_set.exam.forget == forget).to(images.device)
            for loss in _losses(search_set, images, classes, chosen, seed + 1 + number):
                total = total + loss / int(chosen.sum()) ** 0.5
        if not total.requires_grad:  # no level has two classes that are kept
            return
        torch.autograd.backward(total)
        assert texts.grad is not None
        yield _Draw(texts.grad, 1 / TEXT_DRAWS, inputs=number == 0)


def _losses(
    search_set: SearchSet, images: Tensor, classes: Iterable[Tensor], chosen: Tensor, seed: int
) -> Iterator[Tensor]:
    """For each level, the summed cross-entropy of labels drawn among the kept classes.

    Args:
        images: normalised embeddings [N, d].
        classes: class embeddings of every level, each [C, d].
        chosen: the images that are asked [N].
    """
    generator = torch.Generator().manual_seed(seed)
    exam = search_set.exam
    levels = zip(exam.kept.T, classes, exam.forgotten_classes, strict=True)
    for kept, texts, forgotten in levels:
        rows = chosen & torch.from_numpy(kept).to(chosen)
        if not rows.any() or (~forgotten).sum() < 2:
            continue
        logits = search_set.scale * images[rows] @ texts.T  # [n, C]
        logits = logits.masked_fill(torch.from_numpy(forgotten).to(chosen), -torch.inf)
        odds = logits.detach().softmax(dim=1).cpu()
        labels = torch.multinomial(odds, 1, generator=generator)[:, 0]
        yield cross_entropy(logits, labels.to(logits.device), reduction="sum")
