"""Run a command on an input: in a child of this process, which has imported everything already, or
as a program of its own, with limits on time and memory."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY = 3 << 30  # bytes, beside what the process has already
LARGEST = 256 << 20  # bytes that one file may become
Kill = tuple[signal.Signals, float]  # a signal, and after how many seconds it is sent
UNCAUGHT = 70  # exit code of a child that ended with an exception of its own


@dataclass(frozen=True)
class Answer:
    """What a command did.

    Attributes:
        code: exit code; negative for a signal.
        out: what it printed.
        err: what it printed to stderr, as text; what is no UTF-8 stands as lone surrogates.
        crash: the traceback, if it ended with one.
        seconds: how long it took.
        hang: it was stopped since it took too long.
    """

    code: int
    out: str
    err: str
    crash: str
    seconds: float
    hang: bool


def preload() -> None:
    """Import what the commands need, so that children do not."""
    import matplotlib.pyplot
    import open_clip
    import torch
    from slsgu.cli import COMMANDS, main

    import slsgu.pipeline.estimate
    import slsgu.pipeline.run
    import slsgu.report.html
    import slsgu.search.efficiency  # noqa: F401

    torch.set_num_threads(1)
    for name in COMMANDS:
        main.get_command(None, name)  # type: ignore[arg-type, attr-defined]
    open_clip.tokenizer.tokenize("warm")
    matplotlib.pyplot.figure()
    matplotlib.pyplot.close("all")


def run_here(
    words: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str | None] | None = None,
    limit: float = 120,
    kill: Kill | None = None,
) -> Answer:
    """Run a command in a child of this process."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        start = time.monotonic()
        asked, told = os.pipe()
        child = os.fork()
        if not child:
            _be_the_child(words, folder, env or {}, place, told)
        os.close(told)
        os.read(asked, 1)  # the clock starts when the command does
        os.close(asked)
        status, hang = _wait(child, limit, kill)
        return _answer(place, status, time.monotonic() - start, hang)


def run_program(
    words: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str | None] | None = None,
    limit: float = 120,
    shell: str | None = None,
    kill: Kill | None = None,
) -> Answer:
    """Run the installed program, for what happens before and after the command itself."""
    program = shutil.which("slsgu", path=Path(sys.executable).parent) or "slsgu"
    command = [program, *words]
    if shell is not None:
        command = ["sh", "-c", shell, "sh", *command]
    whole = {**os.environ}
    for name, value in (env or {}).items():
        whole.pop(name, None)
        if value is not None:
            whole[name] = value
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        start = time.monotonic()
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            child = subprocess.Popen(
                command, cwd=folder, env=whole, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True, preexec_fn=lambda: _limit(20 << 30),
            )  # fmt: skip
        status, hang = _wait(child.pid, limit, kill)
        child.returncode = status  # it has been waited for
        return _answer(place, status, time.monotonic() - start, hang)


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _be_the_child(
    words: Sequence[str], folder: Path, env: Mapping[str, str | None], place: Path, told: int
) -> None:
    """Become the command; never returns."""
    code = UNCAUGHT
    try:
        # What the parent wants to be done at its own end, such as to remove its temporary folders,
        # is no business of the child; what the command asks for is done.
        atexit._clear()
        weakref.finalize._registry.clear()  # type: ignore[attr-defined]
        weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
        os.setsid()
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # As the interpreter opens them, whatever the parent has put in their place.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(
            2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        for name, value in env.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        warnings.resetwarnings()  # tests take them for errors, users do not
        tempfile.tempdir = None  # TMPDIR may be another now
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(pages * resource.getpagesize() + MEMORY)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        faulthandler.disable()  # pytest's: a child that dies by itself is counted, not traced
        sys.argv = ["slsgu", *words]
        from slsgu.cli import main

        os.write(told, b".")
        os.close(told)
        main(list(words), prog_name="slsgu")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        with contextlib.suppress(BaseException):
            text = "".join(traceback.format_exc())
            (place / "crash").write_text(text, encoding="utf-8", errors="backslashreplace")
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    os._exit(code & 0xFF)


def _wait(child: int, limit: float, kill: Kill | None) -> tuple[int, bool]:
    """Wait until a child ends or its time is up; then end whatever it started."""
    start, pause, hang = time.monotonic(), 0.002, False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        seconds = time.monotonic() - start
        if kill is not None and seconds >= kill[1]:
            os.kill(child, kill[0])
            kill = None
        if seconds > limit:
            hang = True
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05 if kill is None else 0.004)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status), hang


def _answer(place: Path, code: int, seconds: float, hang: bool) -> Answer:
    def text(name: str) -> str:
        try:
            with (place / name).open("rb") as file:
                return file.read(1 << 20).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""

    err, crash = text("err"), text("crash")
    if not crash and "Traceback (most recent call last)" in err:
        crash = err[err.index("Traceback (most recent call last)") :]
    return Answer(code, text("out"), err, crash, seconds, hang)
