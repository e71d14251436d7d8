"""A classifier becomes an embedding space that ranks classes as the classifier does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slsgu.photographs import projection
from slsgu.photographs.projection import Projection, project

CLASSES, FEATURES = 40, 24


@pytest.fixture
def classifier() -> tuple[Tensor, Tensor]:
    """A weight [40, 24] and a bias [40], far from centred."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(CLASSES, FEATURES, generator=generator) + 0.7
    return weight, torch.randn(CLASSES, generator=generator)


def cosines(space: Projection, features: Tensor) -> Tensor:
    images = features @ space.weight.T + space.bias
    return torch.nn.functional.normalize(images, dim=1) @ space.classes.T


def rankings(scores: Tensor) -> Tensor:
    return scores.argsort(dim=1)


def test_all_class_vectors_have_length_one(classifier: tuple[Tensor, Tensor]) -> None:
    space = project(*classifier, dimensions=12)
    assert space.classes.shape == (CLASSES, 12) and space.weight.shape == (12, FEATURES)
    torch.testing.assert_close(space.classes.norm(dim=1), torch.ones(CLASSES))
    # Control: without the last coordinate they are of very different lengths.
    lengths = space.classes[:, :-1].norm(dim=1)
    assert lengths.max() > 1.3 * lengths.min()


def test_no_image_has_the_last_coordinate(classifier: tuple[Tensor, Tensor]) -> None:
    space = project(*classifier, dimensions=12)
    images = torch.randn(9, FEATURES) @ space.weight.T + space.bias
    assert images[:, -1].eq(0).all() and images[:, :-1].ne(0).all()


def test_cosines_rank_as_the_classifier_does(classifier: tuple[Tensor, Tensor]) -> None:
    weight, bias = classifier
    features = torch.rand(200, FEATURES)
    wanted = rankings(features @ weight.T + bias)
    whole = project(weight, bias, dimensions=FEATURES + 2)  # nothing is cut off
    assert (rankings(cosines(whole, features)) == wanted).float().mean() > 0.999
    # Controls: the bias counts, and so do the directions that are cut off.
    assert (rankings(features @ weight.T) == wanted).float().mean() < 0.5
    few = project(weight, bias, dimensions=8)
    assert (rankings(cosines(few, features)) == wanted).float().mean() < 0.5


def test_another_linear_algebra_library_gives_the_same_bits(
    classifier: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = project(*classifier, dimensions=12)
    svd = torch.linalg.svd

    def elsewhere(matrix: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
        left, values, right = svd(matrix, full_matrices=full_matrices)
        signs = 1.0 - 2 * (torch.arange(len(values)) % 2).double()
        return left * signs, values, signs[:, None] * right * (1 + 1e-14)

    monkeypatch.setattr(torch.linalg, "svd", elsewhere)
    there = project(*classifier, dimensions=12)
    assert torch.equal(here.weight, there.weight) and torch.equal(here.classes, there.classes)
    # Control: without the grid the bits differ, although the signs are fixed.
    monkeypatch.setattr(projection, "_GRID", 2.0**-60)
    finer = project(*classifier, dimensions=12)
    monkeypatch.undo()
    monkeypatch.setattr(projection, "_GRID", 2.0**-60)
    assert not torch.equal(
        (finer.classes.double() - project(*classifier, dimensions=12).classes.double()).abs(),
        torch.zeros(CLASSES, 12),
    ) or not torch.equal(finer.weight, here.weight)


def test_a_group_scores_its_members_highest(classifier: tuple[Tensor, Tensor]) -> None:
    space = project(*classifier, dimensions=FEATURES + 2)
    members = [3, 17, 29]
    group = space.group(members)
    scores = space.classes[:, :-1] @ group[:-1]
    assert set(scores.topk(3).indices.tolist()) == set(members)
    assert group[-1] == 0 and torch.isclose(group.norm(), torch.tensor(1.0))
    assert torch.equal(space.group([5]), space.classes[5])  # a group of one is that one
