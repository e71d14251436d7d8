"""Requests that are given by their images, the whole way: what is forgotten, kept and measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.gradients import close
from helpers.pairs import (
    QUICK,
    say,
    table,
)
from helpers.pictures import png
from PIL import Image

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.ledger import Ledger
from slsgu.data.splits.partition import SPLITS
from slsgu.data.splits.splits import Limits
from slsgu.errors import DataError
from slsgu.evaluation.exam import CAPTIONS
from slsgu.gradients.bank import RetainCache
from slsgu.gradients.compute import compute_gradients
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.pipeline.result import Outcome
from slsgu.pipeline.run import run_plan, unlearn
from slsgu.pipeline.run_folder import RunFolder
from slsgu.report.html import html, to_json
from slsgu.task import plan as plan_module
from slsgu.task.pairs import Pairs
from slsgu.task.plan import Plan, make_plan
from slsgu.task.settings import Settings

# -- the whole way ------------------------------------------------------------------------------


@pytest.fixture
def beagles(tmp_path: Path, photos: Path) -> Path:
    return table(tmp_path / "beagles.jsonl", photos, ["beagle"])


@pytest.fixture
def others(tmp_path: Path, photos: Path) -> Path:
    return table(tmp_path / "others.jsonl", photos, ["pug", "tabby", "siamese"])


def check(result: Outcome) -> None:
    """What any success must be."""
    assert result.success and result.patch is not None
    used = [set(result.ledger.hashes(split)) for split in SPLITS]
    assert all(used) and len(set().union(*used)) == sum(map(len, used))
    assert result.trace.chosen.measures.forget_accuracy <= result.goal.target
    after = result.proof.measures
    assert after.before["forget_fine"] and after.after["forget_fine"] is not None
    assert after.after["forget_fine"] < after.before["forget_fine"]


def test_pairs_with_classes(taught: Clip, beagles: Path, others: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("pug\ntabby\nsiamese\n")
    pairs = Pairs(forget=beagles, retain=others, name="beagle", classes=tmp_path / "names.txt")
    result = unlearn(taught, pairs=pairs, settings=Settings(**QUICK))
    check(result)
    assert [level.depth for level in result.proof.exam.levels] == [CAPTIONS, 1]
    assert [c.name for c in result.proof.exam.levels[1].classes] == [
        "pug", "tabby", "siamese", "beagle"
    ]  # fmt: skip
    measures = result.proof.measures
    assert result.goal.unmeasured(measures) == []
    assert measures.counts["retain_fine"] == measures.counts["retain_coarse"] > 0


def test_pairs_without_a_name(taught: Clip, beagles: Path, others: Path) -> None:
    pairs = Pairs(forget=beagles, retain=others)
    result = unlearn(taught, pairs=pairs, settings=Settings(**QUICK))
    check(result)
    assert result.task.request.title == "pairs of beagles"
    assert [level.depth for level in result.proof.exam.levels] == [CAPTIONS]
    asked = {c.name for c in result.proof.exam.levels[0].classes}
    assert asked == {say(name) for name in ("beagle", "pug", "tabby", "siamese")}
    rows = to_json(result, patch=None, report=None)["per_class"]
    assert {row["class"] for row in rows if row["forgotten"]} == {say("beagle")}
    assert {row["class"] for row in rows if not row["forgotten"]} < asked


def test_a_name_alone(taught: Clip, photos: Path, others: Path) -> None:
    """A folder of pictures, a name, and a retain set of captions."""
    pairs = Pairs(forget=photos / "images" / "beagle", retain=others, name="beagle")
    result = unlearn(taught, pairs=pairs, settings=Settings(**QUICK))
    check(result)
    assert {c.name for c in result.proof.exam.levels[0].classes} >= {"beagle", say("pug")}


def test_without_a_retain_set(taught: Clip, beagles: Path, photos: Path) -> None:
    pairs = Pairs(forget=beagles, name="beagle")
    tree = Taxonomy.load(photos / "pets.yaml")
    result = unlearn(taught, pairs=pairs, taxonomy=tree, settings=Settings(**QUICK))
    check(result)
    value = to_json(result, patch=None, report=None)
    assert value["settings"]["retain_loss"] == "cosine"  # as it was taken
    page = html(result, command="", patch=None)
    unknown = "other images at the finest level, other images at coarser levels"
    assert f"Not measured, so no floor can be enforced: {unknown}." in page
    assert "0 other images" not in page and "Everything else" not in page
    assert result.task.forget_only and result.edit.settings["retain_loss"] == "cosine"
    assert result.trace.gradients.counts["retain"] == result.trace.gradients.counts["forget"]
    measures = result.proof.measures
    assert result.goal.unmeasured(measures) == ["retain_fine", "retain_coarse"]
    assert measures.kept_ratios["retain_fine"] is None is measures.kept_ratios["retain_coarse"]
    assert measures.kept_ratios["forget_coarse"] is not None  # that they are dogs is known
    trials = [trial for candidate in result.trace.candidates for trial in candidate.trials]
    met = [trial.relative_step for trial in trials if result.goal.met(trial.measures)]
    assert result.trace.chosen.relative_step == min(met)


def test_nothing_to_tell_apart_is_refused(taught: Clip, photos: Path, tmp_path: Path) -> None:
    def same(name: str, classes: list[str]) -> Path:
        path = table(tmp_path / name, photos, classes)
        for word in classes:
            path.write_text(path.read_text().replace(say(word), "a picture"))
        return path

    forget, retain = same("a.jsonl", ["beagle"]), same("b.jsonl", ["pug"])
    with pytest.raises(
        DataError, match=r"the retain set has 0 different .*: 20 left out, its caption is in"
    ):
        make_plan(taught, [], pairs=Pairs(forget=forget, retain=retain))
    other = table(tmp_path / "c.jsonl", photos, ["pug"])
    assert make_plan(taught, [], pairs=Pairs(forget=forget, retain=other))  # control


def test_pairs_and_concepts_exclude_each_other(taught: Clip, beagles: Path, others: Path) -> None:
    for concepts, data in ((["beagle"], None), ([], "images")):
        with pytest.raises(DataError, match="not both"):
            make_plan(taught, concepts, data=data, pairs=Pairs(forget=beagles, retain=others))


@pytest.mark.parametrize(("name", "other"), [("ALGORITHM", 0), ("layers_sha256", lambda clip: "")])
def test_a_retain_gradient_of_another_version_is_not_reused(
    taught: Clip, beagles: Path, others: Path, tmp_path: Path, name: str, other: Any
) -> None:
    """Another version of slsgu may compute otherwise, or find other layers in the same model."""
    cache = RetainCache(tmp_path / "cache")

    def entries() -> int:
        pairs = Pairs(forget=beagles, retain=others)
        plan = make_plan(
            taught, [], pairs=pairs, settings=Settings(**QUICK, limits=Limits(2, 2, 2))
        )
        compute_gradients(plan, Ledger(), cache=cache)
        return len(list(cache.entries()))

    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(plan_module, name, other)
        assert entries() == 1 == entries()  # control: the same version does reuse it
    assert entries() == 2


@pytest.mark.parametrize(("cached", "limits"), [(False, Limits()), (True, Limits(2, 2, 2))])
def test_the_same_pixels_in_another_file_are_forgotten_too(
    taught: Clip, beagles: Path, others: Path, tmp_path: Path, cached: bool, limits: Limits
) -> None:
    """Saved again, as pictures on the web are; whichever splits the two files fall in, and whether
    the one that is to be forgotten is in one at all."""
    copies = []
    for line in beagles.read_text().splitlines():
        path = Path(json.loads(line)["filepath"])
        Image.open(path).save(tmp_path / f"{path.stem}.bmp")
        copies.append(json.dumps({"filepath": f"{path.stem}.bmp", "title": say("pug")}))
    cache = RetainCache(tmp_path / "cache") if cached else None
    (tmp_path / "retain.jsonl").write_text("\n".join([*others.read_text().splitlines(), *copies]))
    plan = make_plan(
        taught,
        [],
        pairs=Pairs(forget=beagles, retain=tmp_path / "retain.jsonl"),
        settings=Settings(**QUICK, limits=limits),
    )
    if cached:  # as an earlier request on the same retain set would have filled it
        splits = replace(plan.task.splits, reserved=())
        plain = replace(plan, task=replace(plan.task, splits=splits))
        compute_gradients(plain, Ledger(), cache=cache)
        assert cache is not None and len(list(cache.entries())) == 1
    result = run_plan(plan, cache=cache)
    split_of = {s.name: split for split in SPLITS for s in plan.task.splits.of(split)}
    wanted = {(f"{n:02}.bmp", split_of[f"{n:02}.bmp"], "forget") for n in range(20)}
    assert set(result.ledger.overlaps) == wanted and len({split for _, split, _ in wanted}) == 3
    assert result.trace.gradients.counts["forget"] == sum(
        s.caption == say("beagle") for s in plan.task.splits.gradient
    )
    assert not {s.name for s in result.proof.samples} & {name for name, *_ in wanted}
    # Reused gradients remember what they left out.
    for _ in range(2):
        again = run_plan(plan, folder=RunFolder(tmp_path / "run"))
        assert set(again.ledger.overlaps) == wanted


# -- gradients ----------------------------------------------------------------------------------


def naive_retain(plan: Plan, captions: dict[str, str]) -> dict[str, torch.Tensor]:
    """The retain loss written out: every picture and every caption encoded, batch by batch in the
    order that the seed gives, a cross-entropy for every row and column, autograd, the mean."""
    model = plan.task.clip.model
    parameters = dict(model.named_parameters())
    names = [layer.name for layer in inventory(model, norms=True)]
    for name in names:
        parameters[name].requires_grad_(True)
    samples = plan.task.retain_samples
    order = np.random.Generator(np.random.PCG64(plan.task.seed)).permutation(len(samples))
    total = torch.zeros(())
    for start in range(0, len(order), plan.settings.contrastive_batch):
        batch = [samples[i] for i in order[start : start + plan.settings.contrastive_batch]]
        pixels = torch.stack([plan.task.clip.preprocess(sample.read()) for sample in batch])
        said = [captions[sample.name] for sample in batch]
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(plan.task.clip.tokenize(said), normalize=True)
        if plan.retain_loss == "cosine":
            total = total + sum(1 - images[i] @ texts[i] for i in range(len(batch)))
            continue
        scale = model.logit_scale.exp().detach()
        for i in range(len(batch)):
            same = [j for j, text in enumerate(said) if text == said[i]]
            if plan.retain_loss == "contrastive":
                same = [i]
            for scores in (scale * images[i] @ texts.T, scale * images @ texts[i]):
                total = total - scores.softmax(dim=0)[same].sum().log() / 2
    (total / len(order)).backward()
    found = {name: parameters[name].grad.clone() for name in names}
    for name in names:
        parameters[name].grad = None
        parameters[name].requires_grad_(False)
    return found


@pytest.mark.parametrize("loss", ["contrastive", "multi-positive"])
def test_the_retain_gradient_of_pairs_is_that_of_the_naive_loop(
    tiny: Clip, beagles: Path, others: Path, loss: str
) -> None:
    settings = Settings(**QUICK, retain_loss=loss)
    plan = make_plan(tiny, [], pairs=Pairs(forget=beagles, retain=others), settings=settings)
    assert len(plan.task.retain_samples) % 16  # a ragged last batch
    found = dict(compute_gradients(plan, Ledger()).retain)
    captions = {sample.name: sample.caption for sample in plan.task.retain_samples}
    assert set(captions.values()) == {say(name) for name in ("pug", "tabby", "siamese")}
    assert close(found, naive_retain(plan, captions), 1e-4)
    # Control: with the captions of the first and second picture exchanged it is another gradient.
    one, two = (next(n for n, c in captions.items() if c == say(x)) for x in ("pug", "tabby"))
    swapped = {**captions, one: captions[two], two: captions[one]}
    assert not close(found, naive_retain(plan, swapped), 1e-2)


def test_without_a_retain_set_the_parent_is_kept(tiny: Clip, beagles: Path, photos: Path) -> None:
    plan = make_plan(
        tiny,
        [],
        taxonomy=photos / "pets.yaml",
        pairs=Pairs(forget=beagles, name="beagle"),
        settings=Settings(**QUICK, templates="photo"),
    )
    found = dict(compute_gradients(plan, Ledger()).retain)
    parent, own = (
        naive_retain(plan, {s.name: f"a photo of a {word}" for s in plan.task.retain_samples})
        for word in ("dog", "beagle")
    )
    assert close(found, parent, 1e-4)
    assert not close(found, own, 1e-2)  # control


def test_the_forget_gradient_is_of_the_captions_of_the_images(
    tiny: Clip, beagles: Path, others: Path, photos: Path
) -> None:
    def gradient(forget: Path, name: str | None) -> dict[str, torch.Tensor]:
        pairs = Pairs(forget=forget, retain=others, name=name)
        settings = Settings(**QUICK, forget_loss="cosine", templates="photo")
        plan = make_plan(tiny, [], pairs=pairs, settings=settings)
        return dict(compute_gradients(plan, Ledger()).forget)

    own, named = gradient(beagles, None), gradient(beagles, "hound")
    assert close(own, named, 1e-6)
    assert not close(own, gradient(photos / "images" / "beagle", "hound"), 1e-2)  # control


def test_own_captions_decide_the_key_as_they_are_tokenised(taught: Any, tmp_path: Path) -> None:
    for name, numbers in (("forget", range(5)), ("retain", range(10, 30))):
        rows = [f"{name}{i}.png,a caption {i}" for i in numbers]
        (tmp_path / f"{name}.csv").write_text("\n".join(["filepath,title", *rows]))
        for i in numbers:
            (tmp_path / f"{name}{i}.png").write_bytes(png(i))
    pairs = Pairs(forget=tmp_path / "forget.csv", retain=tmp_path / "retain.csv")

    def tokenize(texts: list[str], **rest: Any) -> Any:
        return taught.tokenizer([text.replace("caption", "picture") for text in texts], **rest)

    one, other, again = (
        make_plan(clip, (), pairs=pairs).key
        for clip in (taught, replace(taught, tokenizer=tokenize), taught)
    )
    assert one != other and one == again
