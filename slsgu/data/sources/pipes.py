"""Shards that come through a pipe: kept in a temporary file while the program runs.

    pipe:COMMAND    or another address that the webdataset library opens

The pictures in them may be of what is to be forgotten. So the folder they are kept in is private to
the user, goes when the program ends, and is cleared away by the next one where it was killed.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from slsgu.errors import DataError
from slsgu.utils.temporaries import remove_stale, temporary_name
from slsgu.utils.wording import printable

_FOLDER = "slsgu-pipe"  # beside other temporaries, as `temporary_name` calls it
_SPOOLED: dict[str, Path] = {}


def spooled(url: str) -> Path:
    """What comes from a pipe, in a temporary file that is removed when the program ends; fetched
    once.

    Raises:
        DataError: it cannot be fetched or kept, or the webdataset library is not there.
    """
    if url not in _SPOOLED:
        gopen = _gopen(url)
        path = _folder() / f"{len(_SPOOLED)}.tar"
        try:
            with gopen(url) as stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file)
        except Exception as error:  # whatever a command or a server does
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise DataError(f"cannot read {printable(url)}: {_in_words(error)}") from None
        _SPOOLED[url] = path
    return _SPOOLED[url]


def remove_leftovers() -> None:
    """Remove what killed programs have left of their pipes; what a living one keeps stays."""
    with contextlib.suppress(OSError):  # no temporary folder can be used
        remove_stale(Path(tempfile.gettempdir()), _FOLDER)


def _folder() -> Path:
    """The folder of this program, made when it is needed first."""
    if "" not in _SPOOLED:
        try:
            folder = Path(tempfile.gettempdir()) / temporary_name(_FOLDER)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)  # before it is there
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise DataError(
                f"no temporary file can be made for what comes from a pipe ({error.strerror}): "
                "set TMPDIR to a folder that can be written"
            ) from None
        _SPOOLED[""] = folder
    return _SPOOLED[""]


def _in_words(error: Exception) -> str:
    """What the webdataset library has to say; its own words for a command that fails are the
    arguments of `subprocess.Popen`."""
    text = str(error)
    if match := re.search(r"\bexit (\d+)", text):
        return f"the command that fetches it ended with exit status {match[1]}"
    if "no gopen handler" in text:
        return "webdataset cannot open such an address; give a command, 'pipe:COMMAND'"
    return printable(text)


def _gopen(url: str) -> Any:
    """The function of the webdataset library that opens an address."""
    try:
        return importlib.import_module("webdataset.gopen").gopen
    except ImportError:
        raise DataError(
            f"{url.split(':')[0]}: in a source needs the webdataset library: "
            "pip install 'slsgu[webdataset]'"
        ) from None
