"""What the program asks of the C library and of OpenMP, and that the library asks nothing."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from slsgu.utils import surroundings

# The second of two large blocks, asked for when the first was given back: how many pages of it the
# system had to provide anew, and how OpenMP's threads wait.
PROBE = """
import ctypes, json, os, resource
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def touch(size=64 << 20):
    block = libc.malloc(size)
    libc.memset(block, 1, size)
    libc.free(block)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([faults, os.environ.get("OMP_WAIT_POLICY")]))
"""
PROGRAM = """
import sys
sys.argv = ["slsgu", "concepts", "nothing"]  # lists nothing; needs no model
from slsgu.__main__ import run
try:
    run()
except SystemExit:
    pass
assert "torch" not in sys.modules  # OpenMP comes with it, and looks once
"""
LIBRARY = """
import slsgu.__main__, slsgu.cli, slsgu.utils.surroundings, slsgu.pipeline.run
import torch
torch.ones(300, 300) @ torch.ones(300, 300)
"""
PAGES = (64 << 20) // 4096

glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="the C library is not glibc",
)


def probe(code: str, **environment: str) -> tuple[int, str | None]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "OMP_WAIT", "GLIBC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code + PROBE],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    faults, policy = json.loads(done.stdout.splitlines()[-1])
    return faults, policy


@glibc
def test_the_program_keeps_what_is_freed_and_its_threads_sleep() -> None:
    faults, policy = probe(PROGRAM)
    assert faults < PAGES / 10 and policy == "passive"


@glibc
def test_a_program_that_imports_the_library_is_as_it_was() -> None:
    faults, policy = probe(LIBRARY)
    assert faults > PAGES / 10 and policy is None  # the control is the test above
    assert faults >= probe("")[0] * 0.9


@glibc
@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_MMAP_THRESHOLD_": "65536"},
        {"MALLOC_MMAP_MAX_": "1000", "MALLOC_TRIM_THRESHOLD_": "65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"},
    ],
)
def test_what_the_user_has_set_stays(environment: dict[str, str]) -> None:
    faults, policy = probe(PROGRAM, OMP_WAIT_POLICY="active", **environment)
    assert faults > PAGES / 10 and policy == "active"


class Library:
    """A C library that notes what it is told."""

    def __init__(self, *, is_glibc: bool) -> None:
        self.told: dict[int, int] = {}
        self.mallopt = self.told.__setitem__
        self.trimmed = 0
        if is_glibc:
            self.gnu_get_libc_version = lambda: b"2.36"

    def malloc_trim(self, pad: int) -> int:
        self.trimmed += 1
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library(is_glibc=True)
    monkeypatch.setattr(surroundings.sys, "platform", "linux")
    monkeypatch.setattr(surroundings.ctypes, "CDLL", lambda _: library)
    return library


def test_giving_back_takes_all_of_keeping_back(libc: Library) -> None:
    """A large model is loaded by a program that keeps what is freed."""
    told = libc.told
    surroundings.keep_freed_memory({})
    kept = dict(told)
    assert not libc.trimmed
    surroundings.give_freed_memory_back({})
    assert libc.trimmed
    assert kept.keys() <= told.keys()
    assert all(told[parameter] != value for parameter, value in kept.items())


def test_one_value_of_the_user_s_leaves_the_others(libc: Library) -> None:
    told = libc.told
    surroundings.keep_freed_memory({"MALLOC_TOP_PAD_": "1"})
    assert told.keys() == surroundings.KEEP_FREED.keys() - {surroundings.M_TOP_PAD}
    told.clear()
    surroundings.give_freed_memory_back({"GLIBC_TUNABLES": "a=1:glibc.malloc.trim_threshold=5"})
    assert told.keys() == surroundings.GIVE_BACK.keys() - {surroundings.M_TRIM_THRESHOLD}


@pytest.mark.parametrize("library", [Library(is_glibc=False), object()])
def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(surroundings.sys, "platform", "linux")
    monkeypatch.setattr(surroundings.ctypes, "CDLL", lambda _: library)
    environment: dict[str, str] = {}
    surroundings.settle(environment)
    assert environment == {"OMP_WAIT_POLICY": "passive"}
    assert not getattr(library, "told", None)
