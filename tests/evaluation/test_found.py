"""Found again: by a few images of each class, without a word."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.evaluation.found import DRAWS, FEWEST, SHOTS, FewShot, Found

PETS = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["manx", "tabby"]})


def clusters(count: int, each: int, spread: float) -> tuple[Tensor, list[list[int]]]:
    """Embeddings of classes around orthogonal centres, and the places of each class."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.eye(16)[:count].repeat_interleave(each, dim=0)
    noise = torch.randn(count * each, 16, generator=generator)
    return rows + spread * noise, [list(range(n * each, (n + 1) * each)) for n in range(count)]


def share(few_shot: FewShot, images: Tensor) -> float:
    """The share of the images asked, over all draws, that are found."""
    return float(few_shot.hits(images).sum()) / sum(asked.numel() for asked in few_shot.asked)


def test_classes_that_lie_apart_are_found_and_classes_in_one_place_are_not() -> None:
    images, places = clusters(8, 10, spread=0.05)
    few_shot = FewShot.of(places[:1], places[1:])
    assert few_shot is not None and share(few_shot, images) == 1.0
    merged = images.clone()
    merged[places[0]] = images[places[1]]  # the first class looks like the second
    assert share(few_shot, merged) < 0.7
    noise = torch.randn(80, 16, generator=torch.Generator().manual_seed(1))
    assert share(few_shot, noise) == pytest.approx(1 / 8, abs=0.12)  # control: chance


def test_the_length_of_an_embedding_does_not_matter() -> None:
    images, places = clusters(4, 6, spread=0.4)
    few_shot = FewShot.of(places[:2], places[2:])
    assert few_shot is not None
    longer = images * torch.linspace(0.5, 7, len(images))[:, None]
    assert share(few_shot, longer) == share(few_shot, images)


def test_no_image_is_looked_for_by_itself() -> None:
    _, places = clusters(3, 7, spread=0.1)
    few_shot = FewShot.of(places[:1], places[1:])
    assert few_shot is not None and few_shot.count == 7 and few_shot.classes == 3
    for drawn, asked in zip(few_shot.drawn[0], few_shot.asked[0], strict=True):
        assert not set(drawn.tolist()) & set(asked.tolist())
        assert set(drawn.tolist()) | set(asked.tolist()) == set(places[0])


def test_other_images_stand_for_each_class_in_each_draw() -> None:
    _, places = clusters(3, 20, spread=0.1)
    few_shot = FewShot.of(places[:1], places[1:])
    assert few_shot is not None
    for standing, own in zip((*few_shot.drawn, *few_shot.kept), places, strict=True):
        assert standing.shape == (DRAWS, SHOTS)
        assert set(standing.flatten().tolist()) == set(own)
        assert all(len(set(row)) == SHOTS for row in standing.tolist())


def test_as_many_images_stand_for_each_class() -> None:
    images, places = clusters(4, 8, spread=0.3)
    few_shot = FewShot.of([places[0][:4], places[1]], places[2:])
    assert few_shot is not None
    assert {x.shape[1] for x in (*few_shot.drawn, *few_shot.kept)} == {2}
    merged = images.clone()
    merged[places[1]] = images[places[2]]  # the second class looks like the third
    found = few_shot.found(few_shot.hits(images), merged)
    assert found.shots == 2 and len(found.each) == 2
    first, second = found.each
    assert abs(first.after - first.before) < 0.1 and second.after < second.before - 0.3
    asked = [x.numel() for x in few_shot.asked]
    after = (first.after * asked[0] + second.after * asked[1]) / sum(asked)
    assert found.after == pytest.approx(after)


def test_an_image_of_a_group_is_found_where_it_goes_to_any_class_of_the_group() -> None:
    """Classes that change places with each other are lost one by one, and not as a group."""
    images, _ = clusters(4, 8, spread=0.05)
    leaves = [leaf for leaf in PETS.leaves for _ in range(8)]
    group = FewShot.among(leaves, Request.of(PETS, ["dog"]))
    each = FewShot.among(leaves, Request.of(PETS, ["beagle", "pug"]))
    assert group is not None and group.groups == (0, 0) and group.chance == 0.5
    assert each is not None and each.groups == (0, 1) and each.chance == 0.25
    mixed = images.clone()
    mixed[:16] = images[torch.arange(16) ^ 8 * (torch.arange(16) % 2)]  # every other one swaps
    found = group.found(group.hits(images), mixed)
    assert found.after == found.before == 1.0 and found.chance == 0.5
    assert each.found(each.hits(images), mixed).after < 0.7  # control
    gone = images.clone()
    gone[:16] = images[16:]  # all of them look like cats
    found = group.found(group.hits(images), gone)
    assert found.after < 0.7 and found.risen is False


def test_chance_counts_the_images_that_are_asked() -> None:
    """Two thirds of the images are of a group of two classes, of four in all."""
    _, places = clusters(4, 8, spread=0.1)
    few_shot = FewShot.of([places[0], places[1], places[2]], places[3:], [0, 0, 1])
    assert few_shot is not None
    assert few_shot.chance == pytest.approx((2 / 3 * 2 + 1 / 3) / 4)


def test_a_concept_is_told_by_its_images_and_against_its_own_chance() -> None:
    """A group of one large and one small class, beside a class of its own."""
    images, places = clusters(5, 12, spread=0.05)
    small = places[1][:4]
    few_shot = FewShot.of([places[0], small, places[2]], places[3:], [0, 0, 1])
    assert few_shot is not None
    gone = images.clone()
    gone[places[0]] = images[places[3]]  # the large class looks like one that is kept
    found = few_shot.found(few_shot.hits(images), gone)
    group, alone = found.concepts
    counts = [asked.numel() for asked in few_shot.asked]
    large, little, single = found.each
    mean = (large.after * counts[0] + little.after * counts[1]) / (counts[0] + counts[1])
    assert group.after == pytest.approx(mean) and mean < (large.after + little.after) / 2 - 0.05
    assert (group.chance, alone.chance) == (2 / 5, 1 / 5)
    assert alone == single and single.after == single.before == 1.0  # control


def test_with_too_few_images_nothing_is_said() -> None:
    _, places = clusters(3, FEWEST, spread=0.1)
    assert FewShot.of(places[:1], places[1:]) is not None  # control
    assert FewShot.of([places[0][:-1]], places[1:]) is None
    assert FewShot.of(places[:1], []) is None
    assert FewShot.of([], places) is None


def test_a_change_is_told_with_its_error() -> None:
    images, places = clusters(6, 20, spread=0.3)
    few_shot = FewShot.of(places[:1], places[1:])
    assert few_shot is not None
    before = few_shot.hits(images)
    same = few_shot.found(before, images)
    assert (same.after, same.error) == (same.before, 0.0) and not (same.fallen or same.risen)
    merged = images.clone()
    merged[places[0][:10]] = images[places[1][:10]]  # half of them look like the second class
    moved = few_shot.found(before, merged)
    assert moved.fallen and not moved.risen
    draws = torch.zeros(len(images))
    for asked in few_shot.asked[0]:
        draws[asked] += 1
    changes = ((few_shot.hits(merged) - before) / draws)[places[0]]
    assert moved.error == pytest.approx(float(changes.std()) / 20**0.5)
    back = few_shot.found(few_shot.hits(merged), images)
    assert back.risen and not back.fallen
    assert back.error == pytest.approx(moved.error)


@pytest.mark.parametrize(
    ("after", "fallen", "risen"), [(0.3, True, False), (0.45, False, False), (0.7, False, True)]
)
def test_a_change_within_its_error_is_none(after: float, fallen: bool, risen: bool) -> None:
    found = Found(before=0.5, after=after, count=20, chance=0.1, error=0.1)
    assert (found.fallen, found.risen) == (fallen, risen)


def test_a_share_counts_if_its_interval_lies_above_chance() -> None:
    assert Found(before=0.6, after=0.1, count=10, chance=0.1).measurable
    assert not Found(before=0.2, after=0.1, count=10, chance=0.1).measurable
