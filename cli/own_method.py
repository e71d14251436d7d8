"""A user's own method, from a Python file that the user names on the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from slsgu.search.method import Method


def own_method(path: Path) -> Method:
    """The function `method` of a file. The file is run: it is the user's own.

    Raises:
        click.UsageError: it cannot be run, or defines no such function.
    """
    name = f"slsgu_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise click.UsageError(f"--method {path}: give a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise click.UsageError(
            f"--method {path} cannot be run: {type(error).__name__}: {error}"
        ) from error
    method = getattr(module, "method", None)
    if not callable(method):
        raise click.UsageError(
            f"--method {path} defines no function `method(task, ledger, progress)`"
        )
    found: Method = method
    return found
