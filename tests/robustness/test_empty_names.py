"""An empty name, as an unset variable of the shell gives it, is not the working directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.concepts.templates import load_templates
from slsgu.errors import SlsguError
from slsgu.models.clip import Clip, load
from slsgu.patch.patch import Patch
from slsgu.patch.rewrite import rewrite_model
from slsgu.task.pairs import Pairs
from slsgu.task.task import make_task

CALLS: dict[str, Callable[[Clip, str, str], Any]] = {
    "data": lambda clip, name, good: make_task(clip, ["beagle"], data=name),
    "taxonomy": lambda clip, name, good: make_task(clip, ["beagle"], data=good, taxonomy=name),
    "taxonomy file": lambda clip, name, good: Taxonomy.load(name),
    "templates": lambda clip, name, good: load_templates(name, Taxonomy.load("cifar10")),
    "forget": lambda clip, name, good: Pairs(forget=name).check(),
    "retain": lambda clip, name, good: Pairs(forget=good, retain=name).check(),
    "classes": lambda clip, name, good: Pairs(forget=good, name="x", classes=name).check(),
    "parent": lambda clip, name, good: Pairs(forget=good, name="x", parent=name).check(),
    "name": lambda clip, name, good: Pairs(forget=good, name=name).check(),
    "model": lambda clip, name, good: load(name),
    "pretrained": lambda clip, name, good: load("ViT-B-32", name),
    "patch": lambda clip, name, good: Patch.load(name),
    "model to rewrite": lambda clip, name, good: rewrite_model(name, "out", dict),
    "local-dir": lambda clip, name, good: rewrite_model(f"local-dir:{name}", "out", dict),
    "what to write": lambda clip, name, good: rewrite_model(good, name, dict),
}


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_refused(
    what: str,
    name: str,
    tiny: Clip,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photos / "images")  # where the working directory would do
    with pytest.raises(SlsguError, match="is empty"):
        CALLS[what](tiny, name, str(photos / "images"))


def test_the_working_directory_by_its_name(
    tiny: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control."""
    monkeypatch.chdir(photos / "images")
    assert make_task(tiny, ["beagle"], data=".").request.title == "beagle"
