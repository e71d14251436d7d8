"""The one pass against naive autograd, and what must not change it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.gradients import close, plan_for

from slsgu.concepts.prompts import prompts_for
from slsgu.data.ledger import Ledger
from slsgu.errors import ArtifactError
from slsgu.gradients.compute import compute_gradients
from slsgu.gradients.gradients import Gradients
from slsgu.losses.retain import contrastive, multi_positive
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory
from slsgu.pipeline.run_folder import RunFolder, key_differences, obtain_gradients, run_folder
from slsgu.search.pareto import rank_layers
from slsgu.task import plan as plan_module
from slsgu.task.plan import Plan


def naive_forget(plan: Plan) -> dict[str, torch.Tensor]:
    """Eq. 5 written out: every image alone, every caption encoded for it, autograd, the mean. The
    relative loss adds the mean cosine to the captions of the siblings."""
    model, total = plan.task.clip.model, {}
    layers = inventory(model, norms=True)
    parameters = dict(model.named_parameters())
    for layer in layers:
        parameters[layer.name].requires_grad_(True)
    losses = []
    for sample in plan.task.forget_samples:
        image = model.encode_image(plan.task.clip.preprocess(sample.read())[None], normalize=True)
        own = plan.task.request.forgotten_names(sample.leaf)
        relative = plan.settings.forget_loss_used == "relative"
        siblings = plan.task.request.siblings(sample.leaf) if relative else ()
        for concepts, sign in ((own, -1), (siblings, 1)):
            for concept in concepts:
                for prompt in prompts_for(concept, plan.task.templates):
                    text = model.encode_text(plan.task.clip.tokenize([prompt]), normalize=True)
                    count = len(plan.task.templates) * len(concepts)
                    losses.append((1 + sign * (image * text).sum()) / count)
    (torch.stack(losses).sum() / len(plan.task.forget_samples)).backward()
    for layer in layers:
        total[layer.name] = parameters[layer.name].grad.clone()
        parameters[layer.name].grad = None
        parameters[layer.name].requires_grad_(False)
    return total


@pytest.mark.parametrize("loss", ["relative", "cosine"])
@pytest.mark.parametrize("concept", ["beagle", "dog"])
def test_the_forget_gradient_is_that_of_the_naive_loop(
    tiny: Clip, photos: Path, concept: str, loss: str
) -> None:
    plan = plan_for(tiny, photos, concept, templates="photo", forget_loss=loss)
    found = compute_gradients(plan, Ledger())
    expected = naive_forget(plan)
    assert close(dict(found.forget), expected, 1e-4)
    # Control: captioned with the parent, which must be kept, it would be another gradient.
    other = compute_gradients(plan_for(tiny, photos, "cat", templates="photo"), Ledger())
    assert not close(dict(other.forget), expected, 1e-2)


def test_the_retain_gradient_is_that_of_one_big_batch(tiny: Clip, photos: Path) -> None:
    """Micro-batches under one logical batch: embeddings first, then chunks, changes nothing."""
    whole = compute_gradients(plan_for(tiny, photos, batch_size=16), Ledger())
    chunked = compute_gradients(plan_for(tiny, photos, batch_size=4), Ledger())
    single = compute_gradients(plan_for(tiny, photos, batch_size=1), Ledger())
    for other in (chunked, single):
        assert close(dict(other.retain), dict(whole.retain), 1e-4)
        assert close(dict(other.forget), dict(whole.forget), 1e-4)
    # Control: the logical batch does matter, which is why it is recorded.
    smaller = compute_gradients(plan_for(tiny, photos, contrastive_batch=8), Ledger())
    assert not close(dict(smaller.retain), dict(whole.retain), 1e-2)
    assert close(dict(smaller.forget), dict(whole.forget), 1e-4)


def test_a_ragged_last_batch_weighs_what_it_should(tiny: Clip, photos: Path) -> None:
    """The mean over logical batches is weighted by their samples: compared with autograd over
    the same batches, one after the other."""
    plan = plan_for(tiny, photos, contrastive_batch=16)
    found = compute_gradients(plan, Ledger())
    assert found.counts["retain"] % 16, "the last batch must be ragged for this test to mean much"
    assert found.counts["retain"] == len(plan.task.retain_samples)
    assert found.losses["retain"] > 0
    parameters = dict(tiny.model.named_parameters())
    assert all(p.grad is None and not p.requires_grad for p in parameters.values())


def test_gradients_point_where_the_loss_rises(tiny: Clip, photos: Path) -> None:
    """Finite differences along the stored gradient: the sign is that of the loss itself."""
    plan = plan_for(tiny, photos, templates="photo", forget_loss="cosine")
    gradient = compute_gradients(plan, Ledger()).forget["visual.proj"]
    weight = dict(tiny.model.named_parameters())["visual.proj"]

    def loss() -> float:
        text = tiny.encode_text(["a photo of a beagle"])
        images = torch.stack([tiny.preprocess(s.read()) for s in plan.task.forget_samples])
        return float((1 - tiny.encode_image(images) @ text[0]).double().mean())

    with torch.no_grad():
        kept, step = weight.clone(), 1e-2 / float(gradient.norm())
        weight.copy_(kept + step * gradient)
        up = loss()
        weight.copy_(kept - step * gradient)
        down = loss()
        weight.copy_(kept)
    slope = (up - down) / (2 * step)
    assert slope == pytest.approx(float(gradient.norm()) ** 2, rel=0.02)


def test_the_two_contrastive_losses_differ_only_where_captions_repeat() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(6, 5, generator=generator), dim=-1)
        for _ in range(2)
    )
    scale = torch.tensor(10.0)
    distinct = torch.arange(6)
    one = contrastive(images, texts, distinct, scale)
    assert torch.allclose(one, multi_positive(images, texts, distinct, scale))
    repeated = torch.tensor([0, 0, 1, 1, 2, 2])
    assert not torch.allclose(
        contrastive(images, texts, repeated, scale), multi_positive(images, texts, repeated, scale)
    )
    # Eq. 2 and 3, spelled out with loops.
    logits = scale * images @ texts.T
    by_hand = sum(
        -logits[i].log_softmax(0)[i] - logits[:, i].log_softmax(0)[i] for i in range(6)
    ) / (2 * 6)
    assert torch.allclose(one, by_hand)


def test_a_cache_is_reused_only_when_everything_matches(
    tiny: Clip, photos: Path, tmp_path: Path
) -> None:
    plan = plan_for(tiny, photos)
    folder = run_folder(plan, root=tmp_path)
    first, reused = obtain_gradients(plan, folder, Ledger())
    assert not reused
    ledger = Ledger()
    again, reused = obtain_gradients(plan, folder, ledger)
    assert reused and close(dict(again.forget), dict(first.forget), 0)
    assert ledger.hashes("gradient"), "a reused cache still blocks its pictures for other splits"
    for other in (plan_for(tiny, photos, "pug"), plan_for(tiny, photos, seed=1)):
        assert run_folder(other, root=tmp_path).path != folder.path
        with pytest.raises(ArtifactError, match="made for something else"):
            run_folder(other, folder.path)
    # What decides nothing about gradients does not throw them away.
    assert run_folder(plan_for(tiny, photos, target=0.5, batch_size=4), root=tmp_path) == folder


def test_a_damaged_cache_is_named_and_computed_again(
    tiny: Clip, photos: Path, tmp_path: Path
) -> None:
    plan = plan_for(tiny, photos)
    folder = run_folder(plan, root=tmp_path)
    obtain_gradients(plan, folder, Ledger())
    folder.gradients.write_bytes(folder.gradients.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match="damaged"):
        Gradients.load(folder.gradients)
    with pytest.raises(ArtifactError, match="damaged"):
        run_folder(plan, folder.path)
    _, reused = obtain_gradients(plan, folder, Ledger())
    assert not reused
    assert obtain_gradients(plan, folder, Ledger())[1]


@pytest.mark.parametrize("what", ["algorithm", "layers"])
def test_a_cache_of_another_version_is_computed_again(
    tiny: Clip, photos: Path, tmp_path: Path, what: str
) -> None:
    """Another version may compute otherwise, or look for layers that the cache does not have."""
    plan = plan_for(tiny, photos)
    folder = run_folder(plan, tmp_path / "run")
    obtain_gradients(plan, folder, Ledger())
    made = Gradients.load(folder.gradients)
    assert made.key == plan.key  # control
    earlier = {k: v for k, v in made.key.items() if k != what}
    forget, retain = (dict(list(each.items())[:-1]) for each in (made.forget, made.retain))
    replace(made, key=earlier, forget=forget, retain=retain).save(folder.gradients)
    assert what in "".join(key_differences(earlier, plan.key))
    found, reused = obtain_gradients(plan, folder, Ledger())
    assert not reused and found.key == plan.key and found.forget.keys() == made.forget.keys()


def test_a_cache_of_other_layers_is_computed_again(
    tiny: Clip, photos: Path, tmp_path: Path
) -> None:
    """A version that finds fewer layers in the model leaves a cache that lacks some."""
    folder = RunFolder(tmp_path)

    def fewer(*given: Any, **named: Any) -> list[Layer]:
        return inventory(*given, **named)[:-1]

    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(plan_module, "inventory", fewer)
        first, _ = obtain_gradients(plan_for(tiny, photos), folder, Ledger())
        _, reused = obtain_gradients(plan_for(tiny, photos), folder, Ledger())
        assert reused  # control: of the same layers
    plan = plan_for(tiny, photos)
    found, reused = obtain_gradients(plan, folder, Ledger())
    assert not reused and len(found.forget) == len(first.forget) + 1
    assert len(rank_layers(found, norms=True, every=True)) == len(found.forget)


def test_retain_samples_are_gathered_once(tiny: Clip, photos: Path) -> None:
    """Gathering them anew for each image would take time that grows with their square."""
    task = plan_for(tiny, photos).task
    assert task.retain_samples is task.retain_samples
    assert {s.leaf for s in task.retain_samples}.isdisjoint(task.request.forget_leaves)


def test_key_differences_name_what_differs(tiny: Clip, photos: Path) -> None:
    key = plan_for(tiny, photos).key
    assert key_differences(key, key) == []
    other = plan_for(tiny, photos, "pug").key
    assert any(
        text.startswith("request is beagle, wanted pug") for text in key_differences(key, other)
    )


def test_one_thread_or_two_reading_gives_the_same(tiny: Clip, photos: Path) -> None:
    plan = plan_for(tiny, photos)
    machine = replace(plan.task.machine, workers=2)
    other = replace(plan, task=replace(plan.task, machine=machine))
    one, two = compute_gradients(plan, Ledger()), compute_gradients(other, Ledger())
    assert close(dict(one.forget), dict(two.forget), 0)
