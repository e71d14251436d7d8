"""CCUP: after it nothing has a part along the concept's texts, and it is the naive projection."""

from __future__ import annotations

import torch
from torch import Tensor

from slsgu.direction.ccup import projected_out


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_it_is_one_projection_after_the_other_along_an_orthogonal_basis() -> None:
    texts, rows = random(6, 2), random(10, 6, seed=1)
    first = texts[:, 0] / texts[:, 0].norm()
    second = texts[:, 1] - (texts[:, 1] @ first) * first
    second = second / second.norm()
    naive = rows - torch.outer(rows @ first, first)
    naive = naive - torch.outer(naive @ second, second)
    assert torch.allclose(rows + rows @ projected_out(texts).T, naive)
    assert not torch.allclose(rows, naive, atol=0.1)  # control


def test_what_is_left_has_no_part_along_any_text_and_a_second_time_changes_nothing() -> None:
    texts, rows = random(6, 2), random(10, 6, seed=1)
    left = rows + rows @ projected_out(texts).T
    assert float((left @ texts).abs().max()) < 1e-12 < float((rows @ texts).abs().max())
    assert torch.allclose(left + left @ projected_out(texts).T, left)


def test_texts_that_are_alike_are_one_direction() -> None:
    text = random(6, 1)
    both = torch.cat([text, 2 * text + 1e-9], dim=1)
    assert torch.allclose(projected_out(both), projected_out(text), atol=1e-6)
    trace = float(projected_out(random(6, 2)).trace())
    assert round(trace) == -2  # control: of two texts that differ both go
