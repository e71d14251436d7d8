"""Images to damage, and artifacts that are whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import slsgu


@pytest.fixture
def images(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the class folders that a test may damage."""
    return Path(shutil.copytree(photos / "images", tmp_path_factory.mktemp("copy") / "images"))


@pytest.fixture(scope="module")
def made(
    taught_dir: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A gradient cache and a patch, both whole."""
    folder = tmp_path_factory.mktemp("made")
    clip = slsgu.load(f"local-dir:{taught_dir}")
    settings = slsgu.Settings(tower="language", trials=4, force=True)
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    result = slsgu.unlearn(clip, "beagle", **where, settings=settings)
    result.trace.gradients.save(folder / "gradients.safetensors")
    assert result.patch is not None
    result.patch.save(folder / "patch.safetensors")
    return folder / "gradients.safetensors", folder / "patch.safetensors"
