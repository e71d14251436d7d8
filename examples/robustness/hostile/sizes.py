"""Files without an end, and things that are no files, where a file is meant."""

from __future__ import annotations

import os
from pathlib import Path

from hostile.case import Bench, Case
from hostile.world import World


def sizes(bench: Bench) -> Case:
    """A file without an end, or that is none, where a file is meant."""
    rng = bench.rng
    suffix = rng.choice(
        (".tar", ".csv", ".jsonl", ".yaml", ".txt", ".safetensors", ".pt", ".png", "")
    )
    path = bench.inputs / f"odd-file{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = rng.choice(
        ("sparse", "zero", "fifo", "folder", "loop", "socket", "full", "null", "random")
    )
    _make(bench, kind, path)
    line = rng.choice(_commands(bench.world, str(path)))
    names = ["odd-file", "/dev/"]
    return Case(f"sizes, {kind} as {suffix or 'a file'}: {' '.join(line[:2])}", line, names=names)


def _make(bench: Bench, kind: str, path: Path) -> None:
    """Make a file without an end, or something that is none."""
    if kind == "sparse":
        with path.open("wb") as file:
            file.truncate(bench.rng.choice((1 << 33, 1 << 40)))
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as one:
            here = os.open(path.parent, os.O_RDONLY)
            try:
                one.bind(f"/proc/self/fd/{here}/{path.name}")
            finally:
                os.close(here)
    else:
        path.symlink_to(
            {
                "zero": "/dev/zero",
                "full": "/dev/full",
                "null": "/dev/null",
                "random": "/dev/urandom",
            }[kind]
        )


def _commands(world: World, file: str) -> list[list[str]]:
    """Command lines that read or write a file, each in another place."""
    patch = str(world.patch)
    return [
        ["select", "--source", file, "--match", "x"],
        ["evaluate", *world.model, *world.quick, "--data", file, *world.taxonomy],
        ["evaluate", *world.model, *world.data, *world.quick, "--taxonomy", file],
        ["evaluate", *world.all, "--templates", file],
        ["evaluate", *world.all, "--patch", file],
        ["evaluate", *world.all, "--model", "ViT-B-32", "--pretrained", file],
        ["evaluate", *world.all, "--also", f"other={file}"],
        ["concepts", "--taxonomy", file],
        ["concepts", "--data", file],
        ["apply", "--request", file, "--dry-run"],
        [
            "grads",
            *world.model,
            "--forget",
            file,
            "--name",
            "x",
            "--run",
            "run",
            "--retain",
            str(world.root / "retain.tar"),
            "--classes",
            file,
        ],
        ["patch", "show", file],
        ["patch", "apply", file, str(world.root / "model"), "--out", "o"],
        ["patch", "apply", patch, file, "--out", "o"],
        ["patch", "revert", patch, file, "--out", "o"],
        ["pareto", "--run", file],
        ["patch", "apply", patch, str(world.root / "model.pt"), "--out", file],
        ["menagerie", "sheet", "--out", file],
        [
            "select",
            "--source",
            str(world.root / "pairs.csv"),
            "--match",
            "photo",
            "--out",
            file,
        ],
    ]


KINDS = {"sizes": sizes}
