"""Disks that refuse, and a system that fails.

Bad input gets a clear message and the right exit status; nothing is lost, and never a traceback:
the `cli` fixture fails on any exception that is not an exit status.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bad_input import STEP, WEIGHTS, refused
from helpers.commands import Ran

from slsgu.errors import SlsguError
from slsgu.utils.files import replacing, replacing_folder

Cli = Callable[..., Ran]


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


def test_a_disk_that_is_read_only(
    cli: Cli, made: tuple[Path, Path], taught_dir: Path, world: list[str], small_disk: Path
) -> None:
    _, patch = made
    weights = taught_dir / WEIGHTS
    apply = ["apply", "--concept", "beagle", *world, *STEP]
    commands = [
        ["grads", "--concept", "beagle", *world, "--run", small_disk / "run"],
        [*apply, "--run", small_disk / "new" / "run"],
        [*apply, "--save-model", small_disk / "model"],
        ["patch", "apply", patch, taught_dir, "--out", small_disk / "out"],
        ["patch", "apply", patch, weights, "--out", small_disk / "out.pt"],
        ["patch", "scale", patch, "2", "--out", small_disk / "out.safetensors"],
        ["menagerie", "sheet", "--out", small_disk / "out.png"],
    ]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for words in commands:
        ran = cli(*words)
        assert ran.code == 1 and f"cannot write {small_disk}" in ran.err, ran
        assert "Read-only file system" in ran.err
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert not list(small_disk.iterdir())
    assert cli(*commands[5]).code == 0  # control


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


@pytest.mark.parametrize("words", ["concepts", "--help", "--version", "apply --help"])
def test_a_closed_pipe_ends_the_command_as_it_ends_others(words: str) -> None:
    command = [sys.executable, "-m", "slsgu", *words.split()]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0  # control
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, text=True)
    os.close(write)
    assert ran.returncode == 128 + signal.SIGPIPE and "Traceback" not in ran.stderr
