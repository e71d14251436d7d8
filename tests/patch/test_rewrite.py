"""A model rewritten on disk: nothing travels along that holds the layer as it was."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from slsgu.errors import LayerMismatchError, SlsguError, SlsguWarning
from slsgu.models.checkpoint import read_state_dict, write_state_dict
from slsgu.models.clip import load
from slsgu.models.local_dir import WEIGHT_FILE
from slsgu.patch.conflicts import refuse_repeated
from slsgu.patch.patch import Patch
from slsgu.patch.rewrite import rewrite_model
from slsgu.patch.weights import layer_hash

Cli = Callable[..., Any]
LAYER = "visual.proj"
WEIGHTS = "open_clip_model.safetensors"


def patch_of(folder: Path, size: float = 0.5) -> Patch:
    """A step on one layer of a local-dir."""
    layer = load_file(folder / WEIGHTS)[LAYER]
    return Patch({LAYER: torch.full(layer.shape, size)}, {LAYER: layer})


def holders(folder: Path, patch: Patch) -> list[str]:
    """Files at or below a folder in which any tensor is the layer as it was."""
    wanted = layer_hash(LAYER, patch.original[LAYER])
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size > 1000:
            copy = folder.parent / f"looked-at{'.pt' if '.bin' in path.name else '.safetensors'}"
            try:
                tensors = read_state_dict(shutil.copyfile(path, copy))
            except Exception:
                continue  # no weights, whatever it is called
            if any(layer_hash(LAYER, tensor) == wanted for tensor in tensors.values()):
                found.append(path.relative_to(folder).as_posix())
    return found


def test_a_patched_folder_holds_the_knowledge_nowhere(
    cli: Cli, tiny_dir: Path, tmp_path: Path
) -> None:
    """As published models come: two forms of the weights, and what a run leaves beside them."""
    model = shutil.copytree(tiny_dir, tmp_path / "model")
    patch = patch_of(model)
    tensors = load_file(model / WEIGHTS)
    write_state_dict(model / "open_clip_pytorch_model.bin", tensors)
    for name in ("model-00001-of-00002.safetensors", f"{WEIGHTS}.bak", f".{WEIGHTS}.h.1-x.part"):
        shutil.copyfile(model / WEIGHTS, model / name)
    patch.save(model / "patch.safetensors")
    save_file({f"forget/{LAYER}": tensors[LAYER]}, model / "gradients.safetensors")
    (model / "onnx").mkdir()
    shutil.copyfile(model / WEIGHTS, model / "onnx" / "weights")
    (model / "vocab.bpe").write_text("a b\n" * 1000)
    assert len(holders(model, patch)) == 8  # control: they can be found

    ran = cli("patch", "apply", model / "patch.safetensors", model, "--out", "out")
    assert ran.code == 0, ran
    assert holders(tmp_path / "out", patch) == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "open_clip_config.json", WEIGHTS, "vocab.bpe",
    }  # fmt: skip
    assert torch.equal(load_file(tmp_path / "out" / WEIGHTS)[LAYER], patch.patched(LAYER))
    assert "not copied, since it may hold weights: " in ran.err
    left_out = {path.name for path in model.iterdir()} - {p.name for p in Path("out").iterdir()}
    assert len(left_out) == 7 and all(name in ran.err for name in (*left_out, "onnx/"))


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("pytorch_model.bin.index.json", True),
        ("MODEL.CKPT", True),
        ("model.pt~", True),
        ("tokenizer.json", False),
        ("sentencepiece.bpe.model", False),
        ("bpe_simple_vocab_16e6.txt.gz", False),
        ("parts.ptx.md", False),
        ("pt.md", False),
    ],
)
def test_what_may_hold_weights_by_its_name(name: str, held: bool) -> None:
    assert bool(WEIGHT_FILE.search(name)) == held


@pytest.mark.parametrize("form", ["folder", "model.safetensors", "model.pt"])
def test_a_patch_too_large_for_half_precision_writes_nothing(
    cli: Cli, make_dir: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    model = make_dir(tmp_path / "folder", dtype=torch.float16)
    patch_of(model, size=100.0).save(tmp_path / "p.safetensors")
    if form != "folder":
        write_state_dict(tmp_path / form, load_file(model / WEIGHTS))
    words = ("patch", "apply", "p.safetensors", form, "--out")
    out = Path(f"out{Path(form).suffix}")
    ran = cli(*words, out, "--scale", "1000")  # 100 000; the largest half is 65 504
    assert ran.code == 1 and f"the patch takes {LAYER} out of the range of float16" in ran.err
    assert not out.exists() and not list(tmp_path.glob(".*.part"))
    assert cli(*words, out).code == 0  # control
    patched = read_state_dict(out)[LAYER]
    assert patched.dtype == torch.float16 and bool(patched.isfinite().all())


# -- links, and steps that do nothing ---------------------------------------------------------


def test_a_link_that_leads_out_of_the_folder_is_not_copied(tiny_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_dir, tmp_path / "model")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (model / "notes.txt").symlink_to(secret)
    (model / "passwd").symlink_to("/etc/passwd")
    (model / "nothing.txt").symlink_to("/nonexistent")
    (model / "loop.txt").symlink_to("loop.txt")
    (model / "README.md").write_text("hello")
    (model / "LICENSE").symlink_to("README.md")  # control: within
    with pytest.warns(SlsguWarning, match="outside the model's folder") as told:
        rewrite_model(model, tmp_path / "out", patch_of(model).apply_to)
    assert sorted(str(each.message).split()[2] for each in told) == ["notes.txt", "passwd"]
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"open_clip_config.json", WEIGHTS, "README.md", "LICENSE"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_links_of_the_hub_are_copied(tiny_dir: Path, tmp_path: Path) -> None:
    """As huggingface_hub keeps a repository: links into a folder of contents beside it."""
    repository = tmp_path / "models--org--name"
    model, blobs = repository / "snapshots" / "0123", repository / "blobs"
    model.mkdir(parents=True)
    blobs.mkdir()
    for index, path in enumerate(sorted(tiny_dir.iterdir())):
        shutil.copyfile(path, blobs / str(index))
        (model / path.name).symlink_to(f"../../blobs/{index}")
    assert rewrite_model(model, tmp_path / "out", patch_of(model).apply_to) == []
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {path.name for path in tiny_dir.iterdir()}


def test_a_step_that_changes_no_bit_is_refused(tiny_dir: Path, tmp_path: Path) -> None:
    patch = patch_of(tiny_dir)
    for scale in (1e-30, 0.0):
        with pytest.raises(SlsguError, match=r"nothing in .* would change.*larger scale"):
            rewrite_model(tiny_dir, tmp_path / "out", (scale * patch).apply_to)
        assert not (tmp_path / "out").exists()
    rewrite_model(tiny_dir, tmp_path / "out", (1e-3 * patch).apply_to)  # control


# -- what a reverted model is -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_revert_tells_a_model_that_is_not_the_original(
    dtype: torch.dtype, make_dir: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_dir(tmp_path / "model", dtype=dtype)
    made_for = {"model": load(f"local-dir:{model}", device="cpu").describe()}
    plain = patch_of(model)
    patch = Patch(plain.delta, plain.original, made_for)
    rewrite_model(model, tmp_path / "patched", patch.apply_to)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the whole file is as it was: not a word
        rewrite_model(tmp_path / "patched", tmp_path / "back", patch.revert_from)
    back, first = (load_file(folder / WEIGHTS) for folder in (tmp_path / "back", model))
    assert back.keys() == first.keys() and all(torch.equal(back[n], first[n]) for n in first)
    tensors = load_file(tmp_path / "patched" / WEIGHTS)
    tensors["ln_final.bias"][0] += 1
    save_file(tensors, tmp_path / "patched" / WEIGHTS)
    with pytest.warns(SlsguWarning, match="whole file does not equal the original"):
        rewrite_model(tmp_path / "patched", tmp_path / "other", patch.revert_from)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a patch that does not know its model cannot tell
        rewrite_model(tmp_path / "patched", tmp_path / "third", plain.revert_from)


def test_the_same_patch_twice_is_refused(tiny_dir: Path) -> None:
    plain = patch_of(tiny_dir)
    one, two = (
        Patch(plain.delta, plain.original, {"request": {"paths": [path]}, "step_size": 1.0})
        for path in ("dog/pug", "cat/tabby")
    )
    files = {"one": one, "two": two, "half": 0.5 * one, "both": one + two}

    def check(*names: str) -> None:
        refuse_repeated([(name, files[name]) for name in names])

    check("one", "two")  # control
    for first, second in (("one", "half"), ("one", "both"), ("both", "half")):
        with pytest.raises(LayerMismatchError, match=f"{first} and {second} hold the same .*pug"):
            check(first, second)


def test_patches_of_two_layers_are_not_one_although_they_say_the_same() -> None:
    """As patches made in Python do, which say no more than the model."""
    said = {"model": {"name": "tiny"}}
    one, other = (Patch({n: torch.ones(2)}, {n: torch.zeros(2)}, said) for n in ("a", "b"))
    refuse_repeated([("one", one), ("other", other), ("both", Patch({}, {}))])
    with pytest.raises(LayerMismatchError, match="one and both hold the same patch"):
        refuse_repeated([("one", one), ("other", other), ("both", one + other)])
