"""Bad input: a clear message, the right exit status, nothing lost, and never a traceback.

The `cli` fixture fails on any exception that is not an exit status, so every call here also says
that no traceback was shown.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Ran
from PIL import Image
from safetensors.torch import load_file, save_file

import slsgu
from slsgu.errors import SlsguError
from slsgu.gradients.gradients import KIND as GRADIENTS
from slsgu.patch.patch import KIND as PATCH
from slsgu.utils.artifact import read_artifact, write_artifact
from slsgu.utils.files import replacing, replacing_folder

Cli = Callable[..., Ran]
WEIGHTS = "open_clip_model.safetensors"
STEP = ["--layer", "text_projection", "--step", "1e-6", "--force"]  # one trial, whatever it does


def files(folder: Path) -> set[str]:
    """Everything below a folder, by relative name."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refused(ran: Ran, *words: str, code: int = 1) -> None:
    """The command failed, said why on stderr, and printed nothing else."""
    assert ran.code == code and not ran.out, ran
    assert "Error: " in ran.err, ran.err
    for word in words:
        assert word in ran.err, ran.err


def with_option(world: list[str], name: str, value: str | Path) -> list[str]:
    """`world` with another value for one of its options."""
    changed = list(world)
    changed[changed.index(name) + 1] = str(value)
    return changed


@pytest.fixture
def images(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the class folders that a test may damage."""
    return Path(shutil.copytree(photos / "images", tmp_path_factory.mktemp("copy") / "images"))


# -- concepts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["apply", "grads", "evaluate"])
def test_unknown_concept(cli: Cli, world: list[str], tmp_path: Path, command: str) -> None:
    refused(cli(command, "--concept", "beegle", *world), "beegle", "did you mean 'beagle'?")
    refused(cli(command, "--concept", "zzzz", *world), "zzzz", "slsgu concepts")
    assert not list(tmp_path.iterdir())
    assert cli("apply", "--concept", "beagle", "--dry-run", *world).code == 0  # control


@pytest.mark.parametrize("name", ["/", "../../x", "dog/", "\udcff", "a" * 5000, "x\n"])
def test_strange_concepts(cli: Cli, world: list[str], tmp_path: Path, name: str) -> None:
    ran = cli("apply", "--concept", name, *world)
    assert ran.code == 1 and "Error: no concept" in ran.err and not list(tmp_path.iterdir())


def test_ambiguous_concept(cli: Cli, world: list[str], photos: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(
        "dog: {beagle: {$aliases: [sitter]}, pug: null}\n"
        "cat: {tabby: {$aliases: [sitter]}, siamese: null}\n"
    )
    zoo = with_option(world, "--taxonomy", tmp_path / "zoo.yaml")
    refused(cli("apply", "--concept", "sitter", *zoo), "ambiguous", "dog/beagle", "cat/tabby")
    assert cli("apply", "--concept", "dog/sitter", "--dry-run", *zoo).code == 0


def test_all_concepts_at_once(cli: Cli, world: list[str]) -> None:
    refused(cli("grads", "--concept", "dog", "--concept", "cat", *world), "leave something to keep")


def test_a_concept_the_model_does_not_know(
    cli: Cli, world: list[str], tiny_dir: Path, tmp_path: Path
) -> None:
    ignorant = with_option(world, "--model", f"local-dir:{tiny_dir}")  # random weights
    ran = cli("apply", "--concept", "beagle", *ignorant)
    refused(ran, "does not know 'beagle' in the first place", "chance is 25.0%", "--force")
    assert not list(tmp_path.rglob("patch.safetensors"))
    forced = cli("apply", "--concept", "beagle", *ignorant, *STEP)
    assert forced.code == 1 and list(tmp_path.rglob("patch.safetensors"))


# -- folders and images -------------------------------------------------------------------------


def test_a_folder_without_a_leaf(cli: Cli, world: list[str], images: Path, tmp_path: Path) -> None:
    (images / "beagle").rename(images / "beegle")
    ran = cli("apply", "--concept", "pug", *with_option(world, "--data", images))
    refused(ran, "'beegle' is not one of its classes", "did you mean 'beagle'?", "pets")
    (images / "beegle").rename(images / "dog")
    ran = cli("apply", "--concept", "pug", *with_option(world, "--data", images))
    refused(ran, "'dog' is a group of classes", "beagle, pug")
    assert not list(tmp_path.iterdir())


def test_a_leaf_without_images(cli: Cli, world: list[str], images: Path) -> None:
    world = with_option(world, "--data", images)
    shutil.rmtree(images / "tabby")
    refused(cli("grads", "--concept", "tabby", *world), "'cat/tabby'", "0 different image(s)")
    # A leaf that is not to be forgotten may be missing; it is named.
    ran = cli("grads", "--concept", "beagle", *world)
    assert ran.code == 0 and "1 of the 4 classes" in ran.err and "cat/tabby" in ran.err


def test_an_empty_folder(cli: Cli, world: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in (["apply", "--concept", "pug"], ["evaluate"], ["concepts"]):
        options = with_option(world, "--data", empty)
        options = ["--data", str(empty)] if command == ["concepts"] else options
        refused(cli(*command, *options), "is empty", "one folder for each class")
    (empty / "beagle").mkdir()
    refused(cli("evaluate", *with_option(world, "--data", empty)), "no images")


def damage(images: Path) -> list[str]:
    """Truncate, empty and replace three beagles."""
    truncated, zero, foreign = (images / "beagle" / f"{n:02d}.png" for n in range(3))
    truncated.write_bytes(truncated.read_bytes()[:200])
    zero.write_bytes(b"")
    foreign.write_text("no picture at all")
    return [f"beagle/{n:02d}.png" for n in range(3)]


def test_damaged_images_are_skipped_named_and_counted(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    names = damage(images)
    world = with_option(world, "--data", images)
    ran = cli("apply", "--concept", "beagle", *world, *STEP)
    assert "3 image(s) cannot be read" in ran.err
    assert all(f"skipped: {name}: " in ran.err for name in names)
    assert "the file is empty" in ran.err and "it is not a picture" in ran.err
    (result,) = tmp_path.glob("runs/*/result.json")
    value = json.loads(result.read_text())
    assert sorted(row["name"] for row in value["skipped"]) == names

    # The second run reuses the gradients, and names all of them all the same.
    again = cli("apply", "--concept", "beagle", *world, *STEP)
    assert "reusing" in again.err and all(f"skipped: {name}: " in again.err for name in names)

    # --dry-run does not stumble; evaluate names those of the test split.
    assert cli("apply", "--concept", "beagle", *world, "--dry-run").code == 0
    told = cli("evaluate", *world)
    assert told.code == 0
    assert told.err.count("skipped: ") == sum(f"skipped: {n}" in told.err for n in names)


def test_strict_refuses_damaged_images(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    strict = [*with_option(world, "--data", images), "--strict"]
    assert cli("grads", "--concept", "beagle", *strict).code == 0  # control
    names = damage(images)
    ran = cli("apply", "--concept", "beagle", *strict, *STEP)
    refused(ran, "strict")
    assert any(name in ran.err for name in names)
    # Also where gradients that left them out lie ready.
    loose = cli("grads", "--concept", "beagle", *strict[:-1])
    assert loose.code == 0
    if "skipped: " in loose.err:
        refused(cli("grads", "--concept", "beagle", *strict), "strict")


@pytest.mark.parametrize("command", ["grads", "apply", "evaluate"])
def test_a_set_that_becomes_empty(cli: Cli, world: list[str], images: Path, command: str) -> None:
    for path in (images / "beagle").iterdir():
        path.write_text(f"not a picture: {path.name}")
    ran = cli(command, "--concept", "beagle", *with_option(world, "--data", images))
    refused(ran, "no usable", "it is not a picture")


def test_too_few_images(cli: Cli, world: list[str], images: Path) -> None:
    for path in sorted((images / "pug").iterdir())[2:]:
        path.unlink()
    ran = cli("grads", "--concept", "pug", *with_option(world, "--data", images))
    refused(ran, "'dog/pug'", "2 different image(s)", "at least 3")


def test_names_that_are_not_utf8(cli: Cli, world: list[str], images: Path, tmp_path: Path) -> None:
    odd = os.fsencode(images / "beagle") + b"/\xff\xfe.png"
    with open(odd, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(b"broken")
    ran = cli(
        "apply", "--concept", "beagle", *with_option(world, "--data", images), *STEP, report=True
    )
    assert "report " in ran.out and "1 image(s) cannot be read" in ran.err
    assert list(tmp_path.glob("runs/*/patch.safetensors"))
    # The user's own folders may be named in any bytes, as long as they are not artifacts.
    moved = images.rename(os.fsdecode(os.fsencode(images) + b"\xff"))
    ran = cli("grads", "--concept", "beagle", "--json", *with_option(world, "--data", moved))
    assert ran.code == 0 and json.loads(ran.out)["reused"]
    run = os.fsdecode(b"run-\xff")
    refused(cli("grads", "--concept", "beagle", "--run", run, *world), "not a name in UTF-8")
    refused(cli("patch", "show", run), "not found")


# -- taxonomies ---------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, y]\n" + "".join(
    f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}\n" for n in range(1, 40)
)
TAXONOMIES = {
    "cycle": "dog: &a\n  beagle: *a\n",
    "list cycle": "&a [dog, *a]\n",
    "bomb": BOMB,
    "deep": "[" * 5000 + "]" * 5000,
    "deep mapping": "".join(" " * n + f"a{n}:\n" for n in range(300)),
    "not yaml": "dog: [beagle\n",
    "tabs": "dog:\n\t- beagle\n",
    "date": "dog: 2001-99-99\n",
    "empty number": "dog: !!float ''\n",
    "binary": "dog: !!binary gIGC\n",
    "code": "dog: !!python/object/apply:os.system ['touch pwned']\n",
    "two documents": "dog: [a, b]\n---\ncat: [c]\n",
    "empty": "",
    "number": "42\n",
    "text": "beagle\n",
    "one leaf": "dog: [beagle]\n",
    "twice": "dog: [beagle, Beagle]\n",
    "slash": "dog: ['../../x', pug]\n",
    "no name": "dog: ['', pug]\n",
    "boolean": "dog: [yes, no]\n",
    "surrogate": 'dog: ["\\ud800", pug]\n',
    "control": 'dog: ["\\x1b[2J", pug]\n',
    "attribute": "dog: {$alias: [x], pug: null, beagle: null}\n",
    "aliases": "dog: {$aliases: {a: b}, pug: null, beagle: null}\n",
    "templates": "$templates: [no braces]\ndog: [pug, beagle]\n",
    "unhashable": "{[a]: b, {c: d}: e}\n",
    "huge number": "dog: [" + "9" * 5000 + ", pug]\n",
    "merge": "<<: 3\ndog: [pug, beagle]\n",
    "set": "dog: !!set {a, b}\n",
    "omap": "dog: !!omap [a: b]\n",
    "null byte": 'dog: ["a\\0b", pug]\n',
}


@pytest.mark.parametrize("name", TAXONOMIES)
def test_taxonomies_that_make_no_sense(cli: Cli, tmp_path: Path, name: str) -> None:
    path = tmp_path / "pets.yaml"
    path.write_text(TAXONOMIES[name], encoding="utf-8")
    ran = cli("concepts", "--taxonomy", path)
    refused(ran, "taxonomy")
    assert files(tmp_path) == {"pets.yaml"}


def test_aliases_of_yaml_are_welcome(cli: Cli, tmp_path: Path) -> None:
    """Control: an anchor is refused for what it claims, not for being one."""
    (tmp_path / "pets.yaml").write_text("dog: &breeds [small, large]\ncat: *breeds\n")
    ran = cli("concepts", "--taxonomy", "pets.yaml")
    assert ran.out.splitlines() == ["dog", "  small", "  large", "cat", "  small", "  large"]


def test_a_taxonomy_file_of_other_bytes(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_bytes(b"\xff\xfe\x00dog")
    refused(cli("concepts", "--taxonomy", "pets.yaml"), "cannot read taxonomy file")


def test_things_of_the_wrong_kind(
    cli: Cli, world: list[str], photos: Path, taught_dir: Path, tmp_path: Path
) -> None:
    apply = ["apply", "--concept", "beagle"]
    folder, yaml, long = photos / "images", photos / "pets.yaml", "a" * 300
    (tmp_path / "file").write_text("x")
    for name, value, word in (
        ("--taxonomy", folder, "taxonomy"),
        ("--taxonomy", "missing.yaml", "not found"),
        ("--taxonomy", long, "File name too long"),
        ("--data", yaml, "is a file"),
        ("--data", "missing", "not found"),
        ("--data", long, "File name too long"),
        ("--data", taught_dir, "no images"),
        ("--model", "local-dir:missing", "no such folder"),
        ("--model", f"local-dir:{yaml}", "no such folder"),
        ("--model", f"local-dir:{folder}", "open_clip_config.json"),
        ("--model", "local-dir:", "nothing after"),
        ("--model", str(taught_dir), "write local-dir:"),
        ("--model", "ViT-B-23", "did you mean"),
        ("--model", long, "File name too long"),
    ):
        refused(cli(*apply, *with_option(world, name, value)), word)
    for options, word in (
        (["--templates", str(folder)], "templates"),
        (["--templates", "missing.txt"], "templates"),
        (["--templates", str(photos / "images/pug/00.png")], "templates"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "nonsense"], "nonsense"),
        (["--save-model", "file"], "exists already"),
        (["--run", long], "File name too long"),
        (["--layer", "text_projectoin"], "did you mean text_projection"),
        (["--layer", "logit_scale"], "no editable layer"),
        (["--layer", "visual.proj", "--tower", "language"], "vision tower"),
    ):
        refused(cli(*apply, *world, *options), word)
    refused(cli(*apply, *world, "--run", "file"), "is a file", code=2)
    refused(cli("pareto", "--run", "file"), "is a file", code=2)
    refused(cli(*apply, *world, "--cache-dir", "file"), "is a file", code=2)
    assert files(tmp_path) == {"file"}


@pytest.mark.parametrize(
    "options",
    [
        ["--layer", "visual.proj", "--step", "-1"],
        ["--layer", "visual.proj", "--step", "0"],
        ["--layer", "visual.proj", "--step", "nan"],
        ["--layer", "visual.proj", "--step", "inf"],
        ["--layer", "visual.proj", "--step", "x"],
        ["--step", "1"],
        ["--floor", "2"],
        ["--floor", "nan"],
        ["--floor", "retain_fine=-0.1"],
        ["--floor", "nonsense=0.5"],
        ["--floor", "="],
        ["--target", "1.5"],
        ["--target", "nan"],
        ["--activation-memory", "inf"],
        ["--activation-memory", "nan"],
        ["--trials", "0"],
        ["--seed", "-1"],
        ["--contrastive-batch", "1"],
        ["--test-images", "0"],
        ["--workers", "-1"],
        ["--forget-loss", "nonsense"],
        ["--retain-loss", "nonsense"],
        ["--direction", "nonsense"],
        ["--tower", "sound"],
    ],
    ids=" ".join,
)
def test_numbers_and_names_that_make_no_sense(
    cli: Cli, world: list[str], tmp_path: Path, options: list[str]
) -> None:
    refused(cli("apply", "--concept", "beagle", *world, *options), code=2)
    # Before the model is loaded: one that is not there is not missed.
    missing = with_option(world, "--model", "local-dir:missing")
    refused(cli("apply", "--concept", "beagle", *missing, *options), code=2)
    refused(cli("apply", "--concept", "beagle", *missing), "missing", code=1)  # control
    assert not list(tmp_path.iterdir())


def test_a_step_out_of_range(cli: Cli, world: list[str], tmp_path: Path) -> None:
    """Embeddings that overflow to zero would read as if something was forgotten."""
    for step in ("1e30", "1e37", "1e39", "1e300"):
        fixed = ["--layer", "text_projection", "--step", step, "--force"]
        ran = cli("apply", "--concept", "beagle", *world, *fixed)
        assert ran.code == 1 and "Error: " in ran.err and "out of the range" in ran.err
        assert not [*tmp_path.rglob("patch.safetensors"), *tmp_path.rglob("result.json")]
    assert cli("apply", "--concept", "beagle", *world, *STEP).code == 1  # control: its goal missed
    assert list(tmp_path.rglob("patch.safetensors"))


# -- models -------------------------------------------------------------------------------------


def copy_model(taught_dir: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """The taught model with other tensors."""
    shutil.copytree(taught_dir, folder)
    tensors: dict[str, Any] = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return f"local-dir:{folder}"


def test_a_checkpoint_that_does_not_fit(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path
) -> None:
    def change(tensors: dict[str, Any]) -> None:
        del tensors["visual.proj"]
        tensors["nonsense"] = torch.zeros(2)
        tensors["text_projection"] = torch.zeros(3, 3)

    model = copy_model(taught_dir, tmp_path / "model", change)
    ran = cli("apply", "--concept", "beagle", *with_option(world, "--model", model))
    refused(ran, "does not fit", "1 missing", "visual.proj", "1 unexpected", "nonsense")
    refused(ran, "1 of another shape", "text_projection (3, 3)")


def test_weights_that_are_no_numbers(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path
) -> None:
    model = copy_model(
        taught_dir, tmp_path / "model", lambda tensors: tensors["visual.proj"].fill_(torch.nan)
    )
    for command in (["apply", "--concept", "beagle"], ["evaluate"]):
        ran = cli(*command, *with_option(world, "--model", model))
        refused(ran, "visual.proj holds values that are not numbers")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64])
def test_damaged_weights(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path, content: bytes
) -> None:
    shutil.copytree(taught_dir, tmp_path / "model")
    (tmp_path / "model" / WEIGHTS).write_bytes(content)
    ran = cli("evaluate", *with_option(world, "--model", f"local-dir:{tmp_path / 'model'}"))
    refused(ran, "again")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        '{"model_cfg": 3}',
        '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}',
        '{"model_cfg": {"embed_dim": "x", "vision_cfg": {"layers": -1}, "text_cfg": {"y": 1}}}',
        "[" * 100_000,
    ],
    ids=range(7),
)
def test_damaged_configurations(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path, config: str
) -> None:
    shutil.copytree(taught_dir, tmp_path / "model")
    (tmp_path / "model" / "open_clip_config.json").write_text(config)
    refused(cli("evaluate", *with_option(world, "--model", f"local-dir:{tmp_path / 'model'}")))


def test_a_configuration_with_odd_preprocessing(
    cli: Cli, world: list[str], taught_dir: Path, tmp_path: Path
) -> None:
    config = json.loads((taught_dir / "open_clip_config.json").read_text())
    shutil.copytree(taught_dir, tmp_path / "model")
    world = with_option(world, "--model", f"local-dir:{tmp_path / 'model'}")
    for preprocess in (3, [], {"mean": "x"}, {"std": [0, 0, 0]}, {"interpolation": "nonsense"}):
        config["preprocess_cfg"] = preprocess
        (tmp_path / "model" / "open_clip_config.json").write_text(json.dumps(config))
        ran = cli("evaluate", *world)
        assert ran.code == 0 or "Error: " in ran.err


# -- caches and patches -------------------------------------------------------------------------


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


def rewritten(path: Path, kind: str, out: Path, change: Callable[[Any, Any], Any]) -> Path:
    """A copy of an artifact with another header or other tensors."""
    header, tensors = read_artifact(path, kind=kind, schema=1, what="x")
    schema = change(header, tensors) or 1
    write_artifact(out, tensors, kind=kind, schema=schema, header=header)
    return out


def damaged_copies(path: Path, kind: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are not `path` any more, and a word of what is to be said about each."""
    whole = path.read_bytes()
    for name, content, word in (
        ("empty", b"", "damaged"),
        ("cut", whole[: len(whole) // 2], "damaged"),
        ("head", whole[:20], "damaged"),
        ("noise", os.urandom(64), "damaged"),
        ("text", b"not a safetensors file", "damaged"),
        ("brackets", b"\x10\x27" + bytes(6) + b"[" * 10_000, "damaged"),
    ):
        (folder / name).write_bytes(content)
        yield folder / name, word
    save_file({"a": torch.zeros(1)}, folder / "foreign")
    yield folder / "foreign", "is not a"
    save_file({"a": torch.zeros(1)}, folder / "deep", metadata={"slsgu": "[" * 100_000})
    yield folder / "deep", "damaged"
    save_file({"a": torch.zeros(1)}, folder / "list", metadata={"slsgu": "[1, 2]"})
    yield folder / "list", "is not a"
    yield rewritten(path, kind, folder / "newer", lambda h, t: 2), "install a newer slsgu"


def test_damaged_gradient_caches(
    cli: Cli, world: list[str], made: tuple[Path, Path], tmp_path: Path
) -> None:
    cache, patch = made
    run = tmp_path / "run"
    run.mkdir()
    target = run / "gradients.safetensors"
    shutil.copy(cache, target)
    assert cli("pareto", "--run", run).code == 0  # control
    assert "reusing" in cli("grads", "--concept", "beagle", "--run", run, *world).err
    (run / "layers.json").unlink()
    bad = list(damaged_copies(cache, GRADIENTS, tmp_path))
    bad.append((patch, "is not a gradient cache"))

    def drop(key: str) -> Callable[[Any, Any], None]:
        return lambda header, tensors: header.pop(key)

    def put(key: str, value: Any) -> Callable[[Any, Any], None]:
        return lambda header, tensors: header.__setitem__(key, value)

    def unlayer(header: Any, tensors: Any) -> None:
        for name in [name for name in tensors if "visual.proj" in name]:
            del tensors[name]

    changes = [drop(k) for k in ("sign", "weight_norms", "losses", "counts", "key", "info")]
    changes += [put(k, v) for k in ("weight_norms", "losses", "key", "info") for v in (3, [], {})]
    changes += [put("sign", "the other way"), unlayer]
    for number, change in enumerate(changes):
        bad.append((rewritten(cache, GRADIENTS, tmp_path / f"bad{number}", change), "damaged"))
    for path, word in bad:
        shutil.copy(path, target)
        refused(cli("pareto", "--run", run), word)
        # An explicit run folder is not overwritten: it may be precious.
        refused(cli("grads", "--concept", "beagle", "--run", run, *world), word)
        assert target.read_bytes() == path.read_bytes()
    assert files(run) == {"gradients.safetensors", "request.yaml"}


def test_damaged_patches(
    cli: Cli, world: list[str], made: tuple[Path, Path], taught_dir: Path, tmp_path: Path
) -> None:
    cache, patch = made
    model = taught_dir / WEIGHTS
    bad = list(damaged_copies(patch, PATCH, tmp_path))
    bad += [(cache, "is not a patch"), (tmp_path / "missing", "not found")]
    bad += [(tmp_path, "is a folder without patch.safetensors")]

    def put(key: str, value: Any) -> Callable[[Any, Any], None]:
        return lambda header, tensors: header.__setitem__(key, value)

    def tensor(part: str, change: Callable[[Any], Any]) -> Callable[[Any, Any], None]:
        def edit(header: Any, tensors: Any) -> None:
            name = next(name for name in tensors if name.startswith(part))
            tensors[name] = change(tensors[name].clone())

        return edit

    changes: list[Callable[[Any, Any], Any]] = [
        lambda header, tensors: header.pop("layers"),
        lambda header, tensors: tensors.clear(),
        tensor("original/", lambda t: t + 1),
        tensor("original/", lambda t: t[1:]),
        tensor("delta/", lambda t: t * torch.nan),
        tensor("delta/", lambda t: t.half()),
        *(put("layers", value) for value in (3, [], {}, None)),
        *(put("sum_of", value) for value in (3, [3], {}, None)),
        *(put(key, value) for key in ("request", "model", "test") for value in (3, [1], "x")),
        put("request", {"paths": 3}),
        put("test", {"before": {"forget_fine": "x"}, "after": {"forget_fine": 0}}),
        put("test", {"before": {"forget_fine": 1}}),
        put("scale", "x"),
    ]
    for number, change in enumerate(changes):
        bad.append((rewritten(patch, PATCH, tmp_path / f"bad{number}", change), "damaged"))
    for path, word in bad:
        refused(cli("patch", "show", path), word)
        refused(cli("patch", "apply", path, model, "--out", "out.safetensors"), word)
        refused(cli("evaluate", "--patch", path, *world), word)
    assert not (tmp_path / "out.safetensors").exists()
    assert cli("patch", "show", patch).code == 0  # control
    assert cli("patch", "apply", patch, model, "--out", "out.safetensors").code == 0


def test_patches_in_the_wrong_place(
    cli: Cli,
    world: list[str],
    made: tuple[Path, Path],
    taught_dir: Path,
    tiny_dir: Path,
    tmp_path: Path,
) -> None:
    _, patch = made
    other = with_option(world, "--model", f"local-dir:{tiny_dir}")
    refused(cli("evaluate", "--patch", patch, *other), "was not made for this model")
    out = ["--out", "out"]
    refused(cli("patch", "apply", patch, tiny_dir, *out), "was not made for this model")
    refused(cli("patch", "revert", patch, taught_dir, *out), "nothing to revert")
    refused(cli("patch", "revert", patch, tiny_dir, *out), "holds neither")
    refused(cli("patch", "apply", patch, "missing", *out), "no such checkpoint")
    refused(cli("patch", "apply", patch, patch.parent, *out), "no weights under a name")
    for scale in ("nan", "inf", "-inf"):
        refused(
            cli("patch", "apply", patch, taught_dir, *out, "--scale", scale),
            "not a finite number",
            code=2,
        )
    assert not list(tmp_path.iterdir())
    assert cli("patch", "apply", patch, taught_dir, *out).code == 0
    refused(cli("patch", "apply", patch, "out", "--out", "twice"), "applied already")
    refused(cli("patch", "apply", patch, taught_dir, *out), "exists already")
    refused(cli("patch", "revert", patch, "out", *out), "exists already")
    again = with_option(world, "--model", "local-dir:out")
    refused(cli("evaluate", "--patch", patch, *again), "applied already")
    # The file keeps its suffix, or says why not.
    refused(cli("patch", "apply", patch, taught_dir / WEIGHTS, "--out", "x.bad"), "must end in")
    refused(cli("patch", "apply", patch, taught_dir, "--out", "x.pt"), "is a folder", code=2)
    refused(cli("patch", "revert", patch, "out", "--out", "local-dir:x.bin"), "a folder", code=2)
    # Another form is told, the same one is not.
    for name, told in (("x.pt", True), ("x.safetensors", False)):
        ran = cli("patch", "apply", patch, taught_dir / WEIGHTS, "--out", name)
        assert ran.code == 0 and ("nothing else that stands in the file" in ran.err) == told
        (tmp_path / name).unlink()
    # A taxonomy that does not have the concept.
    (tmp_path / "other.yaml").write_text("hound: [beagle, pug]\ncat: [tabby, siamese]\n")
    refused(
        cli("evaluate", "--patch", patch, *with_option(world, "--taxonomy", "other.yaml")),
        "no concept 'dog/beagle'",
    )
    assert files(tmp_path) == {"out/open_clip_config.json", f"out/{WEIGHTS}", "other.yaml"}


# -- names that try to get out ------------------------------------------------------------------


def test_names_do_not_leave_the_run_folder(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    odd = "x\\..\\..\\y; $(touch pwned)"
    (images / "beagle").rename(images / odd)
    (images / "pug").rename(images / "~")
    flat = [*world[:2], "--data", str(images)]  # the folders are the taxonomy
    for concept, name in ((odd, "x-y-touch-pwned-"), ("~", "concept-")):
        ran = cli("apply", "--concept", concept, *flat, *STEP)
        assert "patch " in ran.out, ran
        (run,) = tmp_path.glob(f"runs/{name}*")
        assert files(run) >= {"patch.safetensors", "result.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_names_do_not_inject_html(cli: Cli, world: list[str], images: Path, tmp_path: Path) -> None:
    script = "<script>alert(1)<"  # a folder cannot hold a slash
    quote = '"><img src=x onerror=alert(2)>'
    (images / "beagle").rename(images / script)
    (images / "pug").rename(images / quote)
    (images / "tabby" / "<b>bold<b>.png").write_bytes(b"broken")
    flat = [*world[:2], "--data", str(images)]
    run = "<i>run"
    ran = cli("apply", "--concept", script, "--run", run, *flat, *STEP, report=True)
    assert "report " in ran.out, ran
    page = (tmp_path / run / "report.html").read_text()
    for text in ("<script", "<img src=x", "onerror=alert(2)>", "<b>bold", "<i>run"):
        assert text not in page
    for text in ("&lt;script&gt;alert(1)&lt;", "img src=x onerror", "&lt;i&gt;run"):
        assert text in page


def test_names_that_drawing_might_interpret(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    for old, new in (
        ("beagle", "$x_{"),
        ("pug", "{{ 7 * 7 }}"),
        ("tabby", "%s{}\\frac"),
        ("siamese", "犬_"),
    ):
        (images / old).rename(images / new)
    flat = [*world[:2], "--data", str(images)]
    ran = cli("apply", "--concept", "$x_{", *flat, *STEP, report=True)
    assert "report " in ran.out, ran
    assert "{{ 7 * 7 }}" in next(tmp_path.glob("runs/*/report.html")).read_text()
    assert cli("pareto", "--plot").code == 0


# -- disks that refuse --------------------------------------------------------------------------


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["gradients.safetensors", "patch.safetensors", "result.json"])
def test_no_space_left(
    cli: Cli, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The disk is full from the moment that `name` is flushed."""
    flush = os.fsync

    def fsync(handle: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{handle}"):  # noqa: PTH115
            full()
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    ran = cli("apply", "--concept", "beagle", *world, *STEP)
    refused(ran, "cannot write runs/beagle-", name, "no space left on the device")
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    whole = {"gradients.safetensors", "layers.json"}  # what a run finds changes all at once
    assert left == (set() if name in whole else whole)
    monkeypatch.setattr(os, "fsync", flush)
    assert "patch " in cli("apply", "--concept", "beagle", *world, *STEP).out


def test_no_space_left_for_a_model(
    cli: Cli,
    made: tuple[Path, Path],
    taught_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, patch = made
    monkeypatch.setattr(os, "fsync", full)
    for model, out in ((taught_dir, "out"), (taught_dir / WEIGHTS, "out.pt")):
        ran = cli("patch", "apply", patch, model, "--out", out)
        refused(ran, f"cannot write {out}", "no space left on the device")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 1 MiB, where this user may mount one."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() or sys.platform != "linux":
        pytest.skip("only root can mount a disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(
    cli: Cli, made: tuple[Path, Path], taught_dir: Path, small_disk: Path
) -> None:
    """safetensors and torch report a full disk in classes of their own."""
    _, patch = made
    for name in ("out.safetensors", "out.pt"):
        ran = cli("patch", "apply", patch, taught_dir / WEIGHTS, "--out", small_disk / name)
        refused(ran, "no space left on the device")
    ran = cli("patch", "apply", patch, taught_dir, "--out", small_disk / "out")
    refused(ran, "no space left on the device")
    assert not list(small_disk.iterdir())


def test_a_full_disk_in_other_words(tmp_path: Path) -> None:
    """What safetensors says, and what torch raises over the system's own error."""
    for writer in (replacing, replacing_folder):
        with pytest.raises(SlsguError, match="no space left"), writer(tmp_path / "out"):
            raise RuntimeError("I/O error: No space left on device (os error 28)")
        with pytest.raises(SlsguError, match="no space left"), writer(tmp_path / "out"):
            try:
                full()
            finally:
                raise RuntimeError("unexpected pos 64 vs 0")
        with pytest.raises(RuntimeError, match="a bug"), writer(tmp_path / "out"):
            raise RuntimeError("a bug")  # control: other errors are not taken for a full disk
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_folder_that_can_not_be_written(
    cli: Cli, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", refuse)
        ran = cli("grads", "--concept", "beagle", *world)
        refused(ran, "cannot write runs/beagle-")
        patch.setattr(Path, "mkdir", refuse)
        refused(cli("grads", "--concept", "pug", *world), "cannot write runs/pug-")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert cli("grads", "--concept", "beagle", *world).code == 0


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs /proc, which is read-only")
def test_a_folder_that_is_read_only(cli: Cli, world: list[str], made: tuple[Path, Path]) -> None:
    refused(cli("grads", "--concept", "beagle", "--run", "/proc/x", *world), "cannot write /proc/x")
    ran = cli("patch", "apply", made[1], world[1].removeprefix("local-dir:"), "--out", "/proc/x")
    refused(ran, "cannot write /proc/x")


def test_files_in_the_way(cli: Cli, world: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    refused(cli("grads", "--concept", "beagle", *world), "runs")
    (tmp_path / "runs").unlink()
    cli("grads", "--concept", "beagle", *world)
    (run,) = (tmp_path / "runs").iterdir()
    (run / "patch.safetensors").mkdir()
    refused(cli("apply", "--concept", "beagle", *world, *STEP), "cannot write", "patch.safetensors")
    (run / "gradients.safetensors").unlink()
    (run / "gradients.safetensors").mkdir()
    refused(cli("grads", "--concept", "beagle", *world), "cannot write", "gradients.safetensors")
    refused(cli("pareto", "--run", run), "cannot read gradient cache", "it is a folder")


def test_errors_of_the_system_anywhere(
    cli: Cli, world: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system refuses, wherever, ends in one line."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "some/file")

    for target in (
        "slsgu.task.plan.make_plan",
        "slsgu.pipeline.run_folder.run_folder",
        "slsgu.pipeline.run_folder.obtain_gradients",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, refuse)
            refused(cli("grads", "--concept", "beagle", *world), "some/file: Permission denied")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_memory_left(
    cli: Cli, world: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("slsgu.models.clip.Clip.encode_image", refuse)
    refused(cli("grads", "--concept", "beagle", *world), "not enough memory", "--batch-size")


def test_a_bug_is_not_hidden(cli: Cli, world: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: only what the user can mend is put in words; the rest must be reported with its
    traceback."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("slsgu.models.clip.Clip.encode_image", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli("grads", "--concept", "beagle", *world)


# -- the odds and ends -------------------------------------------------------------------------


def test_pictures_that_claim_too_much(cli: Cli, world: list[str], images: Path) -> None:
    Image.fromarray(np.zeros((1, 5000, 3), np.uint8)).save(images / "beagle" / "strip.png")
    (images / "beagle" / "loop.png").symlink_to("loop.png")
    (images / "beagle" / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(images / "beagle" / "pipe.png")
    (images / "beagle" / "again").symlink_to(images, target_is_directory=True)
    ran = cli("apply", "--concept", "beagle", *with_option(world, "--data", images), *STEP)
    assert "patch " in ran.out and "3 image(s) cannot be read" in ran.err, ran


def test_a_gradient_cache_with_other_numbers_is_not_reused(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    """A disk that lies: no byte is missing, but some are others."""
    command = ("grads", "--concept", "beagle", *world, "--run", tmp_path / "run")
    assert cli(*command).code == 0
    assert "reusing" in cli(*command).err  # control
    path = tmp_path / "run" / "gradients.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(bytes(content))
    refused(cli(*command), "does not hold what was written")


@pytest.mark.parametrize("words", ["concepts", "--help", "--version", "apply --help"])
def test_a_closed_pipe_ends_the_command_as_it_ends_others(words: str) -> None:
    command = [sys.executable, "-m", "slsgu", *words.split()]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0  # control
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, text=True)
    os.close(write)
    assert ran.returncode == 128 + signal.SIGPIPE and "Traceback" not in ran.stderr


def test_other_weights_do_not_travel_with_a_patched_folder(
    cli: Cli, taught_dir: Path, world: list[str], tmp_path: Path
) -> None:
    """A second weights file, a patch or a cache would bring the knowledge back."""
    model = shutil.copytree(taught_dir, tmp_path / "model")
    for name in ("open_clip_pytorch_model.bin", "gradients.safetensors", "notes.txt"):
        (model / name).write_bytes(b"x")
    cli("apply", "--concept", "beagle", *world, "--run", tmp_path / "run", "--force")
    patch = tmp_path / "run" / "patch.safetensors"
    ran = cli("patch", "apply", patch, model, "--out", tmp_path / "out")
    assert "gradients.safetensors, open_clip_pytorch_model.bin" in ran.err
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert "notes.txt" in kept and "open_clip_model.safetensors" in kept
    assert not {"open_clip_pytorch_model.bin", "gradients.safetensors"} & kept
    nothing = cli("patch", "apply", patch, model, "--out", tmp_path / "o2", "--scale", "0")
    refused(nothing, "0 is not", code=2)
