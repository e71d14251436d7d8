"""Merge: the means meet, what is kept moves as little as that allows, and the proof is the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import build_network
from torch import Tensor

import slsgu
from slsgu.baselines.merge import merge
from slsgu.baselines.methods import METHODS
from slsgu.direction.merge import merged
from slsgu.errors import DataError, ModelError, SlsguError
from slsgu.models.clip import Clip, weights_sha256
from slsgu.search.method import Edit
from slsgu.search.pooled import LastProjection, PooledFeatures, mean_differences
from slsgu.task.task import Task


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def make(taught: Clip, photos: Path) -> Callable[..., Task]:
    """Tasks of the taught model, on the photographs."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return lambda *concepts, **given: slsgu.make_task(taught, concepts, **{**where, **given})


# -- the closed form ------------------------------------------------------------------------------


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0, 2.0])
def test_the_differences_shrink_by_the_dial(dial: float) -> None:
    weight, differences, rows = random(4, 6), random(6, 2, seed=1), random(50, 6, seed=2)
    after = weight + merged(weight, differences, rows.T @ rows / 50, dial, 0.1)
    assert torch.allclose(after @ differences, (1 - dial) * weight @ differences)
    if dial != 0:  # control: other differences do not
        assert not torch.allclose(after @ rows.T, (1 - dial) * weight @ rows.T)


def test_no_other_change_that_merges_does_less_harm() -> None:
    """Among changes with the same effect on the differences, in the metric of the damped moment."""
    weight, differences, rows = random(4, 6), random(6, 2, seed=1), random(50, 6, seed=2)
    moment, damping = rows.T @ rows / 50, 0.1
    metric = moment + damping * moment.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    change = merged(weight, differences, moment, 1.0, damping)
    harm = float((change @ metric * change).sum())
    beside = torch.eye(6, dtype=torch.float64) - differences @ torch.linalg.pinv(differences)
    for seed in range(20):
        other = change + 0.1 * random(4, 6, seed=seed) @ beside
        assert torch.allclose(other @ differences, change @ differences)
        assert float((other @ metric * other).sum()) > harm


def test_leaves_that_share_a_difference_are_merged_once() -> None:
    weight, one, moment = random(4, 6), random(6, 1, seed=1), torch.eye(6, dtype=torch.float64)
    twice = merged(weight, torch.cat([one, one], dim=1), moment, 1.0, 0.1)
    assert torch.allclose(twice, merged(weight, one, moment, 1.0, 0.1))


# -- the pooled features --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("vit", "visual.proj"),
        ("custom-text-vit", "visual.proj"),
        ("vit-extras", "visual.proj"),
        ("timm-convnext", "visual.head.proj.weight"),
        ("timm-efficientnet", "visual.head.proj.weight"),
    ],
)
def test_the_features_are_those_that_the_projection_is_given(
    network: str, name: str, tiny: Clip
) -> None:
    clip = _with_network(tiny, network)
    projection = LastProjection.of(clip)
    assert projection.layer.name == name
    pixels = torch.randn(3, 3, *clip.image_size)
    features, embeddings = projection.run(pixels)
    assert torch.allclose(
        features @ projection.matrix.T.float(), embeddings, atol=1e-4 * float(embeddings.norm())
    )
    assert not torch.allclose(features[:, : embeddings.shape[1]], embeddings, atol=1e-3)  # control


@pytest.mark.parametrize("network", ["resnet", "siglip"])
def test_a_model_without_a_last_projection_is_refused(network: str, tiny: Clip) -> None:
    """An attention pool, and a residual branch."""
    with pytest.raises(ModelError, match="does not end in a projection"):
        LastProjection.of(_with_network(tiny, network))


def _with_network(clip: Clip, network: str) -> Clip:
    return replace(clip, model=build_network(network))


def test_means_and_moment_are_those_of_all_images_at_once(make: Callable[..., Task]) -> None:
    machine = slsgu.MachineSettings(batch_size=7)  # ragged: the last batch is smaller
    task = make("beagle", machine=machine)
    projection = LastProjection.of(task.clip)
    found = PooledFeatures.read(projection, task, task.ledger())
    samples = task.splits.gradient
    pixels = torch.stack([task.clip.preprocess(sample.read()) for sample in samples])
    rows = projection.run(pixels)[0].double()
    beagles = torch.tensor([sample.leaf.name == "beagle" for sample in samples])
    (leaf,) = task.request.forget_leaves
    assert torch.allclose(found.means[leaf], rows[beagles].mean(dim=0), atol=1e-5)
    kept = rows[~beagles]
    assert torch.allclose(found.kept_moment, kept.T @ kept / len(kept), atol=1e-5)
    everything = rows.T @ rows / len(rows)
    assert not torch.allclose(found.kept_moment, everything, atol=1e-5)  # control


# -- the method -----------------------------------------------------------------------------------


def test_merge_is_run_by_name_and_puts_the_means_on_one_place(make: Callable[..., Task]) -> None:
    task = make("beagle")
    before = weights_sha256(task.clip.model)
    outcome = slsgu.run_method(task, METHODS["merge"], force=True)
    assert outcome.patch is not None and outcome.patch.layers == ("visual.proj",)
    assert outcome.patch.metadata["method"] == "merge" and outcome.edit.settings["dial"] == 1
    assert weights_sha256(task.clip.model) == before
    measures = outcome.proof.measures
    assert measures.before["forget_fine"] == 1 and measures.after["forget_fine"] < 0.5
    assert measures.after["forget_coarse"] > 0.8  # merged with the pug, it is still a dog
    claimed = {split: set(outcome.ledger.hashes(split)) for split in ("gradient", "test")}
    assert claimed["gradient"] and not claimed["gradient"] & claimed["test"]

    projection = LastProjection.of(task.clip)
    features = PooledFeatures.read(projection, task, task.ledger())
    apart = mean_differences(features.means, task.request).float()
    patched = outcome.patch.apply(task.clip.model)
    moved = patched.get_parameter("visual.proj").T @ apart
    own = projection.matrix.float() @ apart
    assert moved.norm() < 1e-4 * own.norm()

    still = slsgu.run_method(task, functools.partial(merge, dial=0.0), force=True)  # control
    assert still.proof.measures.after == still.proof.measures.before


def test_an_inner_node_is_merged_leaf_by_leaf(make: Callable[..., Task]) -> None:
    task = make("dog")
    features = PooledFeatures.read(LastProjection.of(task.clip), task, task.ledger())
    differences = mean_differences(features.means, task.request)
    beagle, pug = task.request.forget_leaves
    cats = torch.stack([features.means[leaf] for leaf in task.request.retain_leaves]).mean(dim=0)
    assert torch.equal(differences[:, 0], features.means[beagle] - cats)
    assert torch.equal(differences[:, 1], features.means[pug] - cats)


def test_images_are_taken_through_the_ledger(make: Callable[..., Task]) -> None:
    """A picture that another split has claimed plays no part."""
    task = make("beagle")
    free, taken = task.ledger(), task.ledger()
    projection = LastProjection.of(task.clip)
    PooledFeatures.read(projection, task, free)
    hashes = free.hashes("gradient")
    taken.restore("search", hashes[:3])
    found = PooledFeatures.read(projection, task, taken)
    assert len(taken.hashes("gradient")) == len(hashes) - 3
    assert len(taken.overlaps) == 3 and not free.overlaps
    every = PooledFeatures.read(projection, task, task.ledger())
    assert any(not torch.equal(found.means[leaf], every.means[leaf]) for leaf in every.means)


def test_without_siblings_it_says_what_to_do(make: Callable[..., Task]) -> None:
    task = make("beagle")
    features = PooledFeatures.read(LastProjection.of(task.clip), task, task.ledger())
    (beagle,) = task.request.forget_leaves
    alone = PooledFeatures({beagle: features.means[beagle]}, features.kept_moment)
    with pytest.raises(DataError, match=r"dog/beagle onto its siblings.*give images"):
        mean_differences(alone.means, task.request)
    assert mean_differences(features.means, task.request).shape[1] == 1  # control


@pytest.mark.parametrize(
    "given", [{"dial": float("nan")}, {"dial": float("inf")}, {"damping": 0.0}, {"damping": -1.0}]
)
def test_settings_that_make_no_sense_are_refused(
    make: Callable[..., Task], given: dict[str, float]
) -> None:
    task = make("beagle")
    with pytest.raises(SlsguError, match="finite dial and a positive damping"):
        merge(task, task.ledger(), **given)
    assert isinstance(merge(task, task.ledger(), dial=0.5, damping=1.0), Edit)  # control
