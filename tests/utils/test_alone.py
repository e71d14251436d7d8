"""One writer of a folder at a time, and no trace of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slsgu.errors import SlsguError
from slsgu.utils.alone import alone

HOLD = """
import sys
from pathlib import Path
from slsgu.utils.alone import alone
with alone(Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_ends_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(SlsguError, match="another slsgu compare is at work in"):
            with alone(tmp_path, "slsgu compare"):
                raise AssertionError("it was let in")
        (other := tmp_path / "other").mkdir()
        with alone(other, "slsgu compare"):  # control: another folder
            pass
        holder.kill()
    with alone(tmp_path, "slsgu compare"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_what_is_raised_within_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), alone(tmp_path, "a test"):
        raise BlockingIOError
    with alone(tmp_path, "a test"):  # it has let go
        pass
