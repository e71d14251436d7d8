"""What `--dry-run` announces, against what a run takes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

import slsgu
import slsgu.pipeline.estimate as estimates
from slsgu.models.clip import Clip
from slsgu.pipeline.estimate import estimate
from slsgu.pipeline.run_folder import run_folder
from slsgu.search.curve import USUAL


def plan_of(clip: Clip, photos: Path, **settings: object) -> slsgu.Plan:
    return slsgu.make_plan(
        clip,
        ["beagle"],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
        settings=slsgu.Settings(force=True, workers=0, **settings),  # type: ignore[arg-type]
    )


def test_the_time_is_of_the_right_order(taught: Clip, photos: Path, tmp_path: Path) -> None:
    plan = plan_of(taught, photos)
    folder = run_folder(plan, tmp_path / "run")
    announced = estimate(plan, folder).seconds
    start = time.perf_counter()
    slsgu.run_plan(plan, folder=folder)
    taken = time.perf_counter() - start
    assert announced["total"] <= announced["at_most"]
    # In so small a world most of the time is that of curves in closed form, which nobody estimates.
    assert taken / 16 < announced["total"] < 8 * taken
    again = estimate(plan, folder)
    assert again.gradients_reused and again.seconds["gradients"] == 0 < announced["gradients"]
    assert again.candidates
    # Of many classes the first few are shown, and how many there are.
    many = replace(again, forget_leaves=[f"animal/{number}" for number in range(27)]).to_text()
    assert "animal/3, ... (27 classes)" in many and "animal/4" not in many
    assert f"forget     {again.forget_leaves[0]}\n" in again.to_text()  # control


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second per image forwards, two both ways, ten for all texts: sums can be checked."""
    monkeypatch.setattr(estimates, "_seconds_per_image", lambda *_: (1.0, 2.0))
    monkeypatch.setattr(estimates, "_seconds_of_texts", lambda *_: 10.0)


def test_a_language_layer_costs_texts_and_an_image_layer_images(
    taught: Clip, photos: Path, tmp_path: Path, slow: None
) -> None:
    def search(layer: str) -> float:
        plan = plan_of(taught, photos, layer=layer, trials=4)
        return estimate(plan, run_folder(plan, tmp_path / layer)).seconds["search"]

    images = len(plan_of(taught, photos).task.splits.search)
    common = images + 10 + 2 * images  # embeddings, and the curvature
    half = estimates.SUFFIX_SHARE
    assert (
        search("visual.transformer.resblocks.0.mlp.c_fc.weight") == common + USUAL * half * images
    )
    assert search("transformer.resblocks.0.mlp.c_fc.weight") == common + USUAL * half * 10
    assert search("visual.proj") == common  # its curve is known in closed form


def test_a_fixed_last_layer_needs_no_pass_back(
    taught: Clip, photos: Path, tmp_path: Path, slow: None
) -> None:
    def gradients(layer: str | None) -> float:
        plan = plan_of(taught, photos, layer=layer)
        return estimate(plan, run_folder(plan, tmp_path / str(layer))).seconds["gradients"]

    images = len(plan_of(taught, photos).task.splits.gradient)
    assert gradients("visual.proj") == gradients("text_projection") == images + 30
    deep = gradients("visual.transformer.resblocks.0.mlp.c_fc.weight")
    assert deep == gradients(None) == 2 * images + 30  # control


@pytest.mark.parametrize("settings", [{"thorough": True}, {"search": "paper"}])
def test_searches_that_go_through_every_candidate_say_so(
    taught: Clip, photos: Path, tmp_path: Path, slow: None, settings: dict[str, object]
) -> None:
    plan = plan_of(taught, photos, **settings)
    found = estimate(plan, run_folder(plan, tmp_path / "run"))
    assert found.seconds["at_most"] == found.seconds["total"]
    assert "at most" not in found.to_text()
    short = plan_of(taught, photos)
    brief = estimate(short, run_folder(short, tmp_path / "other"))
    assert brief.seconds["total"] < brief.seconds["at_most"]
    assert f"at most {brief.seconds['at_most']:.0f} s" in brief.to_text()
