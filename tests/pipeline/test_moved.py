"""What a system has learned to read is measured where it reads, on what the search has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import Ran
from helpers.foreign import random_patch

from slsgu.evaluation.moved import Moved
from slsgu.interop.targets import TARGETS
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch
from slsgu.pipeline.moved import PHRASES, measure_moved
from slsgu.task.settings import Settings
from slsgu.task.task import Task, make_task

SYSTEMS = [name for name, target in TARGETS.items() if target.tower is not None]


@pytest.fixture
def task(taught: Clip, photos: Path) -> Task:
    return make_task(
        taught, ["beagle"], data=photos / "images", taxonomy=photos / "pets.yaml",
        settings=Settings(workers=0).data, machine=Settings(workers=0).machine,
    )  # fmt: skip


def measured(system: str, task: Task, patch: Patch) -> Moved:
    found = measure_moved(system, task, patch, task.splits.test)
    assert found is not None
    return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_moves_exactly_where_the_system_reads(system: str, task: Task) -> None:
    model = task.clip.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in inventory(model):
        found = measured(system, task, random_patch(model, layer.name))
        assert found.concept is not None and found.kept is not None
        moves = max(found.concept.most, found.kept.most) > 0
        assert moves == TARGETS[system].reads(layer.name, model), layer.name
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_nothing_is_measured_of_clip_itself(task: Task) -> None:
    patch = random_patch(task.clip.model, "visual.proj")
    assert measure_moved("clip", task, patch, task.splits.test) is None


def test_the_distance_is_that_of_the_states_up_to_the_end_of_text(task: Task) -> None:
    """Written down once more, for one prompt at a time."""
    model: Any = task.clip.model
    name = "transformer.resblocks.0.mlp.c_proj.weight"
    patch = random_patch(model, name)
    prompts = [phrase.replace("{}", "beagle") for phrase in PHRASES]

    def states(prompt: str) -> torch.Tensor:
        tokens = task.clip.tokenize([prompt])
        found: list[torch.Tensor] = []
        handle = model.transformer.register_forward_hook(lambda *x: found.append(x[2]))
        with torch.no_grad():
            model.encode_text(tokens)
        handle.remove()
        end = int(tokens.argmax())
        return model.ln_final(found[0])[0, : end + 1].detach()

    old = [states(prompt) for prompt in prompts]
    with patch.applied(model):
        new = [states(prompt) for prompt in prompts]
    shares = [
        float(((b - a).norm(dim=-1) / a.norm(dim=-1)).square().mean().sqrt())
        for a, b in zip(old, new, strict=True)
    ]
    found = measured("sd1", task, patch).concept
    assert found is not None and found.count == len(prompts)
    assert found.mean == pytest.approx(sum(shares) / len(shares), rel=1e-4)
    half = measured("sd1", task, 0.5 * patch).concept
    assert half is not None and half.mean < found.mean  # control


def test_pictures_are_told_apart_by_their_class(task: Task) -> None:
    patch = random_patch(task.clip.model, "visual.conv1.weight")
    found = measured("llava", task, patch)
    leaves = [sample.leaf.name for sample in task.splits.test if sample.leaf is not None]
    assert found.concept is not None and found.kept is not None
    assert found.concept.count == leaves.count("beagle") > 0
    assert found.kept.count == len(leaves) - leaves.count("beagle") > 0
    assert found.what == "patch tokens of images"


def test_phrases_are_others_than_those_of_the_search(task: Task) -> None:
    assert not set(PHRASES) & set(task.templates)
    patch = random_patch(task.clip.model, "transformer.resblocks.0.mlp.c_proj.weight")
    found = measured("sd1", task, patch)
    assert found.concept is not None and found.concept.count == len(PHRASES)
    names = len(task.taxonomy.concepts)
    assert found.kept is not None and found.kept.count == (names - 1) * len(PHRASES)
    # Control: a phrase that the task has as a template is left out.
    own = replace(task, templates=(*task.templates, PHRASES[0]))
    fewer = measured("sd1", own, patch)
    assert fewer.concept is not None and fewer.concept.count == len(PHRASES) - 1


@pytest.mark.parametrize("system", ["sd1", "llava"])
def test_apply_prints_and_records_it(
    system: str, cli: Callable[..., Ran], world: list[str], tmp_path: Path
) -> None:
    few = ("--gradient-images", "4", "--search-images", "4", "--test-images", "4", "--force")
    options = ("--concept", "beagle", "--run", "run", "--trials", "2", *few)
    done = cli("apply", *world, *options, "--for", system, report=True)
    result = json.loads((tmp_path / "run" / "result.json").read_text())["moved"]
    assert result["system"] == system and result["concept"]["mean"] > 0
    assert f"as {system} reads them" in done.out
    assert f"What {system} reads" in (tmp_path / "run" / "report.html").read_text()
    plain = cli("apply", *world, *options)
    assert "reads them" not in plain.out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["moved"] is None
