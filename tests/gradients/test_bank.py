"""The cache of retain gradients where the disk is not as one would wish."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.commands import Ran
from safetensors.torch import save_file

from slsgu.errors import SlsguError, SlsguWarning
from slsgu.gradients.accumulate import LossGradient
from slsgu.gradients.bank import RetainCache, cache_folder

Cli = Callable[..., Ran]
FOUND = LossGradient({"a": torch.ones(2)}, None, 0.5, 3, finished=True)


def filled(folder: Path, *keys: str) -> RetainCache:
    cache = RetainCache(folder)
    for key in keys:
        cache.save({"key": key}, FOUND, ["x"], title=key)
    return cache


def test_what_cannot_be_kept_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(SlsguWarning, match="is not kept for later requests: .*file"):
        filled(tmp_path / "file", "a")
    assert [title for *_, title in filled(tmp_path / "new", "a").entries()]  # control


def test_what_goes_away_meanwhile_is_passed_over(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", "b", "c")
    entries = cache.entries()
    first, *_ = next(entries)
    for path in tmp_path.iterdir():
        if path != first:
            path.unlink()
    assert list(entries) == []
    assert [path for path, *_ in cache.entries()] == [first]  # control


def test_an_odd_entry_is_told_and_holds_up_nothing(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a")
    (whole,) = tmp_path.iterdir()
    os.mkfifo(tmp_path / "retain-0.safetensors")
    loop = tmp_path / "retain-1.safetensors"
    loop.symlink_to(loop)
    (tmp_path / "retain-2.safetensors").symlink_to("/nonexistent")
    (tmp_path / "retain-3.safetensors").symlink_to("/dev/zero")
    huge = tmp_path / "retain-4.safetensors"
    huge.touch()
    os.truncate(huge, 1 << 42)
    (tmp_path / "retain-5.safetensors").write_bytes(whole.read_bytes()[:-1])
    for number, metadata in enumerate(
        ({"slsgu": "[" * 1000 + "]" * 1000}, {"slsgu": "NaN"}, {"slsgu": "{}"}), start=6
    ):
        save_file({"a": torch.ones(1)}, tmp_path / f"retain-{number}.safetensors", metadata)
    titles = {path.name: title for path, _, title in cache.entries()}
    assert titles.pop(whole.name) == "a, 3 images"
    assert len(titles) == 9 and all(title.startswith("unusable: ") for title in titles.values())
    assert cache.clear()[0] == 10 and not list(tmp_path.iterdir())


def test_a_title_is_shown_without_commands_to_the_terminal(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a\x1b]0;owned\x07")
    ((_, _, title),) = cache.entries()
    assert title.isprintable() and "owned" in title


def test_clearing_goes_on_after_one_that_stays(cli: Cli, tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", "b")
    odd = tmp_path / "retain-0.safetensors"
    odd.mkdir()
    with pytest.raises(SlsguError, match=r"cannot remove .*retain-0.*; removed 2 other"):
        cache.clear()
    assert list(tmp_path.iterdir()) == [odd]


def test_clearing_takes_what_killed_writers_left(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a")
    host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
    left = tmp_path / f".retain-00.safetensors.{host}.4194304-abcd.part"  # no such process
    other = tmp_path / f".notes.txt.{host}.4194304-abcd.part"
    for path in (left, other):
        path.touch()
    assert cache.clear()[0] == 1
    assert list(tmp_path.iterdir()) == [other]  # somebody else's business


def test_without_a_home_folder_there_is_no_cache(
    cli: Cli, world: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container under a number without a name."""

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SLSGU_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert cli("grads", "--concept", "beagle", *world).code == 0
    for word in ("list", "clear"):
        ran = cli("cache", word)
        assert ran.code == 1 and "no home folder for the cache: set SLSGU_CACHE_DIR" in ran.err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "slsgu"
