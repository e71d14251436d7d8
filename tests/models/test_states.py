"""Hidden states are seen where something else reads them, and distances are by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from slsgu.models.states import StatePlace, States


def tower() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))


def test_what_is_seen_is_what_the_block_puts_out() -> None:
    torch.manual_seed(0)
    model, norm, x = tower(), nn.LayerNorm(4), torch.randn(2, 5, 4)
    with StatePlace("vision", 1, model[1], norm, skipped=1).watch() as seen:
        model(x)
        model(x[:1])
    expected = norm(model[1](model[0](x)))[:, 1:]
    assert [batch.shape[0] for batch in seen] == [2, 1] and torch.equal(seen[0], expected)
    assert not seen[0].requires_grad
    model(x)
    assert len(seen) == 2  # nothing is watched any more
    with pytest.raises(KeyboardInterrupt), StatePlace("vision", 1, model[1]).watch():
        raise KeyboardInterrupt
    assert not model[1]._forward_hooks


def batches() -> list[Tensor]:
    """Three texts, in two batches of unlike length."""
    draws = torch.Generator().manual_seed(0)
    return [torch.randn(2, 6, 3, generator=draws), torch.randn(1, 4, 3, generator=draws)]


def test_rows_and_lengths_choose_what_counts() -> None:
    seen = batches()
    states = States.of(seen, None, rows=[1, 2], lengths=[9, 2, 3])
    assert states.count == 2 and states.owner.tolist() == [0, 0, 1, 1, 1]
    assert torch.equal(states.tokens, torch.cat([seen[0][1, :2], seen[1][0, :3]]))
    whole = States.of(seen, None)
    assert whole.count == 3 and len(whole.tokens) == 6 + 6 + 4


def test_a_distance_is_the_root_mean_square_over_tokens_and_the_embedding() -> None:
    seen = batches()
    embeddings = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    before = States.of(seen, embeddings)
    moved = [batch.clone() for batch in seen]
    moved[0][1, 2] *= 1.5  # one token of six by half its length
    assert before.distances(States.of(seen, embeddings)).tolist() == [0, 0, 0]
    found = before.distances(States.of(moved, embeddings))
    assert found.tolist() == pytest.approx([0, (0.25 / 7) ** 0.5, 0])
    found = States.of(seen, None).distances(States.of(moved, None))
    assert found.tolist() == pytest.approx([0, (0.25 / 6) ** 0.5, 0])
    other = embeddings.clone()
    other[2] *= 3
    assert float(before.distances(States.of(seen, other))[2]) == pytest.approx((4 / 5) ** 0.5)


def test_one_long_token_is_not_all_that_counts() -> None:
    """CLIP has tokens a hundred times as long as the others, which say little of a prompt."""
    seen = [torch.ones(1, 2, 3)]
    seen[0][0, 0] *= 1000
    after = [seen[0].clone()]
    after[0][0, 1] = -1
    found = float(States.of(seen, None).distances(States.of(after, None))[0])
    assert found == pytest.approx(2**0.5)
    assert float((after[0] - seen[0]).norm() / seen[0].norm()) < 0.01  # control: of the whole
