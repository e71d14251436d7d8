"""What the tests of bad input have in common."""

from __future__ import annotations

from pathlib import Path

from helpers.commands import Ran

WEIGHTS = "open_clip_model.safetensors"
STEP = ["--layer", "text_projection", "--step", "1e-6", "--force"]  # one trial, whatever it does


def files(folder: Path) -> set[str]:
    """Everything below a folder, by relative name."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refused(ran: Ran, *words: str, code: int = 1) -> None:
    """The command failed, said why on stderr, and printed nothing else."""
    assert ran.code == code and not ran.out, ran
    assert "Error: " in ran.err, ran.err
    for word in words:
        assert word in ran.err, ran.err


def with_option(world: list[str], name: str, value: str | Path) -> list[str]:
    """`world` with another value for one of its options."""
    changed = list(world)
    changed[changed.index(name) + 1] = str(value)
    return changed
