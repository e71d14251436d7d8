"""Models that transformers saved, on disk: the patch arrives, and nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import Ran
from helpers.foreign import (
    clip_model,
    filled,
    openclip_model,
    pixels,
    random_patch,
    saved,
    text_config,
    token_ids,
    write_clip_folder,
    write_preprocessor,
    write_tokenizer,
)
from safetensors.torch import load_file
from slsgu.cli.request_paths import whole
from torch import nn

import slsgu
from slsgu.errors import LayerMismatchError, ModelError, SlsguError, SlsguWarning
from slsgu.interop.folder import rewrite_folder
from slsgu.models.clip import load
from slsgu.models.layers import inventory

LAYERS = ("transformer.resblocks.0.attn.in_proj_weight", "visual.proj")


@pytest.fixture(scope="module")
def ours() -> nn.Module:
    return openclip_model(quick=True)


@pytest.fixture(scope="module")
def folder(ours: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel in several shards, as transformers splits large ones."""
    path = tmp_path_factory.mktemp("clip") / "model"
    return write_clip_folder(path, ours, quick=True, max_shard_size="60KB")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


# -- loading ----------------------------------------------------------------------------------


def test_a_folder_loads_as_the_same_model(ours: nn.Module, folder: Path) -> None:
    assert len(list(folder.glob("*.safetensors"))) > 2
    clip = load(f"transformers:{folder}", device="cpu")
    state = clip.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in ours.state_dict().items())
    assert clip.activation == "quick_gelu" and clip.name == f"transformers:{folder}"
    with torch.no_grad():
        assert torch.equal(clip.model.encode_image(pixels()), ours.encode_image(pixels()))
        assert torch.equal(clip.model.encode_text(token_ids()), ours.encode_text(token_ids()))
    assert clip.preprocess_cfg["mean"] == [0.5, 0.4, 0.3]
    assert clip.preprocess_cfg["interpolation"] == "bicubic"


def test_images_and_texts_are_read_as_transformers_does(folder: Path) -> None:
    import numpy as np
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPTokenizer

    clip = load(f"transformers:{folder}", device="cpu")
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8)
    picture = Image.fromarray(noise).resize((96, 80), Image.Resampling.BICUBIC)
    processor = CLIPImageProcessor.from_pretrained(folder)
    theirs = torch.as_tensor(processor(picture, return_tensors="pt")["pixel_values"][0])
    assert float((clip.preprocess(picture) - theirs).abs().mean()) < 0.02
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for text in ("a photo of a Golden Retriever!", "it's 2 naïve cafés, isn't it", "x" * 30):
        ids = tokenizer(text)["input_ids"][:16]
        own = clip.tokenize([text])[0][: len(ids)].tolist()
        assert own[:-1] == list(ids)[:-1] and own[-1] == 49407


def test_gelu_is_read_from_the_configuration(tmp_path: Path) -> None:
    plain = openclip_model(quick=False)
    folder = write_clip_folder(tmp_path / "gelu", plain, quick=False)
    clip = load(f"transformers:{folder}", device="cpu")
    assert clip.activation == "gelu"
    with torch.no_grad():
        assert torch.equal(clip.model.encode_image(pixels()), plain.encode_image(pixels()))
    edit(folder / "config.json", lambda c: c["text_config"].update(hidden_act="quick_gelu"))
    with pytest.raises(ModelError, match="hidden_act is gelu and quick_gelu"):
        load(f"transformers:{folder}", device="cpu")


def test_a_pickle_is_read_as_weights_only(ours: nn.Module, copy: Path) -> None:
    for file in copy.glob("model*"):
        file.unlink()
    state = clip_model(ours, quick=True).state_dict()
    torch.save(state, copy / "pytorch_model.bin")
    clip = load(f"transformers:{copy}", device="cpu")
    assert torch.equal(clip.model.get_parameter("visual.proj"), ours.visual.proj)
    torch.save({**state, "evil": os.system}, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="could run code"):
        load(f"transformers:{copy}", device="cpu")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "not a folder that transformers saved"),
    "text alone": (
        lambda f: edit(f / "config.json", lambda c: c.update(model_type="clip_text_model")),
        "text tower alone",
    ),
    "siglip": (
        lambda f: edit(f / "config.json", lambda c: c.update(model_type="siglip")),
        "it is a siglip model",
    ),
    "heads": (
        lambda f: edit(f / "config.json", lambda c: c["text_config"].update(num_attention_heads=5)),
        "5 attention heads do not divide 32",
    ),
    "size": (
        lambda f: edit(f / "config.json", lambda c: c["vision_config"].update(hidden_size="x")),
        "hidden_size is 'x'",
    ),
    "endless": (
        lambda f: edit(
            f / "config.json", lambda c: c["text_config"].update(num_hidden_layers=2000)
        ),
        "layers is 2000",
    ),
    "layers": (
        lambda f: edit(f / "config.json", lambda c: c["text_config"].update(num_hidden_layers=3)),
        "does not fit the architecture",
    ),
    "a token": (lambda f: write_tokenizer(f, **{"dog</w>": 7}), "'dog</w>' has the number 7"),
    "merges": (
        lambda f: (f / "merges.txt").write_text("#version: 0.2\na b\n"),
        "merges letters in another order",
    ),
    "an end": (
        lambda f: edit(f / "config.json", lambda c: c["text_config"].update(eos_token_id=5)),
        "eos_token_id is 5",
    ),
    "pixels": (lambda f: write_preprocessor(f, crop_size=64), "images of 32 x 32 pixels"),
    "no resize": (lambda f: write_preprocessor(f, do_resize=False), "do_resize is false"),
    "nearest": (lambda f: write_preprocessor(f, resample=0), "resample is 0"),
    "rescale": (lambda f: write_preprocessor(f, rescale_factor="x"), "rescale_factor is 'x'"),
    "resample": (lambda f: write_preprocessor(f, resample=[3]), r"resample is \[3\]"),
    "no size": (lambda f: write_preprocessor(f, size=None), "size is None"),
    "sides": (lambda f: write_preprocessor(f, crop_size={"height": [], "width": {}}), "size is"),
    "eps": (
        lambda f: edit(f / "config.json", lambda c: c["text_config"].update(layer_norm_eps="x")),
        "layer_norm_eps is 'x'; it must be a number",
    ),
    "std": (lambda f: write_preprocessor(f, image_std=[0, 1, 1]), "std"),
    "a shard": (
        lambda f: next(f.glob("model-00002*")).unlink(),
        "names model-00002-of-.*, which is no file of this folder",
    ),
    "a path": (
        lambda f: edit(
            f / "model.safetensors.index.json",
            lambda c: c["weight_map"].update({"logit_scale": "../x.safetensors"}),
        ),
        r"names \.\./x\.safetensors, which is no file",
    ),
    "other tensors": (
        lambda f: edit(
            f / "model.safetensors.index.json",
            lambda c: c["weight_map"].update(more=c["weight_map"]["logit_scale"]),
        ),
        "holds 1 tensors that no CLIP model of OpenCLIP has: more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_loaded_is_refused_with_the_reason(what: str, copy: Path) -> None:
    spoil, reason = BAD[what]
    spoil(copy)
    with pytest.raises(ModelError, match=reason):
        load(f"transformers:{copy}", device="cpu")


def test_without_a_preprocessor_it_says_what_it_takes(copy: Path) -> None:
    (copy / "preprocessor_config.json").unlink()
    with pytest.warns(SlsguWarning, match="images are prepared as OpenAI's CLIP does"):
        load(f"transformers:{copy}", device="cpu")


# -- patching ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_only_the_layer_changes_and_only_its_shard(
    name: str, ours: nn.Module, folder: Path, tmp_path: Path
) -> None:
    from transformers import CLIPModel

    patch = random_patch(ours, name, activation="quick_gelu")
    out = tmp_path / "out"
    assert rewrite_folder(f"transformers:{folder}", out, [patch]) == []
    before, after = contents(folder), contents(out)
    assert before.keys() == after.keys()
    changed = {file for file in before if before[file] != after[file]}
    index = json.loads(before["model.safetensors.index.json"])["weight_map"]
    parts = {
        part
        for part, file in index.items()
        if not torch.equal(load_file(folder / file)[part], load_file(out / file)[part])
    }
    assert changed == {index[part] for part in parts} and len(changed) < len(set(index.values()))
    assert len(parts) == (3 if "in_proj" in name else 1)
    loaded = CLIPModel.from_pretrained(out).eval()
    with torch.no_grad(), patch.applied(ours):
        theirs = [
            loaded.get_image_features(pixel_values=pixels()),
            loaded.get_text_features(input_ids=token_ids()),
        ]
        for found, expected in zip(
            theirs, [ours.encode_image(pixels()), ours.encode_text(token_ids())], strict=True
        ):
            assert float((getattr(found, "pooler_output", found) - expected).abs().max()) < 1e-5
    rewrite_folder(f"transformers:{out}", tmp_path / "back", [patch], revert=True)
    assert contents(tmp_path / "back") == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_text_encoder_alone_and_the_names_of_older_versions(
    ours: nn.Module, tmp_path: Path, dtype: torch.dtype
) -> None:
    """What transformers 4 saved begins with `text_model.`, what 5 saves does not."""
    from safetensors.torch import save_file
    from transformers import CLIPTextModel

    model = filled(CLIPTextModel(text_config(quick=True)), ours).to(dtype)
    new = saved(model, tmp_path / "new")
    old = Path(shutil.copytree(new, tmp_path / "old"))
    tensors = load_file(new / "model.safetensors")
    save_file({f"text_model.{n}": t for n, t in tensors.items()}, old / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    patch = random_patch(ours, LAYERS[0])
    results = []
    for place in (new, old):
        out = tmp_path / f"{place.name}-out"
        rewrite_folder(f"transformers:{place}", out, [patch])
        results.append(CLIPTextModel.from_pretrained(out, dtype=dtype).state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    key = next(name for name in results[0] if name.endswith("layers.0.self_attn.q_proj.weight"))
    assert not torch.equal(results[0][key], model.state_dict()[key])
    for place in (new, old):  # twice is refused; taken out, every byte is back
        out, back = tmp_path / f"{place.name}-out", tmp_path / f"{place.name}-back"
        with pytest.raises(LayerMismatchError, match="applied already"):
            rewrite_folder(f"transformers:{out}", back, [patch])
        rewrite_folder(f"transformers:{out}", back, [patch], revert=True)
        assert contents(back) == contents(place) != contents(out)
        with pytest.raises(LayerMismatchError, match="is not patched"):
            rewrite_folder(f"transformers:{place}", tmp_path / "no", [patch], revert=True)
    with pytest.raises(LayerMismatchError, match="vision tower, and it has the language"):
        rewrite_folder(f"transformers:{new}", tmp_path / "no", [random_patch(ours, LAYERS[1])])


def test_other_copies_of_the_weights_stay_behind(
    ours: nn.Module, copy: Path, tmp_path: Path
) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"unpatched")
    (copy / "model.fp16.safetensors").write_bytes(b"unpatched")
    (copy / "notes.md").write_text("kept")
    out = tmp_path / "out"
    left = rewrite_folder(f"transformers:{copy}", out, [random_patch(ours, LAYERS[1])])
    assert left == ["model.fp16.safetensors", "pytorch_model.bin"]
    assert (out / "notes.md").is_file() and not (out / "pytorch_model.bin").exists()


def test_a_pickle_is_rewritten(ours: nn.Module, copy: Path, tmp_path: Path) -> None:
    for file in copy.glob("model*"):
        file.unlink()
    torch.save(clip_model(ours, quick=True).state_dict(), copy / "pytorch_model.bin")
    patch = random_patch(ours, LAYERS[0])
    rewrite_folder(f"transformers:{copy}", tmp_path / "out", [patch])
    clip = load(f"transformers:{tmp_path / 'out'}", device="cpu")
    assert torch.equal(clip.model.get_parameter(LAYERS[0]), patch.patched(LAYERS[0]))


def test_nothing_is_half_written(
    ours: nn.Module, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    before = contents(folder)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr("slsgu.interop.folder.overwrite", fail)
        rewrite_folder(f"transformers:{folder}", tmp_path / "out", [random_patch(ours, LAYERS[1])])
    assert not list(tmp_path.iterdir()) and contents(folder) == before
    with pytest.raises(SlsguError, match="exists already"):
        rewrite_folder(f"transformers:{folder}", tmp_path, [random_patch(ours, LAYERS[1])])


def test_a_wrong_activation_and_another_base_are_refused(
    ours: nn.Module, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(LayerMismatchError, match="computes quick_gelu, and tiny computes gelu"):
        rewrite_folder(
            f"transformers:{folder}", out, [random_patch(ours, LAYERS[0], activation="gelu")]
        )
    stranger = random_patch(openclip_model(quick=True, seed=4), LAYERS[0])
    with pytest.raises(LayerMismatchError, match="other weights"):
        rewrite_folder(f"transformers:{folder}", out, [stranger])
    assert not out.exists()


# -- the commands -----------------------------------------------------------------------------


def test_commands_take_a_folder(
    cli: Callable[..., Ran], ours: nn.Module, folder: Path, photos: Path, tmp_path: Path
) -> None:
    run = cli(
        "apply", "--model", f"transformers:{folder}", "--data", photos / "images",
        "--taxonomy", photos / "pets.yaml", "--concept", "beagle", "--run", "run", "--force",
        "--gradient-images", "3", "--search-images", "3", "--test-images", "3",
        "--layer", "visual.proj",
    )  # fmt: skip
    assert (tmp_path / "run" / "patch.safetensors").is_file(), run.err
    patch = slsgu.Patch.load(tmp_path / "run" / "patch.safetensors")
    assert patch.metadata["model"]["activation"] == "quick_gelu"
    done = cli("patch", "apply", "run", f"transformers:{folder}", "--out", "out")
    assert done.code == 0, done.err
    clip = load(f"transformers:{tmp_path / 'out'}", device="cpu")
    assert torch.equal(clip.model.get_parameter("visual.proj"), patch.patched("visual.proj"))
    again = cli("patch", "apply", "run", f"transformers:{tmp_path / 'out'}", "--out", "twice")
    assert again.code == 1 and "applied already" in again.err
    back = cli("patch", "revert", "run", f"transformers:{tmp_path / 'out'}", "--out", "back")
    assert back.code == 0 and contents(tmp_path / "back") == contents(folder)


def test_every_layer_of_a_loaded_folder_can_be_patched(ours: nn.Module, folder: Path) -> None:
    """Made with a folder of transformers, a patch is one of OpenCLIP."""
    clip = load(f"transformers:{folder}", device="cpu")
    for layer in inventory(clip.model, norms=True):
        patch = random_patch(clip.model, layer.name)
        with patch.applied(ours):
            assert torch.equal(ours.get_parameter(layer.name), patch.patched(layer.name))


def test_a_request_file_has_the_folder_relative_to_itself() -> None:
    found = whole("model", "transformers:clip", Path("/requests"))
    assert found == "transformers:/requests/clip"
