"""Signals that would end a program without a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slsgu.utils.signals import BUS_ERROR

CUT = """
import os, sys, torch
from safetensors.torch import load_file, save_file
from slsgu.utils.signals import tell_of_bus_errors
if sys.argv[2] == "told":
    tell_of_bus_errors()
save_file({"a": torch.ones(1 << 20)}, sys.argv[1])
weights = load_file(sys.argv[1])
os.truncate(sys.argv[1], 4096)
print(weights["a"].sum())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of Linux")
def test_a_file_that_is_cut_while_it_is_read_ends_in_a_message(tmp_path: Path) -> None:
    def run(how: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", CUT, str(tmp_path / "a.safetensors"), how]
        return subprocess.run(words, capture_output=True, text=True, timeout=60)

    told = run("told")
    assert (told.returncode, told.stderr, told.stdout) == (1, f"{BUS_ERROR}\n", "")
    assert run("untold").returncode == -7  # control


SWALLOWED = """
import os, signal, sys, time, weakref
from slsgu.utils.signals import interrupts

class Thing:
    pass

def gone(reference):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):  # where the handler runs, and its exception is lost
        pass

with interrupts() as received:
    if sys.argv[1] == "usual":
        sys.unraisablehook = sys.__unraisablehook__
    thing = Thing()
    kept = weakref.ref(thing, gone)
    try:
        del thing
        time.sleep(2)
        print("went on")
    except KeyboardInterrupt:
        print("ended", received[0])
"""


def test_a_signal_that_python_swallows_is_raised_again() -> None:
    def run(how: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", SWALLOWED, how]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    ended = run("ours")
    assert (ended.stdout, ended.stderr) == ("ended 15\n", "")
    usual = run("usual")  # control
    assert usual.stdout == "went on\n" and "KeyboardInterrupt" in usual.stderr
