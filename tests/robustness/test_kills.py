"""`kill -9` and Ctrl-C at any moment: nothing half-written under a final name, and running the same
command again works.

Commands run in children of a process that has imported everything already, so that a kill at some
share of the run hits the run and not the imports. The first two tests use the installed program.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from safetensors.torch import load_file

from slsgu.gradients.gradients import Gradients
from slsgu.patch.patch import Patch
from slsgu.utils.files import file_sha256

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Reads one job a line, runs it in a child, and answers with the child's number; asked by another
# line, with its status. Until then the number is nobody else's, even if the child has ended.
# `slow` makes each flush to disk last, so that a kill can be aimed at it.
NURSERY = """
import json, os, signal, sys, time
import torch
torch.set_num_threads(1)
import matplotlib.pyplot, slsgu.pipeline.estimate, slsgu.pipeline.run, slsgu.report.html
from slsgu.cli import main
from slsgu.cli import apply, grads
flush = os.fsync
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(job["folder"])
        for number, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        os.fsync = lambda handle: (time.sleep(job["slow"]), flush(handle))
        sys.argv = ["slsgu", *job["words"]]
        code = 70
        try:
            main(job["words"], prog_name="slsgu")
        except SystemExit as done:
            code = done.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
TOGETHER = {"patch.safetensors", "result.json", "report.html", "request.yaml"}
FINAL = {"gradients.safetensors", "layers.json", *TOGETHER}


class Job:
    """A command that is running."""

    def __init__(self, pipe: subprocess.Popen[str], words: list[str], folder: Path, slow: float):
        assert pipe.stdin is not None and pipe.stdout is not None
        self._questions: IO[str] = pipe.stdin
        self._answers: IO[str] = pipe.stdout
        self.folder = folder
        pipe.stdin.write(json.dumps({"words": words, "folder": str(folder), "slow": slow}) + "\n")
        pipe.stdin.flush()
        self.number = int(self._answers.readline())

    def kill(self, how: signal.Signals) -> None:
        os.kill(self.number, how)  # at worst a child that has ended

    def status(self) -> int:
        self._questions.write("\n")
        self._questions.flush()
        return int(self._answers.readline())

    @property
    def err(self) -> str:
        return (self.folder / "err.txt").read_text()


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as pipe:
        assert pipe.stdout is not None and pipe.stdout.readline() == "ready\n"
        yield pipe


@pytest.fixture
def command(world: list[str]) -> list[str]:
    fixed = ["--tower", "language", "--trials", "4", "--force", "--save-model", "saved"]
    return ["apply", "--concept", "beagle", "--run", "run", *fixed, *world]


def wait_for(folder: Path, pattern: str, *, limit: float = 60) -> Path:
    """The first file that matches, as soon as it is there."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        for path in folder.glob(pattern):
            return path
        time.sleep(0.001)
    raise AssertionError(f"no {pattern} after {limit} s")


def whole(folder: Path) -> set[str]:
    """Check that everything under a final name is whole; returns the names."""
    run = folder / "run"
    found = {path.name for path in run.glob("[!.]*")}
    assert found <= FINAL
    if "gradients.safetensors" in found:
        Gradients.load(run / "gradients.safetensors")
    if "patch.safetensors" in found:
        Patch.load(run / "patch.safetensors")
    assert TOGETHER <= found or not TOGETHER & found
    if "layers.json" in found:
        json.loads((run / "layers.json").read_text())
    if "request.yaml" in found:
        assert yaml.safe_load((run / "request.yaml").read_text())["concept"] == "beagle"
    if "result.json" in found:
        of_one_run(run)
    if "report.html" in found:
        assert (run / "report.html").read_text().rstrip().endswith("</html>")
    if (folder / "saved").exists():
        assert load_file(folder / "saved" / "open_clip_model.safetensors")
        json.loads((folder / "saved" / "open_clip_config.json").read_text())
        found.add("saved")
    return found


def of_one_run(run: Path) -> None:
    """Check that request, patch and report are of the run that the result is of."""
    result = json.loads((run / "result.json").read_text())
    assert yaml.safe_load((run / "request.yaml").read_text())["trials"] == trials_of(result)
    assert f"--trials {trials_of(result)}" in (run / "report.html").read_text()
    assert (result["patch"] is not None) == (run / "patch.safetensors").exists()
    if result["patch"] is not None:
        assert file_sha256(run / "patch.safetensors") == result["patch_sha256"]


def trials_of(result: dict[str, Any]) -> int:
    words = result["command"].split()
    return int(words[words.index("--trials") + 1])


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.part")]


def test_whole_sees_what_is_half(tmp_path: Path) -> None:
    """Control: the check that the other tests rely on fails on half a file."""
    (tmp_path / "run").mkdir()
    assert whole(tmp_path) == set()
    for name in FINAL:
        (tmp_path / "run" / name).write_text("<html>{")
        with pytest.raises(Exception, match=r".*"):
            whole(tmp_path)
        (tmp_path / "run" / name).unlink()


# -- the installed program ----------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_program_itself(
    command: list[str], tmp_path: Path, nursery: subprocess.Popen[str], how: signal.Signals
) -> None:
    with (
        (tmp_path / "err.txt").open("w") as err,
        subprocess.Popen(
            [sys.executable, "-m", "slsgu", *command],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=err,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as program,
    ):
        wait_for(tmp_path, "run/gradients.safetensors")
        program.send_signal(how)
        code = program.wait(60)
    assert "saved" not in whole(tmp_path)
    told = (tmp_path / "err.txt").read_text()
    if how == signal.SIGINT:
        assert code == 130 and not leftovers(tmp_path)
        assert told.startswith("Interrupted") and told.count("\n") == 1
    else:
        assert code == -signal.SIGKILL and told == ""
    again = Job(nursery, command, tmp_path, 0)
    assert again.status() in (0, 1)
    assert whole(tmp_path) == {*FINAL, "saved"} and not leftovers(tmp_path)
    assert "reusing run/gradients.safetensors" in again.err


# -- while a file is written --------------------------------------------------------------------

WRITING = [
    "run/.gradients.safetensors.*.part",
    "run/.layers.json.*.part",
    "run/*.part/.patch.safetensors.*.part",
    "run/*.part/.result.json.*.part",
    "run/*.part/.report.html.*.part",
    ".saved.*.part/open_clip_model.safetensors",
]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_while_each_file_is_written(
    nursery: subprocess.Popen[str], command: list[str], tmp_path: Path, how: signal.Signals
) -> None:
    done: set[str] = set()
    for pattern in WRITING:
        job = Job(nursery, command, tmp_path, slow=0.15)
        part = wait_for(tmp_path, pattern)
        job.kill(how)
        code = job.status()
        found = whole(tmp_path)
        assert done <= found  # what was finished before is still there
        name = part.parent.name if part.parent.name.startswith(".saved") else part.name
        name = re.sub(r"\.\w+\.\d+-\w+\.part$", "", name).strip(".")
        assert name in FINAL | {"saved"}
        assert name not in found
        if how == signal.SIGKILL:
            assert code == -signal.SIGKILL and part.exists()  # it was hit while it wrote
        else:
            assert code == 130 and not leftovers(tmp_path)
            assert job.err.splitlines()[-1].startswith("Interrupted")
            assert "Traceback" not in job.err
        done = found
    last = Job(nursery, command, tmp_path, slow=0)
    assert last.status() in (0, 1), last.err
    assert whole(tmp_path) == {*FINAL, "saved"}
    assert not leftovers(tmp_path)  # what the killed runs left is gone


def test_what_another_process_writes_is_left_alone(
    nursery: subprocess.Popen[str], command: list[str], tmp_path: Path
) -> None:
    """Clearing away what a killed run left must not touch what a living one is writing."""
    from slsgu.utils.files import write_text

    job = Job(nursery, command, tmp_path, slow=0.2)
    part = wait_for(tmp_path, "run/*.part/.result.json.*.part")
    write_text(tmp_path / "run" / "result.json", "{}")
    assert part.exists()
    assert job.status() in (0, 1)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["success"] is not None
    assert not leftovers(tmp_path)


# -- at any moment ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_at_random_moments(
    nursery: subprocess.Popen[str], command: list[str], tmp_path: Path, how: signal.Signals
) -> None:
    calm = tmp_path / "calm"
    calm.mkdir()
    start = time.monotonic()
    assert Job(nursery, command, calm, 0).status() in (0, 1)
    length = time.monotonic() - start
    expected = (calm / "run" / "patch.safetensors").read_bytes()

    moments = random.Random(0)
    codes: list[int] = []
    other = ["3" if word == "4" else word for word in command]  # another number of trials
    for number in range(8):
        job = Job(nursery, other if number % 2 else command, tmp_path, 0)
        time.sleep(moments.uniform(0, 0.9) * length)
        job.kill(how)
        codes.append(job.status())
        found = whole(tmp_path)
        if how == signal.SIGINT and codes[-1] == 130:
            assert "Traceback" not in job.err and not leftovers(tmp_path)
            assert job.err.splitlines()[-1].startswith("Interrupted")
        if "saved" in found:  # that run was done before it was hit
            for path in (tmp_path / "saved").iterdir():
                path.unlink()
            (tmp_path / "saved").rmdir()
    killed = 130 if how == signal.SIGINT else -signal.SIGKILL
    assert set(codes) <= {killed, 0, 1} and codes.count(killed) >= 3, codes
    assert Job(nursery, command, tmp_path, 0).status() in (0, 1)
    assert whole(tmp_path) == {*FINAL, "saved"} and not leftovers(tmp_path)
    assert (tmp_path / "run" / "patch.safetensors").read_bytes() == expected


def test_ctrl_c_ends_the_readers_too(
    nursery: subprocess.Popen[str], world: list[str], tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole group of a terminal; no process that reads images stays behind."""
    words = ["grads", "--concept", "beagle", "--run", "run", "--workers", "2", *world]
    job: Any = Job(nursery, words, tmp_path, slow=3)
    wait_for(tmp_path, "run/.gradients.safetensors.*.part")
    job.kill(signal.SIGINT)
    assert job.status() == 130
    listed = subprocess.run(
        ["ps", "--ppid", str(job.number), "-o", "pid="], capture_output=True, text=True
    )
    assert not listed.stdout.strip() and not leftovers(tmp_path)
