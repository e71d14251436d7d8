"""The training loop: what moves, what stays, what is spent, and which moment is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import build_network
from torch import Tensor

import slsgu
from slsgu.baselines.ascent import GA
from slsgu.baselines.bounded import NHL_KL
from slsgu.baselines.dampening import SSD, dampened, importance
from slsgu.baselines.fine_tuning import FT, GAFT, TASK_VECTOR
from slsgu.baselines.iterative import Iterative, Tunable
from slsgu.baselines.losses import descent
from slsgu.baselines.material import Material
from slsgu.baselines.methods import CONTROLS, METHODS, OURS
from slsgu.baselines.objectives import climb, mean_over
from slsgu.baselines.salience import gradients_of, salient
from slsgu.baselines.step import Step, take_step
from slsgu.baselines.train import FIXED, Budget, Trained, spread, train, trainable
from slsgu.errors import SlsguError
from slsgu.models.clip import Clip, weights_sha256
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT

SHORT = Budget(cap=32, batch=8, checks=2)
FAST = 4e-2  # the tiny model takes long strides


@pytest.fixture
def task(taught: Clip, photos: Path) -> Task:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    limits = slsgu.Limits(gradient=8, search=6, test=6)
    return slsgu.make_task(taught, ["beagle"], settings=slsgu.DataSettings(limits=limits), **where)


@pytest.fixture
def material(task: Task) -> Material:
    return Material.of(task, task.ledger())


def run(material: Material, method: Iterative = GA, **given: object) -> Trained:
    settings = {"rate": FAST, "budget": SHORT, "seed": 0, "forget": method.forget}
    settings |= {"retain": method.retain, "scale": method.scale}
    return train(material, method.objective, **{**settings, **given})  # type: ignore[arg-type]


def test_the_model_stays_and_the_patch_does_what_was_measured(task: Task) -> None:
    before = weights_sha256(task.clip.model)
    edit = GA.within(SHORT).at(FAST)(task, task.ledger())
    assert weights_sha256(task.clip.model) == before
    assert not any(p.requires_grad for p in task.clip.model.parameters())
    assert len(edit.patch.layers) > 20 and not set(FIXED) & set(edit.patch.layers)
    material = Material.of(task, task.ledger())
    patched = replace(task.clip, model=edit.patch.apply(task.clip.model))
    assert edit.measures is not None
    assert material.check(patched).after == edit.measures.after
    assert material.check(task.clip).after != edit.measures.after  # control
    assert edit.gradients == 32 and edit.measures.quality and edit.measures.quality > 0.3


def test_a_run_is_the_same_again_and_another_with_another_seed(material: Material) -> None:
    one, same, other = run(material), run(material), run(material, seed=1)
    name = "visual.proj"
    assert torch.equal(one.delta[name], same.delta[name])
    assert not torch.equal(one.delta[name], other.delta[name])


def test_the_cap_counts_images_of_both_kinds(material: Material) -> None:
    alone, both = run(material), run(material, GAFT)
    assert [check.gradients for check in alone.checks] == [16, 32]
    assert [check.step for check in both.checks] == [1, 2]  # half as many steps
    assert both.gradients == 32
    with pytest.raises(SlsguError, match="raise the cap"):
        Budget(cap=4, batch=8)


def test_the_best_moment_is_taken_not_the_last(material: Material) -> None:
    """Ascent with a huge rate destroys the model after it has forgotten."""
    trained = run(material, rate=0.3, budget=Budget(cap=128, batch=8, checks=8))
    q_u = [check.q_u for check in trained.checks]
    assert trained.taken.q_u == max(q_u)
    assert q_u[-1] < max(q_u)  # control: the last is worse


def test_of_moments_alike_the_last_is_taken(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Material.check
    first = check(material, material.task.clip)
    monkeypatch.setattr(Material, "check", lambda *_: replace(first, q_u=1.0))
    trained = run(material)
    assert trained.taken == trained.checks[-1] and len(trained.checks) > 1


def test_what_is_masked_stays_and_the_rest_moves(material: Material) -> None:
    _, weights = trainable(material.task.clip)
    generator = torch.Generator().manual_seed(0)
    mask = {n: torch.rand(w.shape, generator=generator) < 0.5 for n, w in weights.items()}
    trained = run(material, mask=mask)
    for name, delta in trained.delta.items():
        assert not delta[~mask[name]].any(), name
    assert trained.delta["visual.proj"][mask["visual.proj"]].all()
    free = run(material)  # control
    assert free.delta["visual.proj"][~mask["visual.proj"]].all()


def test_a_task_vector_is_taken_back(material: Material) -> None:
    once = Budget(cap=16, batch=8, checks=1)
    learnt = run(material, TASK_VECTOR, scale=1.0, budget=once)
    taken = run(material, TASK_VECTOR, budget=once)
    for name, delta in taken.delta.items():
        assert torch.allclose(delta, -1.5 * learnt.delta[name])
    assert any(delta.any() for delta in learnt.delta.values())  # control


def test_running_statistics_stay(task: Task, photos: Path) -> None:
    """BatchNorm is in evaluation mode: no image leaves a trace in it."""
    model = build_network("resnet")
    clip, _ = trainable(replace(task.clip, model=model))
    assert not clip.model.training
    before = {n: b.clone() for n, b in clip.model.named_buffers() if "running" in n}
    clip.encode_image(torch.randn(4, 3, *clip.image_size)).sum().backward()
    after = dict(clip.model.named_buffers())
    assert before and all(torch.equal(after[n], b) for n, b in before.items())
    clip.model.train()  # control
    clip.encode_image(torch.randn(4, 3, *clip.image_size))
    assert any(not torch.equal(after[n], b) for n, b in before.items())


def test_the_rate_is_in_units_of_the_weights() -> None:
    model = build_network("vit")
    once = spread(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    assert spread(model) == pytest.approx(3 * once, rel=1e-5)


def test_training_may_begin_with_a_change(material: Material) -> None:
    change = {"visual.proj": torch.full_like(material.task.clip.model.visual.proj, 0.5)}
    from_there = run(material, start=change, rate=1e-9)
    assert torch.allclose(from_there.delta["visual.proj"], change["visual.proj"], atol=1e-4)
    assert run(material, rate=1e-9).delta["visual.proj"].abs().max() < 1e-4  # control


def test_images_of_what_is_kept_are_needed_where_a_method_uses_them(material: Material) -> None:
    without = replace(material, retain=None)
    with pytest.raises(SlsguError, match="needs images of what is to be kept"):
        run(without, FT)
    run(without, GA)  # control


# -- a step ---------------------------------------------------------------------------------------


def test_a_step_lays_out_levels_labels_and_scores(material: Material) -> None:
    clip, generator = material.task.clip, torch.Generator().manual_seed(0)
    with torch.no_grad():
        step = take_step(material, clip, [0, 1], [2, 3, 4], generator)
    (gone,), (above,) = step.forgotten, step.coarse
    assert gone.now.shape == (2, 4) and above.now.shape == (2, 2)
    names = [leaf.name for leaf in material.task.taxonomy.leaves]
    assert [names[i] for i in gone.labels] == ["beagle", "beagle"]
    assert [n for n, kept in zip(names, gone.kept, strict=True) if not kept] == ["beagle"]
    assert above.kept.all()
    assert torch.allclose(gone.now, gone.before, atol=1e-4)  # the model is the unedited one
    assert step.retain is not None and material.retain is not None
    leaves = [material.retain.samples[i].leaf.name for i in (2, 3, 4)]
    assert [names[i] for i in step.retain.labels] == leaves
    # By hand: one prompt of each class, the same template.
    words = [n for n in material.book.texts if n.endswith("beagle") or "beagle" in n]
    images = clip.encode_image(material.forget.pixels[:2])
    by_hand = {round(float(material.scale * images[0] @ clip.encode_text([w])[0]), 3)
               for w in words}  # fmt: skip
    assert round(float(gone.now[0, names.index("beagle")]), 3) in by_hand


# -- salience and dampening -----------------------------------------------------------------------


def test_salience_is_the_largest_share_of_the_whole_gradient(material: Material) -> None:
    mask, count = salient(material, climb, share=0.1)
    assert count == len(material.forget.samples)
    ((size, gradients),) = list(gradients_of(material, climb, "forget"))  # one batch holds all
    assert size == count
    total = sum(int(each.count_nonzero()) for each in gradients.values())
    assert sum(int(each.sum()) for each in mask.values()) == pytest.approx(0.1 * total, rel=0.01)
    marked = min(float(g[mask[n]].abs().min()) for n, g in gradients.items() if mask[n].any())
    others = max(float(g[~mask[n]].abs().max()) for n, g in gradients.items() if (~mask[n]).any())
    assert marked >= others


def test_importance_is_the_squared_gradient_of_a_batch(material: Material) -> None:
    def loss(step: Step) -> Tensor:
        return mean_over(step.forgotten, lambda s: descent(s.now, s.labels))

    found, count = importance(material, loss, "forget")
    clip, weights = trainable(material.task.clip)
    rows = list(range(len(material.forget.samples)))
    loss(take_step(material, clip, rows, [], torch.Generator().manual_seed(0))).backward()
    gradient = weights["visual.proj"].grad
    assert gradient is not None and count == len(rows)
    assert torch.allclose(found["visual.proj"], gradient.square(), rtol=1e-3, atol=1e-12)


def test_dampening_scales_down_what_matters_more_to_what_is_forgotten() -> None:
    forget, kept = torch.tensor([1.0, 9.0, 20.0]), torch.ones(3)
    assert dampened(forget, kept, 10.0).tolist() == pytest.approx([1, 1, 1 / 20])
    assert dampened(forget, kept, 5.0).tolist() == pytest.approx([1, 0.5 / 9, 0.5 / 20])
    assert dampened(torch.zeros(3), torch.zeros(3), 5.0).tolist() == [1, 1, 1]


def test_ssd_reads_every_image_once(task: Task) -> None:
    edit = SSD.at(1e-3)(task, task.ledger())
    material = Material.of(task, task.ledger())
    assert material.retain is not None
    assert edit.gradients == len(material.forget.samples) + len(material.retain.samples)
    assert all(bool((d * edit.patch.original[n].float() <= 0).all())
               for n, d in edit.patch.delta.items())  # fmt: skip


# -- every method ---------------------------------------------------------------------------------


def test_every_method_hands_over_a_patch_of_the_model(task: Task) -> None:
    parameters = dict(task.clip.model.named_parameters())
    for name in ("nhl-kl", "salun", "salun-ft", "nothing", "merge", "random-direction", "ft"):
        method = METHODS[name]
        if isinstance(method, Tunable):
            method = method.within(SHORT)
        edit = method(task, task.ledger(), SILENT)
        edit.patch.check(parameters)
        assert edit.patch.metadata["method"] == name
    assert METHODS.keys() >= OURS | CONTROLS


def test_the_hinge_forgets_where_fine_tuning_does_not(task: Task) -> None:
    """The order of the papers, on a tiny model."""
    budget = Budget(cap=64, batch=8, checks=4)
    kept = FT.within(budget).at(FAST / 10)(task, task.ledger())
    gone = NHL_KL.within(budget).at(FAST)(task, task.ledger())
    assert kept.measures is not None and gone.measures is not None
    assert gone.measures.forget_accuracy < 0.5 <= kept.measures.forget_accuracy
