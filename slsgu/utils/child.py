"""Processes of Python that slsgu starts itself. None of them looks for modules in the working
directory, where a stranger's files may lie."""

from __future__ import annotations

import os
import sys


def python(*words: str) -> list[str]:
    """The words of a command that runs this Python."""
    return [sys.executable, "-P", *words]


def environment(**more: str) -> dict[str, str]:
    """The variables of this process, with which another one finds the same modules.

    Args:
        more: variables of its own.
    """
    found = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": found, **more}
