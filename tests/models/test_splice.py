"""A safetensors file with tensors replaced is the file that writing all of it gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slsgu.errors import ModelError
from slsgu.models import splice as module
from slsgu.models.checkpoint import read_state_dict
from slsgu.models.splice import fits, splice
from slsgu.patch.patch import Patch
from slsgu.patch.rewrite import rewrite_model

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (5, 7)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_only_the_replaced_tensor_differs(
    dtype: torch.dtype, shape: tuple[int, ...], prefix: str, tmp_path: Path
) -> None:
    tensors = {name: torch.randn(shape).to(dtype) for name in ("c", "a", "b")}
    tensors["count"] = torch.tensor(3)
    stored = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    save_file(stored, tmp_path / "in.safetensors", metadata={"format": "pt", "of": "somebody"})
    new = torch.randn(shape).to(dtype)
    splice(tmp_path / "in.safetensors", tmp_path / "out.safetensors", {"a": new})
    assert fits(new, tensors["a"])
    found = load_file(tmp_path / "out.safetensors")
    assert torch.equal(found[f"{prefix}a"], new)
    others = [name for name in stored if name != f"{prefix}a"]
    assert all(torch.equal(found[name], stored[name]) for name in others)
    one, other = ((tmp_path / f"{x}.safetensors").read_bytes() for x in ("in", "out"))
    size = 8 + int.from_bytes(one[:8], "little")
    assert one[:size] == other[:size] and len(one) == len(other) and one != other
    # Putting the old one back gives the old file.
    splice(tmp_path / "out.safetensors", tmp_path / "back.safetensors", {"a": tensors["a"]})
    assert (tmp_path / "back.safetensors").read_bytes() == one


def test_a_transposed_tensor_is_written_as_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "in.safetensors"
    save_file({"a": torch.zeros(3, 4)}, path)
    new = torch.arange(12.0).reshape(4, 3).T
    splice(path, tmp_path / "out.safetensors", {"a": new})
    assert torch.equal(load_file(tmp_path / "out.safetensors")["a"], new)


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    for tensors in ({"b": torch.ones(3)}, {"a": torch.ones(4)}, {"a": torch.ones(3).half()}):
        with pytest.raises(ModelError, match="changed while it was read"):
            splice(path, out, tensors)
    assert not out.exists()
    splice(path, out, {"a": torch.ones(3)})  # control


def test_what_does_not_fit_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of dtype, another tensor, or a pickle: the long way."""
    calls: list[Path] = []
    monkeypatch.setattr("slsgu.patch.rewrite.splice", lambda *a: calls.append(a[0]) or splice(*a))
    path = tmp_path / "in.safetensors"
    save_file({"a": torch.zeros(3), "b": torch.ones(3)}, path)
    for number, change in enumerate(
        (
            lambda t: {**t, "a": t["a"].half() + 1},
            lambda t: {**t, "c": torch.ones(2)},
            lambda t: {"a": t["a"] + 1},
        )
    ):
        rewrite_model(path, tmp_path / f"{number}.safetensors", change)
        wanted = change(load_file(path))
        found = load_file(tmp_path / f"{number}.safetensors")
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[n], wanted[n]) for n in wanted)
        assert all(found[n].dtype == wanted[n].dtype for n in wanted)
    rewrite_model(path, tmp_path / "x.pt", lambda t: {**t, "a": t["a"] + 1})
    assert not calls
    rewrite_model(path, tmp_path / "y.safetensors", lambda t: {**t, "a": t["a"] + 1})  # control
    assert calls == [path]


def test_a_model_larger_than_memory_can_be_patched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.safetensors"
    save_file({"a": torch.zeros(30), "b": torch.ones(3000)}, path)
    patch = Patch({"a": torch.ones(30)}, {"a": torch.zeros(30)})
    monkeypatch.setattr("slsgu.models.tensors.free_bytes", lambda: 1000)
    with pytest.raises(ModelError, match="1,000 are free in memory"):  # control
        read_state_dict(path)
    rewrite_model(path, tmp_path / "out.safetensors", patch.apply_to)
    assert torch.equal(load_file(tmp_path / "out.safetensors")["a"], torch.ones(30))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
def test_the_other_tensors_are_not_read(tmp_path: Path) -> None:
    """256 MiB beside the layer: the peak of this process stays where it is."""
    path = tmp_path / "in.safetensors"
    save_file({"a": torch.zeros(30), "large": torch.ones(64 << 20)}, path)
    Patch({"a": torch.ones(30)}, {"a": torch.zeros(30)}).save(tmp_path / "p")
    code = (
        "import re, sys\n"
        "from slsgu.patch.patch import Patch\n"
        "from slsgu.patch.rewrite import rewrite_model\n"
        "def kib(key):\n"
        "    return int(re.search(key + r':\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = kib('VmRSS')\n"
        "change = Patch.load(sys.argv[1]).apply_to\n"
        "if len(sys.argv) > 4: whole = change; change = lambda t: {**whole(t), 'x': t['a']}\n"
        "rewrite_model(sys.argv[2], sys.argv[3], change)\n"
        "print((kib('VmHWM') - before) << 10)\n"
    )

    grown = []
    for number, extra in enumerate(([], ["whole"])):  # the second is a control: all is written
        words = [sys.executable, "-c", code, str(tmp_path / "p"), str(path)]
        words += [str(tmp_path / f"out{number}.safetensors"), *extra]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        grown.append(int(done.stdout))
    assert grown[0] < 64 << 20 < 200 << 20 < grown[1]


def test_the_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({"a": torch.zeros(3)}, path)

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(Exception, match="no space left"):
        splice(path, out, {"a": torch.ones(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["in.safetensors"]
