"""Caches and patches that are damaged, or in the wrong place.

Bad input gets a clear message and the right exit status; nothing is lost, and never a traceback:
the `cli` fixture fails on any exception that is not an exit status.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from helpers.bad_input import WEIGHTS, files, refused, with_option
from helpers.commands import Ran
from safetensors.torch import save_file

from slsgu.gradients.gradients import KIND as GRADIENTS
from slsgu.patch.patch import KIND as PATCH
from slsgu.utils.artifact import read_artifact, write_artifact

Cli = Callable[..., Ran]


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
