"""Patches in pipelines of Stable Diffusion: the text embeddings change as OpenCLIP's do, the
picture changes, and nothing else does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import Ran
from helpers.foreign import random_patch
from helpers.pipelines import (
    PROMPT,
    picture,
    quiet,
    stable_diffusion,
    stable_diffusion_xl,
    text_embeddings,
    text_models,
)
from torch import Tensor, nn

from slsgu.errors import LayerMismatchError, ModelError
from slsgu.interop.diffusers import applied, apply, encoder_targets
from slsgu.interop.folder import rewrite_folder
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch

FIRST = "transformer.resblocks.0.mlp.c_fc.weight"
LAST = "transformer.resblocks.1.attn.in_proj_weight"


@pytest.fixture(scope="module")
def bases() -> dict[str, nn.Module]:
    return text_models()


@pytest.fixture(scope="module")
def made(bases: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tokenizer")
    small, large = bases["small"], bases["large"]
    return {
        "sd1": stable_diffusion(small, folder, quick=True),
        "sd2": stable_diffusion(small, folder, quick=True, blocks=1),
        "sdxl": stable_diffusion_xl(small, large, folder),
    }


@torch.no_grad()
def ours(model: Any, pipeline: Any) -> tuple[list[Tensor], Tensor]:
    """What each block of OpenCLIP puts out for the ids of a pipeline's tokenizer, and the
    embedding."""
    ids = pipeline.tokenizer(PROMPT, padding="max_length", max_length=16, return_tensors="pt")
    found: list[Tensor] = []
    blocks = model.transformer.resblocks
    handles = [block.register_forward_hook(lambda *x: found.append(x[2])) for block in blocks]
    try:
        embedding: Tensor = model.encode_text(ids["input_ids"])
    finally:
        for handle in handles:
            handle.remove()
    return found, embedding


def expected(kind: str, bases: dict[str, Any], pipeline: Any) -> list[Tensor]:
    """What OpenCLIP gives where a pipeline reads, written down from the code of diffusers."""
    states, _ = ours(bases["small"], pipeline)
    if kind == "sd1":
        return [bases["small"].ln_final(states[-1])]
    if kind == "sd2":
        return [bases["small"].ln_final(states[-2])]
    others, pooled = ours(bases["large"], pipeline)
    return [torch.cat([states[-2], others[-2]], dim=-1), pooled]


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def named(patch: Patch, sha256: str) -> Patch:
    return Patch(patch.delta, patch.original, {"model": {"name": sha256, "sha256": sha256}})


def state(pipeline: Any) -> dict[str, dict[str, Tensor]]:
    parts = {n: x for n, x in pipeline.components.items() if isinstance(x, nn.Module)}
    return {n: {k: t.clone() for k, t in x.state_dict().items()} for n, x in parts.items()}


def changed(before: dict[str, dict[str, Tensor]], pipeline: Any) -> set[str]:
    after = state(pipeline)
    return {
        f"{part}.{key}"
        for part, tensors in before.items()
        for key, tensor in tensors.items()
        if not torch.equal(after[part][key], tensor)
    }


# -- embeddings and pictures ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_unpatched_embeddings_are_those_of_openclip(
    kind: str, made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    assert distance(text_embeddings(made[kind]), expected(kind, bases, made[kind])) < 1e-5


READ_BY = {
    ("sd1", "small"): lambda layer: layer.name != "text_projection",
    ("sd2", "small"): lambda layer: layer.block != 1 and layer.name != "text_projection",
    ("sdxl", "small"): lambda layer: layer.block in (None, 0),
    ("sdxl", "large"): lambda layer: True,
}


@pytest.mark.parametrize(("kind", "base"), READ_BY)
def test_every_layer_that_is_read_changes_what_is_read_as_in_openclip(
    kind: str, base: str, made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    """And of every other the patch is refused; that it would change nothing is seen too."""
    pipeline, model = made[kind], bases[base]
    before, kept = text_embeddings(pipeline), state(pipeline)
    layers = [x for x in inventory(model, norms=True) if x.tower == "language"]
    for layer in layers:
        patch = random_patch(model, layer.name)
        if READ_BY[kind, base](layer):
            with applied(pipeline, patch), patch.applied(model):
                after = text_embeddings(pipeline)
                assert distance(after, expected(kind, bases, pipeline)) < 1e-5, layer.name
                assert distance(after, before) > 1e-5, layer.name
            assert changed(kept, pipeline) == set()
            continue
        with pytest.raises(LayerMismatchError):
            apply(pipeline, patch)
        with patch.applied(model):
            assert distance(expected(kind, bases, pipeline), before) < 1e-5, layer.name


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_the_picture_changes_and_nothing_else_does(
    kind: str, made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    pipeline = made[kind]
    before, drawn = state(pipeline), picture(pipeline)
    assert torch.equal(picture(pipeline), drawn)  # control: the seed fixes it
    patched = apply(pipeline, random_patch(bases["small"], FIRST))
    assert not torch.equal(picture(patched), drawn)
    assert changed(before, pipeline) == set() and torch.equal(picture(pipeline), drawn)
    touched = changed(before, patched)
    assert len(touched) == 1 and touched.pop().startswith("text_encoder.")
    assert patched.unet is pipeline.unet and patched.text_encoder is not pipeline.text_encoder
    with pytest.raises(LayerMismatchError, match="applied already"):
        apply(patched, random_patch(bases["small"], FIRST))


def test_two_encoders_take_two_patches_in_either_order(
    made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    pipeline = made["sdxl"]
    before = state(pipeline)
    patches = [
        named(random_patch(bases["small"], FIRST), "small"),
        named(random_patch(bases["large"], LAST), "large"),
    ]
    results = [apply(pipeline, *order) for order in (patches, patches[::-1])]
    touched = changed(before, results[0])
    assert {name.split(".")[0] for name in touched} == {"text_encoder", "text_encoder_2"}
    assert changed(before, results[1]) == touched
    assert changed(state(results[0]), results[1]) == set()


def test_patches_of_one_model_go_together(
    made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    """Two patches of one layer fit only as a sum."""
    patch = named(random_patch(bases["small"], FIRST), "small")
    with applied(made["sdxl"], 0.5 * patch, 0.25 * patch) as pipeline:
        together = text_embeddings(pipeline)
    with applied(made["sdxl"], 0.75 * patch) as pipeline:
        assert distance(text_embeddings(pipeline), together) < 1e-6


def test_in_place_restores_every_bit_whatever_happens(
    made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    before = state(made["sd1"])
    with pytest.raises(KeyboardInterrupt), applied(made["sd1"], random_patch(bases["small"], LAST)):
        assert len(changed(before, made["sd1"])) == 3  # control: query, key and value
        raise KeyboardInterrupt
    assert changed(before, made["sd1"]) == set()


# -- refusals ---------------------------------------------------------------------------------


def test_what_does_not_arrive_is_refused_with_the_reason(
    made: dict[str, Any], bases: dict[str, nn.Module]
) -> None:
    small = bases["small"]
    for kind, name, reason in (
        ("sd1", "text_projection", "no layer text_projection: it has no projection"),
        ("sd1", "visual.proj", "that is in the vision tower"),
        ("sd2", LAST, "its language tower has only 1 blocks"),
        ("sdxl", LAST, r"first text encoder does not read transformer.*would change nothing"),
    ):
        with pytest.raises(LayerMismatchError, match=reason):
            apply(made[kind], random_patch(small, name))
    with pytest.raises(LayerMismatchError) as caught:
        apply(made["sdxl"], random_patch(small, LAST))
    assert all(f"\n  {name}: " in str(caught.value) for name in ("text_encoder", "text_encoder_2"))
    wrong = random_patch(small, FIRST, activation="gelu")
    with pytest.raises(LayerMismatchError, match="computes quick_gelu, and tiny computes gelu"):
        apply(made["sd1"], wrong)


def test_pipelines_of_which_nothing_is_known_are_refused() -> None:
    kinds = {"text_encoder": "CLIPTextModel"}
    with pytest.raises(ModelError, match="not known what a KandinskyPipeline reads"):
        encoder_targets("KandinskyPipeline", kinds, "it")
    with pytest.raises(ModelError, match=r"no text encoder of CLIP: text_encoder \(T5Enc"):
        encoder_targets("StableDiffusionPipeline", {"text_encoder": "T5EncoderModel"}, "it")
    assert encoder_targets("StableDiffusionPipeline", kinds, "it")  # control


# -- on disk ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipeline") / "sdxl"
    with quiet():
        made["sdxl"].save_pretrained(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_on_disk_all_other_parts_keep_every_byte(
    folder: Path, made: dict[str, Any], bases: dict[str, nn.Module], tmp_path: Path
) -> None:
    from diffusers import StableDiffusionXLPipeline

    patches = [
        named(random_patch(bases["large"], "text_projection"), "large"),
        named(random_patch(bases["small"], FIRST), "small"),
    ]
    out = tmp_path / "out"
    assert rewrite_folder(f"diffusers:{folder}", out, patches) == []
    before, after = contents(folder), contents(out)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
    }
    with quiet():
        loaded = StableDiffusionXLPipeline.from_pretrained(out)
    with applied(made["sdxl"], *patches):
        assert changed(state(made["sdxl"]), loaded) == set()  # to the bit what it is in memory
        assert distance(text_embeddings(loaded), text_embeddings(made["sdxl"])) < 1e-5
    rewrite_folder(f"diffusers:{out}", tmp_path / "back", patches, revert=True)
    assert contents(tmp_path / "back") == before


def test_a_pipeline_of_which_a_part_lies_elsewhere_is_refused(
    folder: Path, bases: dict[str, nn.Module], tmp_path: Path
) -> None:
    """The result would lack it, and links are not followed."""
    patch = named(random_patch(bases["small"], FIRST), "small")
    for part in ("text_encoder", "unet"):
        copy = tmp_path / part
        shutil.copytree(folder, copy)
        (copy / part).rename(tmp_path / f"real-{part}")
        (copy / part).symlink_to(tmp_path / f"real-{part}")
        with pytest.raises(ModelError, match=f"{part} of .* is a link to a folder elsewhere"):
            rewrite_folder(f"diffusers:{copy}", tmp_path / "out", [patch])
        assert not (tmp_path / "out").exists()
    rewrite_folder(f"diffusers:{folder}", tmp_path / "out", [patch])  # control


def test_copies_of_the_encoder_and_what_is_no_part_stay_behind(
    folder: Path, bases: dict[str, nn.Module], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "text_encoder" / "model.fp16.safetensors").write_bytes(b"unpatched")
    (copy / "everything.safetensors").write_bytes(b"unpatched")
    (copy / "backup").mkdir()
    (copy / "README.md").write_text("kept")
    (copy / "unet" / "secret").symlink_to("/etc/hostname")
    patch = random_patch(bases["small"], FIRST)
    with pytest.warns(UserWarning, match="not copied: secret is a link to a file outside"):
        left = rewrite_folder(f"diffusers:{copy}", tmp_path / "out", [patch])
    names = ["backup/", "everything.safetensors", "text_encoder/model.fp16.safetensors"]
    assert sorted(left) == names
    assert {*contents(tmp_path / "out")} == {*contents(folder), "README.md"}


def test_links_of_the_hub_cache_are_followed(
    folder: Path, bases: dict[str, nn.Module], tmp_path: Path
) -> None:
    """There every file is a link into a folder beside, from one level deeper in a pipeline."""
    blobs, snapshot = tmp_path / "repo" / "blobs", tmp_path / "repo" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    for number, (name, data) in enumerate(contents(folder).items()):
        (blobs / str(number)).write_bytes(data)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blobs / str(number))
    patch = random_patch(bases["small"], FIRST)
    assert rewrite_folder(f"diffusers:{snapshot}", tmp_path / "out", [patch]) == []
    assert contents(tmp_path / "out").keys() == contents(folder).keys()
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_commands_take_a_pipeline(
    cli: Callable[..., Ran], folder: Path, bases: dict[str, nn.Module], tmp_path: Path
) -> None:
    patch = random_patch(bases["small"], FIRST)
    patch.save(tmp_path / "p.safetensors")
    done = cli("patch", "apply", "p.safetensors", f"diffusers:{folder}", "--out", "out")
    assert done.code == 0 and (tmp_path / "out" / "model_index.json").is_file()
    wrong = cli("patch", "apply", "p.safetensors", f"transformers:{folder}", "--out", "no")
    assert wrong.code == 1 and f"write diffusers:{folder}" in wrong.err
    twice = cli("patch", "apply", "p.safetensors", "p.safetensors", f"diffusers:{folder}",
                "--out", "no")  # fmt: skip
    assert twice.code == 1 and "given twice" in twice.err
    index = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "model_index.json").write_text(
        json.dumps({**index, "_class_name": "FluxPipeline"})
    )
    odd = cli("patch", "apply", "p.safetensors", "diffusers:odd", "--out", "no")
    assert odd.code == 1 and "not known what a FluxPipeline reads" in odd.err
