"""Text merge: names go where they are told, what is kept heavily stays, nothing else could harm
less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slsgu.direction.kfac import damped
from slsgu.direction.text_merge import (
    DAMPING,
    Leaving,
    main_directions,
    place_to_go,
    second_moment,
    text_merged,
)

SIZE = 8


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def one(seed: int = 1, texts: int = 3) -> tuple[Leaving, Tensor]:
    """A concept in some texts, its name first, and the place where they go."""
    name, place = random(SIZE, 1, seed=seed), random(SIZE, 1, seed=seed + 50)
    rows = torch.cat([name, name + 0.1 * random(SIZE, texts, seed=seed + 90)], dim=1)
    return Leaving(rows, rows - place), place


def kept(count: int = 30) -> Tensor:
    rows = random(count, SIZE, seed=7)
    return second_moment(rows, torch.ones(count, dtype=torch.float64))


def moved(text: Tensor, change: Tensor) -> Tensor:
    return text + change @ text


# -- where names go -------------------------------------------------------------------------------


def test_the_name_goes_to_its_place_and_scores_what_the_place_scores() -> None:
    leaving, place = one()
    change = text_merged([leaving], kept())
    name = leaving.targets[:, :1]
    assert torch.allclose(moved(name, change), place, atol=1e-8)
    images = random(20, SIZE, seed=3)
    assert torch.allclose(images @ moved(name, change), images @ place, atol=1e-7)
    assert not torch.allclose(images @ name, images @ place, atol=0.1)  # control


def test_all_other_texts_go_with_it_where_every_direction_counts() -> None:
    leaving, place = one()
    every = text_merged([leaving], kept(), rank=0.0)
    assert torch.allclose(moved(leaving.targets, every), place.expand(-1, 4), atol=1e-6)
    alone = text_merged([leaving], kept(), rank=2.0)  # control: the name alone
    assert torch.allclose(moved(leaving.targets[:, :1], alone), place, atol=1e-8)
    assert not torch.allclose(moved(leaving.targets, alone), place.expand(-1, 4), atol=1e-2)


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.2])
def test_the_dial_is_the_share_of_the_way(dial: float) -> None:
    leaving, place = one()
    change = text_merged([leaving], kept(), dial=dial)
    name = leaving.targets[:, :1]
    assert torch.allclose(moved(name, change), (1 - dial) * name + dial * place, atol=1e-8)
    assert (float(change.norm()) == 0) == (dial == 0)


def test_two_concepts_go_to_two_places_at_once() -> None:
    (first, here), (second, there) = one(seed=1), one(seed=2)
    both = text_merged([first, second], kept())
    assert torch.allclose(moved(first.targets[:, :1], both), here, atol=1e-7)
    assert torch.allclose(moved(second.targets[:, :1], both), there, atol=1e-7)
    alone = text_merged([first], kept())  # control: one edit does not do both
    assert not torch.allclose(moved(second.targets[:, :1], alone), there, atol=0.1)


def test_a_concept_given_twice_is_moved_once() -> None:
    leaving, _ = one()
    assert torch.allclose(
        text_merged([leaving, leaving], kept()), text_merged([leaving], kept()), atol=1e-7
    )


def test_a_name_without_other_texts_is_moved() -> None:
    leaving, place = one()
    bare = Leaving(leaving.targets[:, :1], leaving.differences[:, :1])
    change = text_merged([bare], kept())
    assert torch.allclose(moved(bare.targets, change), place, atol=1e-8)


# -- what stays -----------------------------------------------------------------------------------


def test_what_is_kept_and_heavy_does_not_move() -> None:
    """A text of great weight stays; the same text of no weight moves."""
    leaving, _ = one()
    above = random(1, SIZE, seed=11)
    rows = torch.cat([random(4, SIZE, seed=7), above])
    shifts = []
    for weight in (0.0, 1.0, 1e4):
        weights = torch.tensor([1.0] * 4 + [weight], dtype=torch.float64)
        change = text_merged([leaving], second_moment(rows, weights))
        shifts.append(float((change @ above.T).norm()))
    assert shifts[0] > 100 * shifts[1] > 100 * shifts[2]
    assert shifts[2] < 1e-3 * float(above.norm()) < shifts[0]


def test_no_other_change_that_moves_the_name_so_harms_less() -> None:
    leaving, _ = one()
    moment = kept()
    metric = damped(moment, DAMPING)
    change = text_merged([leaving], moment, rank=2.0)
    harm = float((change @ metric * change).sum())
    name = leaving.targets[:, :1]
    beside = torch.eye(SIZE, dtype=torch.float64) - name @ name.T / float(name.T @ name)
    for seed in range(20):
        other = change + 0.1 * random(SIZE, SIZE, seed=seed) @ beside
        assert torch.allclose(other @ name, change @ name)
        assert float((other @ metric * other).sum()) > harm


def test_the_transposed_map_gives_images_the_same_scores_from_the_other_side() -> None:
    leaving, _ = one()
    change = text_merged([leaving], kept())
    texts, images = random(5, SIZE, seed=4), random(6, SIZE, seed=5)
    by_text = images @ (texts + texts @ change.T).T
    by_image = (images + images @ change) @ texts.T
    assert torch.allclose(by_text, by_image)
    assert not torch.allclose(by_text, images @ texts.T, atol=0.1)  # control


def test_directions_beside_the_name_are_orthogonal_to_it_and_large() -> None:
    leaving, _ = one(texts=5)
    metric = damped(kept(), DAMPING)
    found = main_directions(leaving, metric, 1e-3)
    gram = found.targets.T @ torch.linalg.solve(metric, found.targets)
    assert 1 < len(gram) <= 6
    beside = gram - torch.diag(gram.diagonal())
    assert float(beside.abs().max()) < 1e-8 * float(gram.max())
    assert bool((gram.diagonal()[1:] / 5 >= 1e-3 * gram[0, 0]).all())
    assert main_directions(leaving, metric, 2.0).targets.shape[1] == 1  # control


def test_a_place_lies_between_the_siblings_and_all_names() -> None:
    siblings, everything = random(SIZE), random(SIZE, seed=1)
    assert torch.equal(place_to_go(siblings, everything, 0.0), siblings)
    assert torch.equal(place_to_go(siblings, everything, 1.0), everything)
    assert torch.allclose(place_to_go(siblings, everything, 0.5), (siblings + everything) / 2)


def test_the_moment_is_that_of_weighted_copies() -> None:
    rows = random(3, SIZE)
    weighted = second_moment(rows, torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64))
    copies = rows[[0, 0, 1]]
    assert torch.allclose(weighted, copies.T @ copies / 3)
    assert not torch.allclose(weighted, rows.T @ rows / 3)  # control
