"""`slsgu patch merge`, `scale`, `diff`: what they write does what it says, and can be measured."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Ran
from helpers.foreign import openclip_model, random_patch, write_clip_folder
from safetensors.torch import load_file, save_file

import slsgu
from slsgu.patch.patch import Patch

Cli = Callable[..., Ran]
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def three(taught_dir: Path, tmp_path: Path) -> list[Path]:
    """Patch files: two that change `visual.proj`, and one of the text tower."""
    clip = slsgu.load(f"local-dir:{taught_dir}", device="cpu")
    weights = load_file(taught_dir / WEIGHTS)
    files = []
    for path, layer, seed in (
        ("dog/beagle", "visual.proj", 1),
        ("cat/tabby", "visual.proj", 2),
        ("dog/pug", "text_projection", 3),
    ):
        random = torch.Generator().manual_seed(seed)
        patch = Patch(
            {layer: 0.1 * torch.randn(weights[layer].shape, generator=random)},
            {layer: weights[layer]},
            {"request": {"paths": [path]}, "model": clip.describe(), "step_size": 1.0},
        )
        files.append(tmp_path / f"{path.partition('/')[2]}.safetensors")
        patch.save(files[-1])
    return files


def test_a_merged_patch_lists_every_request_and_can_be_merged_again(
    cli: Cli, three: list[Path]
) -> None:
    beagle, tabby, pug = three
    assert cli("patch", "merge", beagle, tabby, "-o", "bt.safetensors").code == 0
    ran = cli("patch", "merge", "bt.safetensors", pug, "-o", "all.safetensors", "--json")
    told = json.loads(ran.out)
    assert told["forgets"] == ["dog/beagle", "cat/tabby", "dog/pug"] and not told["conflicts"]
    assert told["layers"] == ["visual.proj", "text_projection"] and "conflict" not in ran.err
    assert told["sha256"] == Patch.load("all.safetensors").file_sha256
    assert cli("patch", "merge", *three, "-o", "direct.safetensors").code == 0
    assert Path("all.safetensors").read_bytes() == Path("direct.safetensors").read_bytes()
    ran = cli("patch", "merge", "bt.safetensors", beagle, "-o", "2.safetensors")  # it is in there
    assert ran.code == 1 and "hold the same patch, to forget dog/beagle" in ran.err


def test_conflicts_are_reported_and_can_be_measured(
    cli: Cli, three: list[Path], world: list[str]
) -> None:
    ran = cli("patch", "merge", *three, "-o", "all.safetensors", "--json")
    (found,) = json.loads(ran.out)["conflicts"]
    deltas = [Patch.load(file).delta["visual.proj"].flatten() for file in three[:2]]
    wanted = torch.nn.functional.cosine_similarity(deltas[0], deltas[1], dim=0)
    assert found["layer"] == "visual.proj" and found["patches"] == [str(x) for x in three[:2]]
    assert found["cosine"] == pytest.approx(float(wanted), abs=1e-5)
    assert "conflict: 2 patches change visual.proj" in ran.err and f"{wanted:.2f}" in ran.err
    assert "text_projection" not in ran.err  # control: one patch alone
    # The command that is told measures the sum.
    words = shlex.split(json.loads(ran.out)["evaluate"])
    assert words[:4] == ["slsgu", "evaluate", "--patch", "all.safetensors"]
    assert shlex.join(words) in ran.err
    data = world[world.index("--data") :]
    ran = cli(*words[1 : words.index("--data")], *data, "--json")
    assert ran.code == 0, ran
    levels = json.loads(ran.out)["levels"]
    assert any(level["forgotten"] and level["images"] == "forget" for level in levels)


def test_applying_patches_together_reports_their_conflicts_too(
    cli: Cli, three: list[Path], taught_dir: Path
) -> None:
    ran = cli("patch", "apply", *three, taught_dir, "-o", "out")
    assert ran.code == 0 and "conflict: 2 patches change visual.proj" in ran.err
    assert f"slsgu evaluate --patch {three[0]} --patch {three[1]}" in ran.err
    ran = cli("patch", "apply", *three[1:], taught_dir, "-o", "other")  # control
    assert ran.code == 0 and "conflict" not in ran.err


def test_the_command_for_merged_runs_knows_their_data(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    small = ["--tower", "language", "--trials", "3", "--force", "--retain-images", "8"]
    for name in ("beagle", "tabby"):
        assert cli("apply", "--concept", name, *world, *small, "--run", name).code == 0
    ran = cli("patch", "merge", "beagle", "tabby", "-o", "both.safetensors", "--json")
    told = json.loads(ran.out)
    words = shlex.split(told["evaluate"])
    assert words == shlex.split("slsgu evaluate --run beagle --patch beagle --patch tabby")
    by_runs = cli(*words[1:], "--json")
    by_file = cli("evaluate", "--patch", "both.safetensors", *world)
    assert set(json.loads(by_runs.out)["request"]["concepts"]) == {"beagle", "tabby"}
    assert "left out, because the patch was made from them" in by_runs.err
    assert "may be among those measured" not in by_runs.err
    assert "may be among those measured" in by_file.err  # control: the file alone knows less


@pytest.mark.parametrize("factor", ["0.5", "-1.5", "2e0"])
def test_a_scaled_patch_is_a_multiple(cli: Cli, three: list[Path], factor: str) -> None:
    ran = cli("patch", "scale", three[0], factor, "-o", "scaled.safetensors", "--json")
    assert ran.code == 0 and json.loads(ran.out)["forgets"] == ["dog/beagle"]
    whole, scaled = Patch.load(three[0]), Patch.load("scaled.safetensors")
    assert torch.equal(scaled.delta["visual.proj"], float(factor) * whole.delta["visual.proj"])
    assert scaled.metadata["scale"] == float(factor)
    assert f"times {float(factor):g}" in cli("patch", "show", "scaled.safetensors").out


def test_what_cannot_be_scaled(cli: Cli, three: list[Path], tmp_path: Path) -> None:
    for factor in ("0", "nan", "inf", "half"):
        ran = cli("patch", "scale", three[0], factor, "-o", "m.safetensors")
        assert ran.code == 2 and factor in ran.err, factor
    ran = cli("patch", "scale", three[0], "1e300", "-o", "m.safetensors")
    assert ran.code == 1 and "visual.proj is out of the range" in ran.err
    ran = cli("patch", "scale", three[0], "2", "--forced", "-o", "m.safetensors")
    assert ran.code == 2 and "--forced" in ran.err
    assert not (tmp_path / "m.safetensors").exists()
    (tmp_path / "m.safetensors").write_text("mine")
    ran = cli("patch", "scale", three[0], "2", "-o", "m.safetensors")
    assert ran.code == 1 and "exists already" in ran.err
    assert (
        cli("patch", "scale", three[0], "2", "-o", "m.safetensors", "--force").code == 0
    )  # control


@pytest.mark.parametrize("form", ["folder", ".safetensors", ".pt"])
def test_the_difference_of_two_checkpoints_leads_from_one_to_the_other(
    cli: Cli, three: list[Path], taught_dir: Path, tmp_path: Path, form: str
) -> None:
    if form == "folder":
        before, after = taught_dir, tmp_path / "after"
    else:
        before, after = tmp_path / f"before{form}", tmp_path / f"after{form}"
        tensors = load_file(taught_dir / WEIGHTS)
        save_file(tensors, before) if form == ".safetensors" else torch.save(tensors, before)
    assert cli("patch", "apply", three[0], three[2], before, "--out", after).code == 0
    ran = cli("patch", "diff", before, after, "-o", "p.safetensors", "--json")
    assert ran.code == 0, ran
    told = json.loads(ran.out)
    assert set(told["layers"]) == {"visual.proj", "text_projection"} and told["exact"]
    again = tmp_path / f"again{'' if form == 'folder' else form}"
    assert cli("patch", "apply", "p.safetensors", before, "--out", again).code == 0
    one, other = (x / WEIGHTS if form == "folder" else x for x in (after, again))
    assert one.read_bytes() == other.read_bytes()
    back = tmp_path / f"back{'' if form == 'folder' else form}"
    ran = cli("patch", "revert", "p.safetensors", after, "--out", back)
    assert ran.code == 0 and "(all weights are those of the original)" in ran.out
    shown = cli("patch", "show", "p.safetensors").out
    assert "difference of two checkpoints" in json.dumps(Patch.load("p.safetensors").metadata)
    assert "slsgu patch diff" in shown


def test_what_has_no_difference_or_too_much_of_it(
    cli: Cli, taught_dir: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    ran = cli("patch", "diff", taught_dir, taught_dir, "-o", "p.safetensors")
    assert ran.code == 1 and "hold the same weights" in ran.err
    ran = cli("patch", "diff", tiny_dir, taught_dir, "-o", "p.safetensors")
    assert ran.code == 1 and "tensors (" in ran.err and "looks like two trained models" in ran.err
    ran = cli("patch", "diff", "nowhere", taught_dir, "-o", "p.safetensors")
    assert ran.code == 1 and "no such checkpoint file or folder: nowhere" in ran.err
    assert not (tmp_path / "p.safetensors").exists()


def test_a_difference_across_precisions_is_told(cli: Cli, taught_dir: Path, tmp_path: Path) -> None:
    tensors = load_file(taught_dir / WEIGHTS)
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    half["visual.proj"] = half["visual.proj"] + 0.25
    save_file(half, tmp_path / "half.safetensors")
    ran = cli("patch", "diff", taught_dir, "half.safetensors", "-o", "p.safetensors")
    assert ran.code == 0 and "stores visual.proj in another precision" in ran.err
    assert "differ     1 of " in ran.out


def test_a_scale_that_leaves_nothing_is_refused_and_a_huge_one_told(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    cli("apply", "--concept", "beagle", "--run", "run", *world, "--trials", "2", "--force")
    ran = cli("patch", "scale", "run", "1e-300", "--out", "s.safetensors")
    assert ran.code == 1 and "changes nothing" in ran.err and not Path("s.safetensors").exists()
    assert cli("patch", "scale", "run", "1e-3", "--out", "s.safetensors").code == 0  # control
    model = world[world.index("--model") + 1].removeprefix("local-dir:")
    words = ("patch", "apply", "run", model, "--to", "pt", "--out")
    assert "so that little of it is left" in cli(*words, "a.pt", "--scale", "1e20").err
    assert "little of it" not in cli(*words, "b.pt").err  # control


def test_patches_that_say_little_of_their_model_can_be_merged(
    cli: Cli, three: list[Path], tmp_path: Path
) -> None:
    """As patches made in Python: a name, and nothing else."""
    files = []
    for path in three[1:]:
        patch = Patch.load(path)
        files.append(tmp_path / f"plain-{path.name}")
        Patch(patch.delta, patch.original, {"model": {"name": "mine"}}).save(files[-1])
    ran = cli("patch", "merge", *files, "-o", "both.safetensors", "--json")
    assert ran.code == 0 and "Traceback" not in ran.err
    assert "--model mine --data DIR" in json.loads(ran.out)["evaluate"]


def test_a_folder_of_another_library_without_its_prefix_is_told(cli: Cli, tmp_path: Path) -> None:
    source = openclip_model(quick=True)
    folder = write_clip_folder(tmp_path / "a", source, quick=True)
    random_patch(source, "visual.proj").save(tmp_path / "p")
    for words in (["apply", "p", "a", "-o", "b"], ["revert", "p", "a", "-o", "b"],
                  ["diff", "a", "a", "-o", "d.safetensors"]):  # fmt: skip
        ran = cli("patch", *words)
        assert ran.code == 1 and "a is a folder of transformers: write transformers:a" in ran.err
    assert cli("patch", "apply", "p", f"transformers:{folder}", "-o", "b").code == 0  # control
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "model_index.json").write_text("{}")
    ran = cli("patch", "apply", "p", "sd", "-o", "c")
    assert ran.code == 1 and "sd is a folder of diffusers: write diffusers:sd" in ran.err


def test_the_difference_of_two_folders_of_transformers(cli: Cli, tmp_path: Path) -> None:
    source = openclip_model(quick=True)
    folder = write_clip_folder(tmp_path / "a", source, quick=True, max_shard_size="60KB")
    patch = random_patch(source, "transformer.resblocks.0.attn.in_proj_weight", "visual.proj")
    patch.save(tmp_path / "p")
    assert cli("patch", "apply", "p", f"transformers:{folder}", "-o", "b").code == 0
    ran = cli(
        "patch", "diff", f"transformers:{folder}", "transformers:b", "-o", "d.safetensors", "--json"
    )
    assert ran.code == 0 and json.loads(ran.out)["exact"]
    found = Patch.load("d.safetensors")
    assert set(found.layers) == set(patch.layers)
    assert found.metadata["model"]["activation"] == "quick_gelu"
    assert all(torch.equal(found.patched(n), patch.patched(n)) for n in patch.layers)
    assert cli("patch", "apply", "d.safetensors", f"transformers:{folder}", "-o", "c").code == 0
    assert all(
        x.read_bytes() == (tmp_path / "b" / x.name).read_bytes() for x in Path("c").iterdir()
    )


def test_a_patch_is_not_written_under_the_name_of_another_format(
    cli: Cli, three: list[Path], taught_dir: Path
) -> None:
    for words in (["merge", *three[:2]], ["scale", three[0], "2"], ["diff", taught_dir, "b"]):
        for out in ("m.pt", "m", "m.safetensors.bin"):
            ran = cli("patch", *words, "--out", out)
            assert ran.code == 2 and f"{out} must end in .safetensors" in ran.err, words
    assert not list(Path().glob("m*"))
    assert cli("patch", "scale", three[0], "2", "--out", "m.safetensors").code == 0  # control


def test_what_changes_nothing_is_not_written_and_not_measured(
    cli: Cli, three: list[Path], taught_dir: Path, world: list[str]
) -> None:
    beagle = Patch.load(three[0])
    idle, opposite = 1e-30 * beagle, -1.0 * beagle
    idle.save("idle.safetensors")
    other = {**opposite.metadata, "request": {"paths": ["cat/tabby"]}}
    Patch(opposite.delta, opposite.original, other).save("back.safetensors")
    both = ["--patch", three[0], "--patch", "back.safetensors"]
    for words in (
        ["patch", "scale", three[0], "1e-30", "--out", "m.safetensors"],
        ["patch", "merge", three[0], "back.safetensors", "--out", "m.safetensors"],
        ["patch", "apply", "idle.safetensors", taught_dir, "--out", "m"],
        ["evaluate", "--patch", "idle.safetensors", *world],
        ["evaluate", *both, *world],
        ["audit", "--patch", "idle.safetensors", *world],
    ):
        ran = cli(*words)
        told = "changes nothing" in ran.err or "would change" in ran.err
        assert ran.code == 1 and told and not ran.out, words
    assert not list(Path().glob("m*"))
    assert cli("patch", "show", "idle.safetensors").code == 0  # what it is can be seen
    ran = cli("patch", "scale", "idle.safetensors", "1e30", "--out", "m.safetensors")  # control
    assert ran.code == 0 and Path("m.safetensors").exists()


def test_a_patch_that_leaves_little_of_a_layer_is_told(cli: Cli, three: list[Path]) -> None:
    ran = cli("patch", "scale", three[0], "1e20", "--out", "large.safetensors")
    assert ran.code == 0 and "so that little of it is left" in ran.err
    ran = cli("patch", "scale", three[0], "2", "--out", "usual.safetensors")  # control
    assert "little of it" not in ran.err
    large = Patch.load("large.safetensors")
    zeros = {name: torch.zeros_like(tensor) for name, tensor in large.original.items()}
    Patch(large.delta, zeros).save("zeros.safetensors")
    ran = cli("patch", "show", "zeros.safetensors", "--json")
    assert json.loads(ran.out)["layers"][0]["relative_change"] is None
    assert "changed from zeros" in cli("patch", "show", "zeros.safetensors").out
