"""Each loss against its formula, with numbers worked out by hand; and what it asks of gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from slsgu.baselines import losses
from slsgu.baselines.ascent import ascent_with_divergence, gradient_difference
from slsgu.baselines.bounded import (
    hinge_as_published,
    hinge_with_divergence,
    preference_with_divergence,
)
from slsgu.baselines.fine_tuning import climb_and_keep, keep, learn_more
from slsgu.baselines.objectives import climb, keep_parents, mean_over, stay
from slsgu.baselines.relabelling import even_out, relabel
from slsgu.baselines.step import Scores, Step

# Three classes; the softmax of these scores is (1, 2, 4) / 7 and (4, 2, 1) / 7.
UP = [0.0, math.log(2), math.log(4)]
DOWN = UP[::-1]
SCORES = torch.tensor([UP, DOWN])
LABELS = torch.tensor([0, 1])
EVEN = torch.zeros(2, 3)


def close(found: Tensor, wanted: float) -> bool:
    return float(found.detach()) == pytest.approx(wanted, abs=1e-6)


def test_descent_and_ascent_are_the_log_probability() -> None:
    wanted = -(math.log(1 / 7) + math.log(2 / 7)) / 2
    assert close(losses.descent(SCORES, LABELS), wanted)
    assert close(losses.ascent(SCORES, LABELS), -wanted)
    assert not close(losses.descent(SCORES, torch.tensor([1, 1])), wanted)  # control


def test_divergence_is_from_before_to_now() -> None:
    def kl(p: list[float], q: list[float]) -> float:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    third, up = [1 / 3] * 3, [1 / 7, 2 / 7, 4 / 7]
    assert close(losses.divergence(EVEN, SCORES), kl(third, up))
    assert close(losses.divergence(SCORES, EVEN), kl(up, third))
    assert kl(third, up) != pytest.approx(kl(up, third))  # control: which way round matters
    assert close(losses.divergence(SCORES, SCORES + 5), 0)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_preference_is_bounded_ascent(beta: float) -> None:
    ratios = [math.log((1 / 7) * 3), math.log((2 / 7) * 3)]
    wanted = sum(2 / beta * math.log(1 + math.exp(beta * r)) for r in ratios) / 2
    assert close(losses.preference(SCORES, EVEN, LABELS, beta), wanted)
    # At the unedited model its gradient is that of ascent (Zhang et al. 2024, section 3).
    now = SCORES.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(losses.preference(now, SCORES, LABELS, beta), now)
    (other,) = torch.autograd.grad(losses.ascent(now, LABELS), now)
    assert torch.allclose(slope, other, atol=1e-6)
    gone = torch.tensor([[-50.0, 0, 0], [0, -50.0, 0]], requires_grad=True)
    (slope,) = torch.autograd.grad(losses.preference(gone, SCORES, LABELS, beta), gone)
    (other,) = torch.autograd.grad(losses.ascent(gone, LABELS), gone)
    assert slope.abs().max() < 1e-3 < other.abs().max()  # control: ascent never ends


def test_hinge_ends_once_another_class_leads_by_the_margin() -> None:
    # Image 0: own 0, best other log 4. Image 1: own log 2, best other log 4.
    wanted = (max(0, 1 - math.log(4)) + max(0, 1 + math.log(2) - math.log(4))) / 2
    assert close(losses.hinge(SCORES, LABELS, 1.0), wanted)
    assert close(losses.hinge(SCORES, LABELS, 0.5), 0)
    assert float(losses.hinge(SCORES, torch.tensor([2, 0]), 0.5)) > 0  # control: they lead


def test_evenness_is_zero_where_every_class_is_as_likely() -> None:
    wanted = -math.log(3) - (math.log(1 / 7) + math.log(2 / 7) + math.log(4 / 7)) / 3
    assert close(losses.evenness(SCORES), wanted) and wanted > 0
    assert close(losses.evenness(EVEN), 0)


def test_other_labels_are_never_the_own_and_all_others_alike() -> None:
    labels = torch.arange(4).repeat(3000)
    drawn = losses.other_labels(labels, 4, torch.Generator().manual_seed(0))
    assert not (drawn == labels).any()
    counts = torch.bincount((drawn - labels) % 4, minlength=4)
    assert counts[0] == 0 and all(abs(int(x) - 4000) < 200 for x in counts[1:])


# -- put together ---------------------------------------------------------------------------------


def scores(now: Tensor, labels: list[int], kept: list[bool], before: Tensor = EVEN) -> Scores:
    return Scores(now, before, torch.tensor(labels), torch.tensor(kept))


FINE = scores(SCORES, [0, 0], [False, True, True])
PARENT = scores(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), [0, 0], [True, True], torch.zeros(2, 2))
IMAGES = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [0.1, 1.0], [0.3, 1.0]]), dim=1)
TEXTS = torch.eye(2)


def step(**given: object) -> Step:
    parts = {
        "forgotten": (FINE,),
        "coarse": (PARENT,),
        "retain": scores(torch.zeros(3, 2), [0, 1, 1], [True, True], torch.zeros(3, 2)),
        "images": IMAGES,
        "texts": TEXTS,
        "scale": 10.0,
        "generator": torch.Generator().manual_seed(0),
    }
    return Step(**{**parts, **given})  # type: ignore[arg-type]


def test_each_objective_is_the_sum_of_its_terms() -> None:
    one = step()
    ce = float(losses.descent(FINE.now, FINE.labels))
    parent = float(losses.descent(PARENT.now, PARENT.labels))
    kl_parent = float(losses.divergence(PARENT.before, PARENT.now))
    kl_kept = float(losses.divergence(EVEN[:, 1:], SCORES[:, 1:]))
    npo = float(losses.preference(FINE.now, FINE.before, FINE.labels, 0.5))
    nhl = float(losses.hinge(FINE.now, FINE.labels, 2.0))
    assert close(climb(one), -ce)
    assert close(keep_parents(one), parent)
    assert close(stay(one, 3, 7), 3 * kl_parent + 7 * kl_kept)
    assert close(gradient_difference(one), -ce + parent)
    assert close(ascent_with_divergence(one), -ce + 5 * kl_parent + 20 * kl_kept)
    assert close(preference_with_divergence(one), npo + 5 * kl_parent + 20 * kl_kept)
    assert close(hinge_with_divergence(one), nhl + 10 * kl_parent + 20 * kl_kept)
    assert close(even_out(one), float(losses.evenness(FINE.now)) + parent)
    assert close(learn_more(one), ce - 0.05 * parent)


def test_the_published_variant_divides_by_the_classes_and_leaves_out_the_own_alone() -> None:
    nhl = float(losses.hinge(FINE.now, FINE.labels, 2.0))
    kl_parent = float(losses.divergence(PARENT.before, PARENT.now)) / 2
    kl_others = float(losses.divergence(EVEN[:, 1:], SCORES[:, 1:])) / 2  # all but class 0
    assert close(hinge_as_published(step()), nhl + 10 * kl_parent + 20 * kl_others)
    # With two classes to be forgotten, the other one stays in it; in the paper's it does not.
    two = scores(SCORES, [0, 0], [False, False, True])
    assert close(hinge_as_published(step(forgotten=(two,))), nhl + 10 * kl_parent + 20 * kl_others)
    assert close(stay(step(forgotten=(two,)), 0, 1), 0)  # one class is left


def test_relabelling_draws_a_class_that_is_not_the_own() -> None:
    one = scores(SCORES[:1], [0], [False, True, True])
    found = round(float(relabel(step(forgotten=(one,)))), 5)
    by_class = [round(float(losses.descent(one.now, torch.tensor([c]))), 5) for c in range(3)]
    assert found in by_class[1:] and found != by_class[0]


def test_images_of_what_is_kept_are_matched_with_their_captions() -> None:
    logits = 10 * IMAGES @ TEXTS[[0, 1, 1]].T
    own = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 1, 1]]).bool()
    rows = logits.logsumexp(1) - logits.masked_fill(~own, -torch.inf).logsumexp(1)
    columns = logits.logsumexp(0) - logits.masked_fill(~own, -torch.inf).logsumexp(0)
    wanted = float((rows + columns).mean() / 2)
    assert close(keep(step()), wanted)
    assert close(climb_and_keep(step()), wanted + float(climb(step())))


def test_levels_count_alike_and_no_level_is_nothing() -> None:
    def own(s: Scores) -> Tensor:
        return losses.descent(s.now, s.labels)

    both = mean_over((FINE, PARENT), own)
    assert close(both, (float(own(FINE)) + float(own(PARENT))) / 2)
    flat = step(coarse=())
    assert close(keep_parents(flat), 0) and close(stay(flat, 5, 0), 0)
