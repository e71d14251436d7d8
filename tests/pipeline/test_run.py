"""The whole pipeline: what holds whatever the model, the pictures and the request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.commands import Ran
from helpers.models import TREE
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import slsgu
from slsgu.concepts.prompts import PromptBook
from slsgu.data.ledger import Ledger
from slsgu.direction.direction import DIRECTIONS, Direction, DirectionContext
from slsgu.errors import ConceptError, NotReachedError
from slsgu.evaluation.exam import evaluated_levels
from slsgu.models.clip import Clip, weights_sha256
from slsgu.patch.patch import Patch
from slsgu.pipeline.result import Outcome
from slsgu.pipeline.run_folder import key_differences
from slsgu.report.html import html, to_json
from slsgu.search.method import Edit
from slsgu.task.plan import make_plan
from slsgu.task.settings import Settings
from slsgu.task.task import Task
from slsgu.utils.progress import Progress

Cli = Callable[..., Ran]
Unlearn = Callable[..., Outcome]
FEW = Settings(trials=4, force=True)
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def unlearn(taught: Clip, photos: Path) -> Unlearn:
    """`slsgu.unlearn` of the taught model, on the photographs."""

    def run(*concepts: str, data: Path | None = None, **settings: Any) -> Outcome:
        return slsgu.unlearn(
            taught,
            *concepts,
            data=data or photos / "images",
            taxonomy=photos / "pets.yaml",
            settings=replace(FEW, **settings),
        )

    return run


@pytest.fixture(scope="module")
def beagle(taught_dir: Path, photos: Path) -> Outcome:
    """The beagle forgotten with all defaults."""
    clip = slsgu.load(f"local-dir:{taught_dir}")
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return slsgu.unlearn(clip, "beagle", **where)


# -- a patch upon a patch ------------------------------------------------------------------------


def test_a_second_concept_is_forgotten_by_a_model_that_holds_a_patch(
    taught: Clip, photos: Path
) -> None:
    """Also where the file of the model has no room for what the first patch left in a layer."""
    half = dict.fromkeys(taught.stored_dtypes, torch.float16)
    clip = replace(taught, model=taught.model.half().float(), stored_dtypes=half)
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml", "settings": FEW}
    first = slsgu.unlearn(clip, "beagle", **where).patch
    assert first is not None and {x.dtype for x in first.original.values()} == {torch.float16}
    before = weights_sha256(clip.model)
    with first.applied(clip.model):
        second = slsgu.unlearn(clip, "tabby", **where).patch
        assert second is not None
        with second.applied(clip.model):
            assert weights_sha256(clip.model) != before
    assert weights_sha256(clip.model) == before


# -- the goal -----------------------------------------------------------------------------------


def test_the_concept_goes_and_the_rest_stays(beagle: Outcome) -> None:
    before, after = beagle.proof.measures.before, beagle.proof.measures.after
    assert beagle.success and beagle.patch is not None and not beagle.shortfall
    assert before["forget_fine"] == 1 and after["forget_fine"] == 0
    for kept in ("forget_coarse", "retain_fine", "retain_coarse"):
        assert after[kept] >= 0.8 * before[kept]
    goal, measures = beagle.goal, beagle.trace.chosen.measures
    assert measures.forget_accuracy <= goal.target
    ratios = [ratio for ratio in measures.kept_ratios.values() if ratio is not None]
    assert ratios and min(ratios) >= min(goal.floors.values())


def test_an_inner_node_takes_all_leaves_under_it(unlearn: Unlearn) -> None:
    result = unlearn("dog")
    assert [leaf.name for leaf in result.task.request.forget_leaves] == list(TREE["dog"])
    measures = result.proof.measures
    assert measures.before["forget_coarse"] is None  # nothing stands above it
    assert measures.counts["forget_fine"] == measures.counts["retain_fine"] == 12
    assert [row.forgotten for row in measures.levels if row.images == "forget"] == [True, True]


def test_the_trial_chosen_is_what_the_patch_does(unlearn: Unlearn, taught: Clip) -> None:
    beagle = unlearn("beagle", direction="gradient")
    patch = beagle.patch
    assert patch is not None and patch.layers == (beagle.trace.chosen.layer,)
    weight = dict(taught.model.named_parameters())[beagle.trace.chosen.layer]
    moved = beagle.trace.chosen.step * beagle.trace.gradients.forget[beagle.trace.chosen.layer]
    assert torch.equal(patch.delta[beagle.trace.chosen.layer], moved)
    assert torch.equal(patch.original[beagle.trace.chosen.layer], weight)
    assert beagle.trace.chosen.relative_step == pytest.approx(float(moved.norm() / weight.norm()))
    assert beagle.trace.chosen in [t for c in beagle.trace.candidates for t in c.trials]


# -- sameness -----------------------------------------------------------------------------------


def test_the_same_command_gives_the_same_bytes(
    cli: Cli, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: str, *options: str, concept: str = "beagle") -> dict[str, bytes]:
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        cli("apply", "--concept", concept, "--trials", "4", "--force", *options, *world)
        (made,) = (tmp_path / folder / "runs").iterdir()
        names = ("gradients.safetensors", "patch.safetensors")
        return {name: (made / name).read_bytes() for name in names}

    first = run("a")
    torch.manual_seed(99)  # the state of the world outside plays no part
    np.random.seed(99)
    assert run("b") == first
    # Controls: another seed or concept is another patch.
    other_seed, other_concept = run("c", "--seed", "1"), run("d", concept="pug")
    assert all(other_seed[name] != first[name] for name in first)
    assert all(other_concept[name] != first[name] for name in first)


def test_the_model_is_as_it_was_to_the_bit(unlearn: Unlearn, taught: Clip) -> None:
    before = {name: t.clone() for name, t in taught.model.state_dict().items()}
    result = unlearn("beagle", norms=True)
    after = taught.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not taught.model.training
    assert not any(p.requires_grad or p.grad is not None for p in taught.model.parameters())
    assert weights_sha256(taught.model) == taught.sha256
    # Control: a patch that is really in the model is seen by the same comparison.
    assert result.patch is not None
    with result.patch.applied(taught.model):
        assert weights_sha256(taught.model) != taught.sha256
    assert weights_sha256(taught.model) == taught.sha256


def test_a_search_that_fails_leaves_the_model_as_it_was(
    unlearn: Unlearn, taught: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slsgu.evaluation.exam.Exam.measure", stop)
    with pytest.raises(KeyboardInterrupt):
        unlearn("beagle")
    assert weights_sha256(taught.model) == taught.sha256


# -- the three splits ---------------------------------------------------------------------------


def pixels_of(samples: Any) -> set[bytes]:
    """What is seen in each picture, as it is, without slsgu's own hash."""
    return {np.asarray(sample.read()).tobytes() for sample in samples}


def test_splits_share_no_picture(beagle: Outcome) -> None:
    splits = beagle.task.splits
    parts = [pixels_of(part) for part in (splits.gradient, splits.search, splits.test)]
    assert [len(part) for part in parts] == [40, 16, 24]
    assert len(set.union(*parts)) == 80
    assert pixels_of(beagle.proof.samples) == parts[2]
    assert not beagle.ledger.overlaps
    assert len(beagle.trace.gradients.info["pixel_hashes"]) == 40


def test_a_picture_in_two_splits_is_used_in_one(
    unlearn: Unlearn, photos: Path, tmp_path: Path
) -> None:
    """Copies under other names: the same bytes are seen at once; other bytes with the same pixels
    only when they are decoded."""
    for part, numbers in (("train", range(14)), ("test", range(14, 20))):
        for leaf in (*TREE["dog"], *TREE["cat"]):
            (tmp_path / part / leaf).mkdir(parents=True)
            for number in numbers:
                source = photos / "images" / leaf / f"{number:02d}.png"
                (tmp_path / part / leaf / source.name).write_bytes(source.read_bytes())
    plain = unlearn("beagle", data=tmp_path)  # control: nothing to drop
    assert not plain.ledger.overlaps and len(plain.proof.samples) == 24

    same_bytes = photos / "images" / "pug" / "03.png"
    (tmp_path / "test" / "pug" / "renamed.png").write_bytes(same_bytes.read_bytes())
    for number in range(5):
        picture = Image.open(photos / "images" / "beagle" / f"{number:02d}.png")
        picture.save(tmp_path / "test" / "beagle" / f"again{number}.bmp")
    result = unlearn("beagle", data=tmp_path)
    assert sorted(item.name for item in result.ledger.overlaps) == [
        f"test/beagle/again{number}.bmp" for number in range(5)
    ]
    assert {item.split for item in result.ledger.overlaps} == {"test"}
    assert any(
        "1 file(s) left out, since another split holds" in note for note in result.task.splits.notes
    )
    splits = result.task.splits
    used = pixels_of(result.proof.samples)
    assert len(result.proof.samples) == 24
    assert not used & (pixels_of(splits.gradient) | pixels_of(splits.search))
    result.ledger.check()


def test_gradients_from_a_cache_keep_their_pictures_claimed(
    taught: Clip, photos: Path, tmp_path: Path
) -> None:
    from slsgu.pipeline.run_folder import obtain_gradients, run_folder

    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    plan = make_plan(taught, ["beagle"], **where, settings=FEW)
    folder = run_folder(plan, tmp_path / "run")
    fresh, cached = Ledger(), Ledger()
    assert obtain_gradients(plan, folder, fresh)[1] is False
    assert obtain_gradients(plan, folder, cached)[1] is True
    assert fresh.hashes("gradient") == cached.hashes("gradient") != ()
    assert not cached.claim(fresh.hashes("gradient")[0], "test")


@pytest.mark.parametrize("name", ["model_cfg", "preprocess_cfg"])
def test_a_cache_is_not_reused_for_another_configuration(
    taught: Clip, photos: Path, name: str
) -> None:
    """The same weights with QuickGELU, or another normalisation, are another model."""
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    other = replace(taught, **{name: {**getattr(taught, name), "quick_gelu": True}})
    keys = [make_plan(clip, ["beagle"], **where).key for clip in (taught, other, taught)]
    assert keys[0] == keys[2] != keys[1]


@dataclass(frozen=True)
class Rewriting:
    """A tokenizer that reads one word as another."""

    tokenizer: Any
    word: str
    other: str

    def __call__(self, texts: list[str]) -> Any:
        return self.tokenizer([text.replace(self.word, self.other) for text in texts])


@pytest.mark.parametrize("word", ["siamese", "kitty", "origami"])
def test_a_cache_is_not_reused_for_another_tokenizer(
    taught: Clip, photos: Path, tmp_path: Path, word: str
) -> None:
    """Two local-dirs of the same weights may differ in their tokenizers alone: on a name, on a
    prompt of a concept's own, on a template."""
    tree = tmp_path / "pets.yaml"
    tree.write_text(
        "$templates: ['a photo of a {}', 'an origami {}']\n"
        "dog: {beagle: , pug: }\ncat: {$prompts: [a kitty], tabby: , siamese: }\n"
    )
    where = {"data": photos / "images", "taxonomy": tree}
    plan, other, same = (
        make_plan(replace(taught, tokenizer=tokenizer), ["beagle"], **where)
        for tokenizer in (
            taught.tokenizer,
            Rewriting(taught.tokenizer, word, "zebra"),
            Rewriting(taught.tokenizer, "unicorn", "zebra"),  # control: a word nobody says
        )
    )
    assert plan.key == same.key and plan.folder_name == same.folder_name
    (told,) = key_differences(plan.key, other.key)
    assert re.fullmatch(r"prompt_tokens is [0-9a-f]{37}\.\.\., wanted [0-9a-f]{37}\.\.\.", told)


def test_the_name_of_a_taxonomy_decides_nothing(taught: Clip, photos: Path, tmp_path: Path) -> None:
    """It is kept for people."""
    text = (photos / "pets.yaml").read_text()
    plans = []
    for name, content in (("one", text), ("two", text), ("one", f"{text}bird: [owl]\n")):
        (tmp_path / f"{name}.yaml").write_text(content)
        where = {"data": photos / "images", "taxonomy": tmp_path / f"{name}.yaml"}
        plans.append(make_plan(taught, ["beagle"], **where))
    one, two, more = plans
    names = [plan.task.request.describe()["taxonomy"] for plan in (one, two)]
    assert names == ["one", "two"]
    assert one.key == two.key and one.folder_name == two.folder_name
    told = key_differences(one.key, more.key)  # control
    assert [difference.split()[0] for difference in told] == ["prompt_tokens", "taxonomy"]


# -- the choice ---------------------------------------------------------------------------------


def test_the_paper_s_rule(unlearn: Unlearn) -> None:
    result = unlearn("beagle", search="paper")
    trials = [trial for candidate in result.trace.candidates for trial in candidate.trials]

    def left(trial: Any) -> tuple[float, float]:
        m = trial.measures
        return m.after["forget_fine"], -m.after["retain_fine"]

    assert left(result.trace.chosen) == min(left(trial) for trial in trials)
    assert len({left(trial) for trial in trials}) > 1  # control: the rule had something to choose
    assert all(len(c.trials) == 4 for c in result.trace.candidates if not c.passed_over)
    # Its own loss and its own set of layers.
    assert result.trace.gradients.key["retain_loss"] == "contrastive"
    assert any(score.layer.endswith("ln_1.weight") for score in result.trace.scores)
    assert not any(s.layer.endswith("ln_1.weight") for s in unlearn("beagle").trace.scores)


def test_the_fronts_and_the_last_projections_are_searched(
    beagle: Outcome, unlearn: Unlearn
) -> None:
    front = {score.layer for score in beagle.trace.scores if score.on_front}
    last = {"visual.proj", "text_projection"}
    assert {c.score.layer for c in beagle.trace.candidates} == front | last
    paper = unlearn("beagle", search="paper")
    front = {score.layer for score in paper.trace.scores if score.on_front}
    assert {c.score.layer for c in paper.trace.candidates} == front
    assert {c.score.tower for c in beagle.trace.candidates} == {"vision", "language"}


@pytest.mark.parametrize("tower", ["vision", "language"])
def test_a_fixed_tower(unlearn: Unlearn, tower: str) -> None:
    result = unlearn("beagle", tower=tower)
    assert result.trace.tower == tower and {c.score.tower for c in result.trace.candidates} == {
        tower
    }


@pytest.mark.parametrize("layer", ["text_projection", "transformer.resblocks.1.ln_2.weight"])
def test_a_fixed_layer_and_step(unlearn: Unlearn, layer: str) -> None:
    searched = unlearn("beagle", layer=layer)
    assert (
        [c.score.layer for c in searched.trace.candidates]
        == [layer]
        == [searched.trace.chosen.layer]
    )
    assert len(searched.trace.candidates[0].trials) > 1
    fixed = unlearn("beagle", layer=layer, step=0.125)
    (trial,) = fixed.trace.candidates[0].trials
    assert trial is fixed.trace.chosen and trial.step == 0.125


def test_a_layer_that_does_not_exist_costs_no_pass(
    unlearn: Unlearn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsgu.pipeline.run.obtain_gradients", pytest.fail)
    with pytest.raises(slsgu.SlsguError, match=r"did you mean visual\.proj"):
        unlearn("beagle", layer="visual.porj")


def test_a_direction_that_forgets_nothing_is_passed_over(
    unlearn: Unlearn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reversed_(context: DirectionContext) -> Tensor:
        return -context.forget

    def standing(context: DirectionContext) -> Tensor:
        return torch.zeros_like(context.forget)

    monkeypatch.setitem(DIRECTIONS, "reversed", Direction(reversed_))
    monkeypatch.setitem(DIRECTIONS, "standing", Direction(standing))
    with pytest.raises(ConceptError, match="does not raise the forget loss"):
        unlearn("beagle", direction="reversed")
    with pytest.raises(ConceptError, match="its direction is zero"):
        unlearn("beagle", direction="standing")
    good = unlearn("beagle")  # control
    assert good.trace.candidates[0].trials and not good.trace.candidates[0].passed_over


def test_a_goal_that_is_not_met(unlearn: Unlearn) -> None:
    fixed: dict[str, Any] = {"layer": "visual.proj", "step": 1e-6}
    with pytest.raises(NotReachedError, match=r"still recognised 100\.0% of the time") as caught:
        unlearn("beagle", **fixed, force=False)
    result = caught.value.result
    assert isinstance(result, Outcome)
    assert not result.success and result.patch is None and result.trace.chosen.step == 1e-6
    forced = unlearn("beagle", **fixed)
    assert not forced.success and forced.patch is not None
    assert forced.patch.metadata["success"] is False


def test_a_floor_that_does_not_hold(unlearn: Unlearn) -> None:
    fixed: dict[str, Any] = {"layer": "visual.proj", "step": 1e6}
    with pytest.raises(NotReachedError, match="floor") as caught:
        unlearn("beagle", **fixed, force=False)
    result = caught.value.result
    assert isinstance(result, Outcome)
    ratios = result.trace.chosen.measures.kept_ratios.items()
    assert any(r is not None and r < result.goal.floors[name] for name, r in ratios)


# -- independent oracles ------------------------------------------------------------------------


def test_class_embeddings_are_those_of_open_clip(beagle: Outcome, taught: Clip) -> None:
    plan = beagle.task
    for level in evaluated_levels(plan.taxonomy):
        book = PromptBook.of(level.classes, plan.templates)
        with torch.no_grad():
            ours = book.class_embeddings(taught.encode_text(book.texts), level.classes)
        theirs = open_clip.build_zero_shot_classifier(
            taught.model,
            taught.tokenizer,
            [concept.name for concept in level.classes],
            open_clip.SIMPLE_IMAGENET_TEMPLATES,
            device="cpu",
        )
        torch.testing.assert_close(ours, theirs.T, rtol=0, atol=1e-5)
        # Control: one template is not the mean of seven.
        one = PromptBook.of(level.classes, plan.templates[:1])
        with torch.no_grad():
            lone = one.class_embeddings(taught.encode_text(one.texts), level.classes)
        assert not torch.allclose(lone, theirs.T, rtol=0, atol=1e-5)


def open_clip_accuracy(folder: Path, pictures: list[tuple[Path, str]]) -> dict[str, float]:
    """Accuracy by level and group, with OpenCLIP alone: forget images are beagles."""
    spec = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(spec)
    model.eval()
    pixels = torch.stack([preprocess(Image.open(path)) for path, _ in pictures])
    parents = {leaf: top for top, leaves in TREE.items() for leaf in leaves}
    found = {}
    with torch.no_grad():
        images = model.encode_image(pixels, normalize=True)
    for level, classes, names in (
        ("fine", list(parents), [leaf for _, leaf in pictures]),
        ("coarse", list(TREE), [parents[leaf] for _, leaf in pictures]),
    ):
        head = open_clip.build_zero_shot_classifier(
            model,
            open_clip.get_tokenizer(spec),
            classes,
            open_clip.SIMPLE_IMAGENET_TEMPLATES,
            device="cpu",
        )
        right = [
            classes[i] == name for i, name in zip((images @ head).argmax(1), names, strict=True)
        ]
        for group, wanted in (("forget", True), ("retain", False)):
            chosen = [
                r
                for r, (_, leaf) in zip(right, pictures, strict=True)
                if (leaf == "beagle") == wanted
            ]
            found[f"{group}_{level}"] = sum(chosen) / len(chosen)
    return found


def test_a_patched_model_is_what_the_proof_says(
    cli: Cli, world: list[str], taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    """The saved patch, applied to the local-dir, measured by OpenCLIP alone."""
    ran = cli("apply", "--concept", "beagle", *world, "--save-model", "saved", "--json")
    result = json.loads(ran.out)
    task = slsgu.make_task(
        slsgu.load(f"local-dir:{taught_dir}"),
        ["beagle"],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
    )
    pictures = [(photos / "images" / sample.name, sample.leaf.name) for sample in task.splits.test]
    assert open_clip_accuracy(taught_dir, pictures) == pytest.approx(result["before"])
    assert open_clip_accuracy(tmp_path / "saved", pictures) == pytest.approx(result["after"])
    assert result["before"] != result["after"]  # control

    assert cli("patch", "apply", result["patch"], taught_dir, "--out", "applied").code == 0
    applied, saved = (load_file(tmp_path / name / WEIGHTS) for name in ("applied", "saved"))
    assert applied.keys() == saved.keys()
    assert all(torch.equal(applied[name], saved[name]) for name in saved)
    run = Path(result["patch"]).parent
    options = ["--run", run, "--model", "local-dir:applied"]  # and the images that it did not use
    measured = json.loads(cli("evaluate", "--json", *options).out)
    assert measured["before"] == result["after"] and measured["counts"] == result["counts"]

    assert cli("patch", "revert", result["patch"], "applied", "--out", "reverted").code == 0
    original, reverted = (load_file(f / WEIGHTS) for f in (taught_dir, tmp_path / "reverted"))
    assert all(t.numpy().tobytes() == reverted[n].numpy().tobytes() for n, t in original.items())
    assert (tmp_path / "reverted" / WEIGHTS).read_bytes() == (taught_dir / WEIGHTS).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_revert_is_exact_in_half_precision(
    cli: Cli,
    taught_dir: Path,
    photos: Path,
    world: list[str],
    tmp_path: Path,
    dtype: torch.dtype,
) -> None:
    from safetensors.torch import save_file

    half = tmp_path / "half"
    half.mkdir()
    config = "open_clip_config.json"
    (half / config).write_bytes((taught_dir / config).read_bytes())
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(taught_dir / WEIGHTS).items()}
    save_file(tensors, half / WEIGHTS, metadata={"format": "pt"})
    options = ["--model", f"local-dir:{half}", *world[2:]]
    fixed = ["--layer", "text_projection", "--force"]
    ran = cli("apply", "--concept", "beagle", *options, *fixed, "--json", "--save-model", "saved")
    patch = json.loads(ran.out)["patch"]
    assert {t.dtype for t in load_file(tmp_path / "saved" / WEIGHTS).values()} == {dtype}
    assert Patch.load(patch).original["text_projection"].dtype == dtype
    assert cli("patch", "revert", patch, "saved", "--out", "back").code == 0
    back = load_file(tmp_path / "back" / WEIGHTS)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    saved = load_file(tmp_path / "saved" / WEIGHTS)
    assert not torch.equal(saved["text_projection"], tensors["text_projection"])  # control


def test_micro_batches_change_no_choice(unlearn: Unlearn) -> None:
    one, other = unlearn("beagle", batch_size=64), unlearn("beagle", batch_size=8)
    assert one.trace.chosen.layer == other.trace.chosen.layer
    assert one.trace.chosen.step == pytest.approx(other.trace.chosen.step, rel=1e-3)
    assert one.proof.measures.after == other.proof.measures.after


# -- any method ----------------------------------------------------------------------------------


def a_closed_form(task: Task, ledger: Ledger, progress: Progress) -> Edit:
    """An edit without a gradient: the concept's texts lose what the last projection gives them."""
    weight = task.clip.model.get_parameter("text_projection").detach()
    names = [leaf.name for leaf in task.request.forget_leaves]
    texts = task.clip.encode_text([t.replace("{}", n) for t in task.templates for n in names])
    axis = torch.nn.functional.normalize(texts.detach().mean(dim=0), dim=0)
    delta = -(weight @ axis)[:, None] * axis[None, :]
    patch = Patch({"text_projection": delta}, {"text_projection": weight.clone()})
    return Edit(replace(patch, metadata={"method": "closed form"}))


def test_an_edit_without_a_gradient_is_held_to_the_same_proof(
    taught: Clip, photos: Path, tmp_path: Path
) -> None:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    task = slsgu.make_task(taught, ["beagle"], **where)
    outcome = slsgu.run_method(task, a_closed_form, target=0.5, floors={"retain_fine": 0.1})
    assert outcome.trace is None and outcome.edit.patch.layers == ("text_projection",)
    assert outcome.goal.floors["forget_coarse"] == 0.85  # what is not named keeps its default
    assert outcome.success == outcome.goal.met(outcome.measures)
    used = [set(outcome.ledger.hashes(split)) for split in ("search", "test")]
    assert all(used) and not used[0] & used[1]
    value = to_json(outcome, patch=None, report=None)
    assert value["method"] == "closed form" and value["layer"] == "text_projection"
    assert value["tower"] == "language" and value["step_size"] is None
    assert value["candidates"] == [] and value["losses"] == {}
    assert value["search_split"]["q_u"] == outcome.measures.q_u
    json.dumps(value, allow_nan=False)
    page = html(outcome, command="none", patch=None)
    assert "closed form" in page and "Which layer" not in page

    # Control: nothing done forgets nothing, by the same route.
    def no_step(*given: Any) -> Edit:
        return Edit(0 * a_closed_form(*given).patch)

    nothing = slsgu.run_method(task, no_step)
    assert not nothing.success and nothing.patch is None and nothing.measures.quality == 0
    forced = slsgu.run_method(task, a_closed_form, target=0, force=True)
    assert forced.patch is not None and forced.patch.metadata["method"] == "closed form"
    forced.patch.save(tmp_path / "p.safetensors")
    assert Patch.load(tmp_path / "p.safetensors").requested_paths() == ("dog/beagle",)
