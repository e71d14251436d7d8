"""Found again: by a few images of each class, without a word."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slsgu.evaluation.found import FEWEST, FewShot, Found


def clusters(count: int, each: int, spread: float) -> tuple[Tensor, list[list[int]]]:
    """Embeddings of classes around orthogonal centres, and the places of each class."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.eye(16)[:count].repeat_interleave(each, dim=0)
    noise = torch.randn(count * each, 16, generator=generator)
    return rows + spread * noise, [list(range(n * each, (n + 1) * each)) for n in range(count)]


def test_classes_that_lie_apart_are_found_and_classes_in_one_place_are_not() -> None:
    images, places = clusters(8, 10, spread=0.05)
    few_shot = FewShot.of(places[:1], places[1:])
    assert few_shot is not None and few_shot.share(images) == 1.0
    merged = images.clone()
    merged[places[0]] = images[places[1]]  # the first class looks like the second
    assert few_shot.share(merged) < 0.7
    noise = torch.randn(80, 16, generator=torch.Generator().manual_seed(1))
    assert few_shot.share(noise) == pytest.approx(1 / 8, abs=0.12)  # control: chance


def test_the_length_of_an_embedding_does_not_matter() -> None:
    images, places = clusters(4, 6, spread=0.4)
    few_shot = FewShot.of(places[:2], places[2:])
    assert few_shot is not None
    longer = images * torch.linspace(0.5, 7, len(images))[:, None]
    assert few_shot.share(longer) == few_shot.share(images)


def test_no_image_is_looked_for_by_itself() -> None:
    _, places = clusters(3, 7, spread=0.1)
    few_shot = FewShot.of(places[:1], places[1:])
    assert few_shot is not None and few_shot.count == 7 and few_shot.classes == 3
    for drawn, asked in zip(few_shot.drawn[0], few_shot.asked[0], strict=True):
        assert not set(drawn.tolist()) & set(asked.tolist())
        assert set(drawn.tolist()) | set(asked.tolist()) == set(places[0])


def test_with_too_few_images_nothing_is_said() -> None:
    _, places = clusters(3, FEWEST, spread=0.1)
    assert FewShot.of(places[:1], places[1:]) is not None  # control
    assert FewShot.of([places[0][:-1]], places[1:]) is None
    assert FewShot.of(places[:1], []) is None
    assert FewShot.of([], places) is None


def test_a_share_counts_if_its_interval_lies_above_chance() -> None:
    assert Found(before=0.6, after=0.1, count=10, chance=0.1).measurable
    assert not Found(before=0.2, after=0.1, count=10, chance=0.1).measurable
