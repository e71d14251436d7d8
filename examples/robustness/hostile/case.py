"""One hostile input: what was damaged, and the command that is given it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hostile.world import World

Maker = Callable[["Bench"], "Case"]


@dataclass(frozen=True)
class Case:
    """An input and the command line that reads it.

    Attributes:
        title: what was done to the input, for people.
        words: the command line, without `slsgu`.
        bad: nobody could use the input as it stands, so to accept it in silence is a finding.
        names: an error must hold one of these, so that its reader knows which input was meant.
        env: variables that are set, or with None removed.
        real: run as a program of its own, not in a child of this process.
        shell: a line for `sh -c` in place of `slsgu` alone; `"$@"` stands for the command.
        codes: the exit codes that are right.
    """

    title: str
    words: Sequence[str]
    bad: bool = False
    names: Sequence[str] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)
    real: bool = False
    shell: str | None = None
    codes: frozenset[int] = frozenset({0, 1, 2})


@dataclass(frozen=True)
class Bench:
    """Where a case is made: a folder of its own, real artifacts to copy, and random numbers.

    Attributes:
        folder: the working directory of the command; `inputs` in it must not change.
        canary: a file that only code of ours in an input would write.
    """

    folder: Path
    world: World
    rng: random.Random
    canary: Path

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    def copy(self, name: str, to: str | None = None, *, writable: bool = False) -> Path:
        """A file or folder of the world, to be damaged; one that is `writable` lies beside the
        inputs, since the command may change it."""
        folder = self.folder if writable else self.inputs
        source, target = self.world.root / name, folder / (to or Path(name).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        return target

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        return path
