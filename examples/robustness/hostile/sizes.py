"""Files without an end, and things that are no files, where a file is meant."""

from __future__ import annotations

import os

from hostile.case import Bench, Case


def sizes(bench: Bench) -> Case:
    """A file without an end, or that is none, where a file is meant."""
    rng, world = bench.rng, bench.world
    suffix = rng.choice(
        (".tar", ".csv", ".jsonl", ".yaml", ".txt", ".safetensors", ".pt", ".png", "")
    )
    path = bench.inputs / f"odd-file{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = rng.choice(
        ("sparse", "zero", "fifo", "folder", "loop", "socket", "full", "null", "random")
    )
    if kind == "sparse":
        with path.open("wb") as file:
            file.truncate(rng.choice((1 << 33, 1 << 40)))
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
    file_, patch = str(path), str(world.patch)
    line = rng.choice(
        [
            ["select", "--source", file_, "--match", "x"],
            ["evaluate", *world.model, *world.quick, "--data", file_, *world.taxonomy],
            ["evaluate", *world.model, *world.data, *world.quick, "--taxonomy", file_],
            ["evaluate", *world.all, "--templates", file_],
            ["evaluate", *world.all, "--patch", file_],
            ["evaluate", *world.all, "--model", "ViT-B-32", "--pretrained", file_],
            ["evaluate", *world.all, "--also", f"other={file_}"],
            ["concepts", "--taxonomy", file_],
            ["concepts", "--data", file_],
            ["apply", "--request", file_, "--dry-run"],
            [
                "grads",
                *world.model,
                "--forget",
                file_,
                "--name",
                "x",
                "--run",
                "run",
                "--retain",
                str(world.root / "retain.tar"),
                "--classes",
                file_,
            ],
            ["patch", "show", file_],
            ["patch", "apply", file_, str(world.root / "model"), "--out", "o"],
            ["patch", "apply", patch, file_, "--out", "o"],
            ["patch", "revert", patch, file_, "--out", "o"],
            ["pareto", "--run", file_],
            ["patch", "apply", patch, str(world.root / "model.pt"), "--out", file_],
            ["menagerie", "sheet", "--out", file_],
            [
                "select",
                "--source",
                str(world.root / "pairs.csv"),
                "--match",
                "photo",
                "--out",
                file_,
            ],
        ]
    )
    names = ["odd-file", "/dev/"]
    return Case(f"sizes, {kind} as {suffix or 'a file'}: {' '.join(line[:2])}", line, names=names)


KINDS = {"sizes": sizes}
