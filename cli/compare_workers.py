"""Processes of `slsgu compare --jobs`, each with its share of the methods."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import click

SHARE = "_SLSGU_COMPARE_SHARE"  # tells a process that it is the second of three, say: 1/3


def own_share() -> tuple[int, int] | None:
    """The number of this process among those that share the methods, and how many they are; None
    in the one that the user has started.

    Raises:
        click.UsageError: somebody else has set the variable.
    """
    if (text := os.environ.get(SHARE)) is None:
        return None
    parts = re.fullmatch("([0-9]{1,2})/([0-9]{1,2})", text)
    if parts is None or int(parts[1]) >= int(parts[2]):
        raise click.UsageError(f"{SHARE} is {text!r} in the environment: unset it")
    return int(parts[1]), int(parts[2])


def end_with_parent() -> None:
    """Let this process end when the one that started it does, however that ends: a process that is
    killed cannot say so, but the pipe that it holds is closed. What is done is on the disk."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def methods_of(share: tuple[int, int], methods: Iterable[str]) -> set[str]:
    """Which of the methods a process runs."""
    number, of = share
    return {name for index, name in enumerate(methods) if index % of == number}


def spread(jobs: int, folder: Path) -> None:
    """Let several processes fill the cells in a folder, each with its share of the methods. None
    of them looks for modules in the working directory.

    Raises:
        SlsguError: one of them failed.
    """
    from slsgu.errors import SlsguError
    from slsgu.utils.child import environment, python

    words = python("-m", "slsgu", *sys.argv[1:], "--out", str(folder))
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(jobs):
            env = environment(**{SHARE: f"{number}/{jobs}"})
            started.append(subprocess.Popen(words, env=env, stdin=subprocess.PIPE))
        codes = [process.wait() for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
            assert process.stdin is not None
            process.stdin.close()
    if any(codes):
        raise SlsguError(
            "one of the processes failed (see above). What is done is kept: the same command goes "
            "on from there"
        )
