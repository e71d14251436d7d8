"""`slsgu patch apply --to`: OpenCLIP loads what it writes as our patched model, bit for bit."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
import yaml
from conftest import Ran
from helpers.foreign import openclip_model, write_clip_folder
from helpers.models import NAME, PREPROCESS_CFG, TINY_CFG
from PIL import Image
from safetensors.torch import load_file

import slsgu
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch

Cli = Callable[..., Ran]
WEIGHTS = "open_clip_model.safetensors"
LAYER = "visual.transformer.resblocks.0.mlp.c_fc.weight"


def patch_of(clip: Clip, path: Path, **metadata: Any) -> Patch:
    """A patch of a layer before an activation, saved."""
    weight = dict(clip.model.named_parameters())[LAYER].detach().clone()
    delta = 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(5))
    about = {"request": {"paths": ["dog/beagle"]}, "model": clip.describe(), **metadata}
    patch = Patch({LAYER: delta}, {LAYER: weight}, about)
    patch.save(path)
    return patch


def picture() -> Image.Image:
    """One that is neither square nor grey, so that preprocessing matters."""
    pixels = (torch.arange(50 * 70 * 3).reshape(50, 70, 3) * 7 % 256).byte()
    return Image.fromarray(pixels.numpy())


def embeddings(model: Any, preprocess: Any, tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    model.eval().requires_grad_(False)  # else PyTorch takes another kernel, with other rounding
    with torch.no_grad():
        images = model.encode_image(preprocess(picture())[None])
        return images, model.encode_text(tokenizer(["a beagle", "a pug"]))


def of_open_clip(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Through OpenCLIP's own loading."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return embeddings(model, preprocess, open_clip.get_tokenizer(name))


def ours(clip: Clip, patch: Patch) -> tuple[torch.Tensor, torch.Tensor]:
    with patch.applied(clip.model):
        return embeddings(clip.model, clip.preprocess, clip.tokenizer)


def equal(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_loads_a_patched_folder_as_ours(
    cli: Cli, make_dir: Callable[..., Path], tmp_path: Path, quick: bool
) -> None:
    """With a mean, a deviation, an interpolation and a resizing that are not OpenCLIP's own."""
    source = make_dir(tmp_path / "model", {**TINY_CFG, "quick_gelu": quick})
    clip = slsgu.load(f"local-dir:{source}", device="cpu")
    patch = patch_of(clip, tmp_path / "p")
    assert cli("patch", "apply", "p", source, "--to", "local-dir", "-o", "out").code == 0
    found = of_open_clip(tmp_path / "out")
    assert equal(found, ours(clip, patch)) == [True, True]
    assert equal(found, of_open_clip(source)) == [False, True]  # control: the image side moved
    # Control: either activation, and the preprocessing, can be told from the answers.
    config = tmp_path / "out" / "open_clip_config.json"
    content = json.loads(config.read_text())
    assert content["preprocess_cfg"] == PREPROCESS_CFG
    config.write_text(json.dumps({"model_cfg": {**content["model_cfg"], "quick_gelu": not quick},
                                  "preprocess_cfg": content["preprocess_cfg"]}))  # fmt: skip
    assert equal(of_open_clip(tmp_path / "out"), found) == [False, False]
    config.write_text(json.dumps({"model_cfg": content["model_cfg"], "preprocess_cfg": {}}))
    assert equal(of_open_clip(tmp_path / "out"), found) == [False, True]


@pytest.mark.usefixtures("names")
@pytest.mark.filterwarnings("ignore:.*does not say which activation")
@pytest.mark.parametrize("quick", [False, True])
def test_an_architecture_with_a_file_becomes_a_folder(
    cli: Cli, weights: Path, tmp_path: Path, quick: bool
) -> None:
    name = f"{NAME}-quickgelu" if quick else NAME
    clip = slsgu.load(name, str(weights), device="cpu", quick_gelu=quick)
    patch = patch_of(clip, tmp_path / "p")
    named = ["patch", "apply", "p", name, "--pretrained", weights]
    assert cli(*named, "--to", "local-dir", "-o", "out").code == 0
    assert all(equal(of_open_clip(tmp_path / "out"), ours(clip, patch)))
    # The other activation, forced.
    other = "--gelu" if quick else "--quick-gelu"
    assert cli(*named, other, "-o", "forced").code == 0
    assert equal(of_open_clip(tmp_path / "forced"), ours(clip, patch)) == [False, False]
    # A bare file: the patch says which architecture it is of.
    assert cli("patch", "apply", "p", weights, "--to", "local-dir", "-o", "bare").code == 0
    assert all(equal(of_open_clip(tmp_path / "bare"), ours(clip, patch)))


@pytest.mark.usefixtures("names")
@pytest.mark.filterwarnings("ignore:.*does not say which activation")
@pytest.mark.parametrize("form", ["local-dir", "pt"])
def test_weights_of_another_architecture_are_not_given_its_name(
    cli: Cli, make_dir: Callable[..., Path], weights: Path, tmp_path: Path, form: str
) -> None:
    """Whose patched layer is the same, so that the patch itself fits."""
    deeper = {**TINY_CFG, "text_cfg": {**TINY_CFG["text_cfg"], "layers": 3}}
    other = make_dir(tmp_path / "other", deeper) / WEIGHTS
    patch_of(slsgu.load(f"local-dir:{other.parent}", device="cpu"), tmp_path / "p")
    named = ["patch", "apply", "p", NAME, "--pretrained", other, "--to", form]
    ran = cli(*named, "-o", f"out.{form}")
    assert ran.code == 1 and f"{other} does not fit the architecture" in ran.err
    assert "transformer.resblocks.2.attn.in_proj_weight" in ran.err
    assert not Path(f"out.{form}").exists()
    # Control: weights that are of the architecture, read from the same place.
    patch_of(slsgu.load(NAME, str(weights), device="cpu"), tmp_path / "p")
    shutil.copyfile(weights, other)
    assert cli(*named, "-o", f"out.{form}").code == 0


@pytest.mark.usefixtures("names")
@pytest.mark.filterwarnings("ignore:.*does not say which activation")
@pytest.mark.filterwarnings("always:.*was made for another image size")
def test_weights_of_another_image_size_are_told(
    cli: Cli, make_dir: Callable[..., Path], tmp_path: Path
) -> None:
    larger = {**TINY_CFG, "vision_cfg": {**TINY_CFG["vision_cfg"], "image_size": 64}}
    other = make_dir(tmp_path / "other", larger) / WEIGHTS
    patch_of(slsgu.load(f"local-dir:{other.parent}", device="cpu"), tmp_path / "p")
    words = ["patch", "apply", "p", "--to", "local-dir", "-o"]
    ran = cli(*words, "out", NAME, "--pretrained", other)
    assert ran.code == 0 and "was made for another image size" in ran.err
    assert "image size" not in cli(*words, "same", other.parent).err  # control


def test_a_pipeline_has_one_form(cli: Cli, tiny: Clip) -> None:
    patch_of(tiny, Path("p"))
    ran = cli("patch", "apply", "p", "diffusers:x", "--to", "local-dir", "-o", "out")
    assert ran.code == 2 and "diffusers:x is written in the form that it has" in ran.err
    ran = cli("patch", "apply", "p", "transformers:x", "-o", "out")  # control
    assert ran.code == 1 and "no such folder: x" in ran.err


def test_a_bare_file_that_nobody_knows_is_refused(cli: Cli, weights: Path, tiny: Clip) -> None:
    patch_of(tiny, Path("p"))
    ran = cli("patch", "apply", "p", weights, "--to", "local-dir", "-o", "out")
    assert ran.code == 1 and "does not say its architecture" in ran.err
    assert f"ARCHITECTURE --pretrained {weights}" in ran.err and not Path("out").exists()


def test_the_activation_of_a_folder_can_be_corrected(
    cli: Cli, tiny_dir: Path, tiny: Clip, tmp_path: Path
) -> None:
    patch_of(tiny, Path("p"))
    for number, words in enumerate(([], ["--gelu"], ["--quick-gelu"])):
        words = ["patch", "apply", "p", tiny_dir, "--to", "local-dir", *words, "-o", f"{number}"]
        assert cli(*words).code == 0
    plain, gelu, quick = (of_open_clip(tmp_path / f"{number}") for number in range(3))
    assert equal(plain, gelu) == [True, True] and equal(plain, quick) == [False, False]
    assert json.loads(Path("2/open_clip_config.json").read_text())["preprocess_cfg"] == (
        PREPROCESS_CFG
    )


@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_the_weights_alone_are_written_and_what_is_lost_is_told(
    cli: Cli, tiny_dir: Path, tiny: Clip, form: str
) -> None:
    patch = patch_of(tiny, Path("p"))
    for number, model in enumerate((tiny_dir, f"local-dir:{tiny_dir}", tiny_dir / WEIGHTS)):
        out = Path(f"{number}.{form}")
        ran = cli("patch", "apply", "p", model, "--to", form, "-o", out)
        assert ran.code == 0 and "--to local-dir keeps both" in ran.err
        found = load_file(out) if form == "safetensors" else torch.load(out)
        wanted = patch.apply_to(load_file(tiny_dir / WEIGHTS))
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    ran = cli("patch", "apply", "p", tiny_dir, "--to", form, "-o", "folder")
    assert ran.code == 2 and f"must end in .{form}" in ran.err
    ran = cli("patch", "apply", "p", tiny_dir, "--to", form, "-o", f"0.{form}")
    assert ran.code == 1 and "exists already" in ran.err


# -- the model card ---------------------------------------------------------------------------


def test_the_card_says_what_was_forgotten_and_leaves_the_licence_to_the_user(
    cli: Cli, make_dir: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_dir(tmp_path / "model")
    (source / "README.md").write_text("---\nlicense: mit\n---\n# Base\n")
    test = {"before": {"forget_fine": 0.9}, "after": {"forget_fine": 0.125}, "q_u": 0.875}
    clip = slsgu.load(f"local-dir:{source}", device="cpu")
    hostile = "x\n# Owned <script>alert(1)</script> [a](http://evil) | `b`"
    patch = patch_of(clip, Path("p"), test=test, command="slsgu apply ...", reason=hostile)
    assert cli("patch", "apply", "p", source, "--to", "local-dir", "-o", "out").code == 0
    card = Path("out/README.md").read_text()
    _, head, body = card.split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["library_name"] == "open_clip" and "license" not in about and "# license:" in head
    assert "| requested images at the finest level | 90.0% | 12.5% |" in body
    assert "dog/beagle" in body and "slsgu apply ..." in body and patch.file_sha256 in body
    assert "slsgu patch apply p" in body and f"`{LAYER}`" in body
    assert "<script>" not in body and "\n# Owned" not in body and "[a](http" not in body
    assert huggingface_hub.ModelCard(card).data.pipeline_tag == "zero-shot-image-classification"
    assert "(BASE_README.md)" in body
    assert Path("out/BASE_README.md").read_text() == (source / "README.md").read_text()
    # Control: without --to nothing is added, and the card of the base is its own.
    assert cli("patch", "apply", "p", source, "-o", "plain").code == 0
    assert {x.name for x in Path("plain").iterdir()} == {x.name for x in source.iterdir()}
    assert Path("plain/README.md").read_text() == (source / "README.md").read_text()


# -- the hub ----------------------------------------------------------------------------------


class Hub:
    """Stands in for the API: keeps what would be uploaded."""

    files: tuple[str, ...] = (".gitattributes",)
    error: Exception | None = None
    uploads: list[tuple[str, list[str]]]

    def __init__(self) -> None:
        type(self).uploads = []

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
        assert private and exist_ok
        if self.error is not None:
            raise self.error

    def list_repo_files(self, repo: str) -> list[str]:
        return list(self.files)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        names = sorted(path.name for path in folder_path.iterdir())
        type(self).uploads.append((repo_id, names))
        return f"https://huggingface.co/{repo_id}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    class Fresh(Hub):
        pass

    monkeypatch.setattr(huggingface_hub, "HfApi", Fresh)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return Fresh


@pytest.fixture
def push(cli: Cli, tiny_dir: Path, tiny: Clip) -> Callable[..., Ran]:
    patch_of(tiny, Path("p"))
    return lambda *words: cli("patch", "apply", "p", tiny_dir, "-o", "out", *words)


def test_a_folder_is_pushed(push: Callable[..., Ran], hub: type[Hub]) -> None:
    ran = push("--push", "me/beagle-free")
    assert ran.code == 0 and "pushed     https://huggingface.co/me/beagle-free" in ran.out
    wanted = ["README.md", "open_clip_config.json", WEIGHTS]
    assert hub.uploads == [("me/beagle-free", wanted)]


@pytest.mark.parametrize("name", ["beagle", "a/b/c", "../x", "me/", "me/..", "https://x.org/a"])
def test_what_is_no_repository_is_refused_before_any_work(
    push: Callable[..., Ran], hub: type[Hub], name: str
) -> None:
    ran = push("--push", name)
    assert ran.code == 1 and "write OWNER/NAME" in ran.err and not Path("out").exists()


def test_without_a_token_a_network_or_the_package_nothing_is_begun(
    push: Callable[..., Ran], hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub, "get_token", lambda: None)
        ran = push("--push", "me/x")
        assert ran.code == 1 and "run `hf auth login`" in ran.err and not Path("out").exists()
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        ran = push("--push", "me/x")
        assert ran.code == 1 and "HF_HUB_OFFLINE is set" in ran.err and not Path("out").exists()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        ran = push("--push", "me/x")
        assert ran.code == 1 and 'pip install "slsgu[hub]"' in ran.err and not Path("out").exists()
    ran = push("--push", "me/x", "--to", "pt")
    assert ran.code == 2 and "--to local-dir" in ran.err
    assert push("--push", "me/x").code == 0  # control


def test_a_repository_that_holds_weights_is_not_added_to(
    push: Callable[..., Ran], hub: type[Hub]
) -> None:
    hub.files = (".gitattributes", "pytorch_model.bin")
    ran = push("--push", "me/x")
    assert ran.code == 1 and "holds pytorch_model.bin already" in ran.err
    assert Path("out", WEIGHTS).is_file() and not hub.uploads


def test_a_failed_upload_keeps_the_folder_and_says_how_to_go_on(
    push: Callable[..., Ran], hub: type[Hub]
) -> None:
    hub.error = OSError("no route to host")
    ran = push("--push", "me/x")
    assert ran.code == 1 and "no route to host" in ran.err and "hf upload me/x out" in ran.err
    assert Path("out", WEIGHTS).is_file()


# -- the activation -----------------------------------------------------------------------------


def test_a_model_that_computes_otherwise_is_refused(
    cli: Cli, make_dir: Callable[..., Path], tmp_path: Path
) -> None:
    """The same weights under a configuration that says another activation."""
    source = make_dir(tmp_path / "model", {**TINY_CFG, "quick_gelu": True})
    clip = slsgu.load(f"local-dir:{source}", device="cpu")
    patch_of(clip, tmp_path / "p", model={**clip.describe(), "activation": clip.activation})
    wrong = Path(shutil.copytree(source, tmp_path / "wrong"))
    config = json.loads((wrong / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = False
    (wrong / "open_clip_config.json").write_text(json.dumps(config))
    for words in (
        (wrong, "-o", "no"),
        (wrong, "-o", "no", "--to", "local-dir"),
        (source, "-o", "no", "--to", "local-dir", "--gelu"),
        (NAME, "--pretrained", source / WEIGHTS, "-o", "no.pt", "--to", "pt", "--gelu"),
    ):
        ran = cli("patch", "apply", "p", *words)
        assert ran.code == 1 and "computes gelu, and" in ran.err, ran.err
        assert "computes quick_gelu" in ran.err and not list(tmp_path.glob("no*"))
    assert (
        cli("patch", "apply", "p", wrong, "-o", "yes", "--to", "local-dir", "--quick-gelu").code
        == 0
    )
    assert json.loads((tmp_path / "yes" / "open_clip_config.json").read_text())["model_cfg"][
        "quick_gelu"
    ]
    assert cli("patch", "apply", "p", source, "-o", "also").code == 0  # control


# -- from transformers --------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
def test_a_folder_of_transformers_becomes_one_of_openclip(
    cli: Cli, tmp_path: Path, quick: bool
) -> None:
    source = openclip_model(quick=quick)
    folder = write_clip_folder(tmp_path / "theirs", source, quick=quick, max_shard_size="60KB")
    clip = slsgu.load(f"transformers:{folder}", device="cpu")
    patch = patch_of(clip, tmp_path / "p")
    ran = cli("patch", "apply", "p", f"transformers:{folder}", "--to", "local-dir", "-o", "out")
    assert ran.code == 0, ran.err
    assert equal(of_open_clip(tmp_path / "out"), ours(clip, patch)) == [True, True]
    config = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())
    assert config["model_cfg"].get("quick_gelu", False) == quick
    assert config["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]
    assert (
        cli("patch", "apply", "p", f"transformers:{folder}", "--to", "pt", "-o", "o.pt").code == 0
    )
    weights = torch.load(tmp_path / "o.pt", weights_only=True)
    assert torch.equal(weights[LAYER], patch.patched(LAYER))
    inside = cli("patch", "apply", "p", f"transformers:{folder}", "-o", folder / "in")
    assert inside.code == 1 and "lies in" in inside.err
    ran = cli("patch", "apply", "p", f"diffusers:{folder}", "--to", "local-dir", "-o", "no")
    assert ran.code == 2 and "is written in the form that it has" in ran.err
