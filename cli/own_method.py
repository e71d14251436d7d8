"""A user's own method, from a Python file that the user names on the command line."""

from __future__ import annotations

import hashlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from slsgu.search.method import Method

MOST_BYTES = 4 << 20  # of a Python file


@dataclass(frozen=True)
class OwnMethod:
    """A method of a user.

    Attributes:
        name: that of its file, as it can be printed.
        call: the function `method`.
        sha256: of the file.
    """

    name: str
    call: Method
    sha256: str


def own_method(path: Path) -> OwnMethod:
    """The function `method` of a file. The file is run: it is the user's own. What is run is what
    was read, not what Python may have compiled of it before.

    Raises:
        click.UsageError: it cannot be run, or defines no such function.
    """
    from slsgu.compare.own import blaming, refuse_unusable
    from slsgu.errors import SlsguError
    from slsgu.utils.reading import read_bytes
    from slsgu.utils.wording import printable

    if path.suffix != ".py":
        raise click.UsageError(f"--method {path}: give a Python file (.py)")
    module = types.ModuleType(f"slsgu_own_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        source = read_bytes(path, "method", limit=MOST_BYTES)
        with blaming("it"):
            exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
        method = getattr(module, "method", None)
        if callable(method):
            refuse_unusable(method)
    except SlsguError as error:
        raise click.UsageError(f"--method {path} cannot be run: {error}") from error
    if not callable(method):
        raise click.UsageError(
            f"--method {path} defines no function `method(task, ledger, progress)`"
        )
    found: Method = method
    return OwnMethod(printable(path.stem), found, hashlib.sha256(source).hexdigest())
