"""Where what can be made again is kept: the user's own cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from slsgu.errors import SlsguError

VARIABLE = "SLSGU_CACHE_DIR"


def cache_folder() -> Path:
    """`$SLSGU_CACHE_DIR`, or `slsgu` in the user's cache folder.

    Raises:
        SlsguError: the user has no home folder, as in a container under a number without a name.
    """
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "slsgu"
    try:
        return Path.home() / ".cache" / "slsgu"
    except RuntimeError:
        raise SlsguError(
            f"there is no home folder for the cache: set {VARIABLE} to a folder"
        ) from None
