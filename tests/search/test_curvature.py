"""Inputs, output gradients and the metric, against autograd, explicit matrices and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.networks import PROMPTS, TOWERS, build_network, images, tokenize
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.direction.kfac import INPUT_DAMPING, OUTPUT_DAMPING, KroneckerFisher, damped
from slsgu.evaluation.exam import Exam
from slsgu.evaluation.replay import Replay
from slsgu.evaluation.search_set import SearchSet
from slsgu.losses.captions import ForgetCaptions
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory
from slsgu.search.curvature import kept_fisher
from slsgu.search.taps import Taps


@pytest.mark.parametrize("tower", ["vision", "language"])
@pytest.mark.parametrize("name", TOWERS)
def test_taps_see_both_sides_of_every_gradient(tiny: Clip, name: str, tower: str) -> None:
    """Summed over tokens, output gradient times input is the gradient that autograd finds."""
    clip = replace(tiny, model=build_network(name), tokenizer=tokenize)
    parameters = dict(clip.model.named_parameters())
    layers = [layer for layer in inventory(clip.model) if layer.tower == tower]
    watched = {layer.name: parameters[layer.name] for layer in layers}
    sums: dict[str, Tensor] = {}

    def seen(at: str, inputs: Tensor, gradients: Tensor) -> None:
        sums[at] = sums.get(at, torch.zeros(())) + gradients.T @ inputs  # [o, i]

    def loss() -> Tensor:
        encode = clip.encode_image(images(clip, 3)) if tower == "vision" else None
        found = clip.encode_text(PROMPTS) if encode is None else encode
        return (found * torch.linspace(-1, 1, found.numel()).reshape(found.shape)).sum()

    with Taps(watched, seen):
        value = loss()
    assert not any(p.requires_grad for p in parameters.values())
    torch.autograd.backward(value)
    for parameter in watched.values():
        parameter.requires_grad_(True)
    plain = loss()
    assert torch.allclose(value, plain, atol=1e-5)  # watching changes nothing
    expected = torch.autograd.grad(plain, list(watched.values()))
    missed = []
    for layer, gradient in zip(layers, expected, strict=True):
        if layer.name not in sums:
            missed.append(layer.name)
            continue
        raw = not layer.name.endswith("weight")
        found = (sums[layer.name].T if raw else sums[layer.name]).reshape(gradient.shape)
        assert torch.allclose(found, gradient, rtol=1e-3, atol=1e-5 * float(gradient.norm()))
    # Attention pools and grouped convolutions are no linear maps of tokens.
    assert not [at for at in missed if "pool" not in at and "conv_dw" not in at], missed
    assert len(sums) > len(layers) / 2


def search_set_of(clip: Clip, count: int = 12) -> SearchSet:
    """A search_set of random images and texts, which is all that a metric needs."""
    tree = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["tabby", "persian"]})
    leaves = [tree.leaves[i % 4] for i in range(count)]
    exam = Exam(leaves, tree, Request.of(tree, ["beagle"]))
    book = PromptBook.of(exam.concepts, ["a {}", "the {}"])
    replay = Replay(clip, images(clip, count), book.texts, batch_size=5)
    embedded, prompts = replay.base
    classes = exam.class_embeddings(prompts, book)
    return SearchSet(
        exam=exam,
        replay=replay,
        book=book,
        classes=classes,
        before=exam.answer(embedded, classes),
        captions=ForgetCaptions(exam.request, "cosine"),
        forget_samples=(),
        scale=20.0,
    )


def clip_of(tiny: Clip, name: str = "vit") -> Clip:
    return replace(tiny, model=build_network(name), tokenizer=tokenize)


def answers(search_set: SearchSet, layer: Layer, weight: Tensor, *, forget: bool) -> list[Tensor]:
    """Odds among the kept classes at every level that is kept, each [n, C]."""
    found, prompts = search_set.replay.with_weight(layer, weight)
    classes = search_set.exam.class_embeddings(prompts, search_set.book)
    rows = torch.from_numpy(search_set.exam.forget == forget)
    odds = []
    for level, texts, gone in zip(
        search_set.exam.levels, classes, search_set.exam.forgotten_classes, strict=True
    ):
        if forget and level.depth >= 2:
            continue
        logits = (search_set.scale * found[rows] @ texts.T)[:, torch.from_numpy(~gone)]
        odds.append(logits.double().log_softmax(dim=1))
    return odds


def divergence(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Mean over images of the summed divergence of the answers."""
    return sum(
        float((a.exp() * (a - b)).sum(dim=1).mean()) for a, b in zip(before, after, strict=True)
    )


def test_harm_is_twice_the_divergence_of_small_changes(tiny: Clip) -> None:
    """On one image the factors are exact, so the metric must predict what changing the last
    projection does to the answers: a difference, with no derivative taken."""
    clip = clip_of(tiny)
    search_set = search_set_of(clip, count=1200)
    pixels = images(clip, 1).expand(1200, -1, -1, -1)
    replay = Replay(clip, pixels, search_set.book.texts, batch_size=300)
    search_set = replace(search_set, replay=replay)
    layer = next(x for x in inventory(clip.model) if x.name == "visual.proj")
    search_set.replay.prepare(layer)
    metric = kept_fisher(search_set, [layer], seed=0)[layer.name]
    weight = search_set.replay.parameters[layer.name].detach().clone()
    generator = torch.Generator().manual_seed(1)
    ratios = []
    for _ in range(4):
        change = torch.randn(weight.shape, generator=generator) * 2e-2 * weight.norm()
        change /= weight.numel() ** 0.5
        total = 0.0
        for forget in (False, True):
            old = answers(search_set, layer, weight, forget=forget)
            total += divergence(old, answers(search_set, layer, weight + change, forget=forget))
        ratios.append(0.5 * metric.harm(change) / total)
    # Labels are drawn: 1200 images leave a few percent of noise, the same for each change.
    assert np.allclose(ratios, 1, atol=0.15), ratios
    assert metric.harm(2 * change) == pytest.approx(4 * metric.harm(change))


def test_preconditioning_solves_with_the_explicit_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    a, g = (torch.randn(20, n, generator=generator).double() for n in (3, 4))
    metric = KroneckerFisher(a.T @ a / 20, g.T @ g / 20, transposed=False)
    gradient = torch.randn(4, 3, generator=generator)
    big = torch.kron(damped(metric.outputs, OUTPUT_DAMPING), damped(metric.inputs, INPUT_DAMPING))
    expected = torch.linalg.solve(big, gradient.double().flatten()).reshape(4, 3)
    assert torch.allclose(metric.precondition(gradient).double(), expected, rtol=1e-4)
    turned = replace(metric, transposed=True)
    assert torch.allclose(turned.precondition(gradient.T), metric.precondition(gradient).T)
    assert turned.harm(gradient.T) == pytest.approx(metric.harm(gradient))


def test_a_factor_of_zeros_leaves_its_side_alone() -> None:
    gradient = torch.randn(2, 3)
    metric = KroneckerFisher(
        torch.zeros(3, 3).double(), torch.zeros(2, 2).double(), transposed=False
    )
    assert torch.allclose(metric.precondition(gradient), gradient)


@pytest.mark.parametrize("name", ["vit", "resnet", "timm-convnext", "custom-text-vit"])
@pytest.mark.parametrize("tower", ["vision", "language"])
def test_most_forgetting_per_unit_of_harm(tiny: Clip, name: str, tower: str) -> None:
    """For any gradient, the preconditioned step has more of it per root of harm than the gradient
    itself has: the property that the direction is made for."""
    clip = clip_of(tiny, name)
    search_set = search_set_of(clip)
    layers = [x for x in inventory(clip.model) if x.tower == tower]
    search_set.replay.prepare(min(layers, key=lambda x: x.block or 0))
    metrics = kept_fisher(search_set, layers, seed=0)
    assert len(metrics) > len(layers) / 2
    gains = []
    for layer in layers:
        if layer.name not in metrics:
            continue
        metric = metrics[layer.name]
        gradient = torch.randn(layer.shape, generator=torch.Generator().manual_seed(2))
        step = metric.precondition(gradient)
        assert step.shape == gradient.shape and float((step * gradient).sum()) > 0

        def efficiency(
            change: Tensor, of: Tensor = gradient, by: KroneckerFisher = metric
        ) -> float:
            return float((change * of).sum()) / by.harm(change) ** 0.5

        gains.append(efficiency(step) / efficiency(gradient))
    assert min(gains) > 0.999 and max(gains) > 1.2


def test_layers_that_can_not_be_watched_have_no_metric(tiny: Clip) -> None:
    clip = clip_of(tiny)
    search_set = search_set_of(clip)
    gains = [x for x in inventory(clip.model, norms=True) if x.kind == "norm"]
    vision = [x for x in gains if x.tower == "vision"]
    assert vision and kept_fisher(search_set, vision, seed=0) == {}
    assert kept_fisher(search_set, [], seed=0) == {}


def test_the_metric_depends_on_the_seed_alone(tiny: Clip) -> None:
    clip = clip_of(tiny)
    layer = next(x for x in inventory(clip.model) if x.name == "visual.proj")

    def outputs(seed: int) -> Tensor:
        return kept_fisher(search_set_of(clip), [layer], seed=seed)[layer.name].outputs

    assert torch.equal(outputs(0), outputs(0))
    assert not torch.equal(outputs(0), outputs(1))


def test_normalised_features_are_what_is_embedded(tiny: Clip) -> None:
    search_set = search_set_of(clip_of(tiny))
    images_, _ = search_set.replay.base
    assert torch.equal(images_, normalize(search_set.replay.features_of("vision"), dim=-1))


@pytest.mark.parametrize("transposed", [False, True])
def test_efficiency_is_the_most_forgetting_per_unit_of_harm(
    transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the explicit Fisher matrix: without damping it is the root of `g' F^-1 g`, and no
    direction does better."""
    torch.manual_seed(0)
    made = [torch.randn(20, size, dtype=torch.float64) for size in (4, 3)]
    inputs, outputs = (rows.T @ rows / 20 for rows in made)
    metric = KroneckerFisher(inputs, outputs, transposed)
    gradient = torch.randn((4, 3) if transposed else (3, 4), dtype=torch.float64)
    for name in ("INPUT_DAMPING", "OUTPUT_DAMPING"):
        monkeypatch.setattr(f"slsgu.direction.kfac.{name}", 0.0)
    flat = (gradient.T if transposed else gradient).flatten()  # [o * i]
    fisher = torch.kron(outputs, inputs)
    best = float(flat @ torch.linalg.solve(fisher, flat)) ** 0.5
    assert metric.efficiency(gradient) == pytest.approx(best, rel=1e-9)
    for _ in range(20):
        change = torch.randn_like(gradient)
        gain, harm = float((change * gradient).sum()), metric.harm(change)
        assert gain / harm**0.5 < best  # control: other directions are worse
        assert (3 * gain) / metric.harm(3 * change) ** 0.5 == pytest.approx(gain / harm**0.5)
    monkeypatch.undo()
    assert 0 < metric.efficiency(gradient) < best  # damping costs some
    assert metric.efficiency(torch.zeros_like(gradient)) == 0
