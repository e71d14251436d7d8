"""Files that are either whole or absent: write beside, flush, rename.

Every artifact goes through `replacing` or `replacing_folder`, so a crash, a full disk or `kill -9`
can leave a stray temporary (named `.NAME.HOST.PID-*.part`, removed by the next writer of NAME),
never half a result.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slsgu.errors import ArtifactError, SlsguError
from slsgu.utils.reading import read_text
from slsgu.utils.temporaries import glob_escape, release, remove_stale, short, temporary_name

_REFUSALS = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this process or this disk allows (ulimit -f)",
}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed.

    Args:
        path: the final name. Its folder is created. An existing file is replaced in one step.

    Raises:
        SlsguError: the disk is full or the folder cannot be written. `path` is as it was.
    """
    with _beside(path) as part:
        part.touch(exist_ok=False)
        mode = _make_ours(part)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(mode)  # safetensors has put a private file in its place
        part.replace(path)


def exists(path: Path) -> bool:
    """Whether something has this name already, be it a link that leads nowhere or to itself."""
    return os.path.lexists(path)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder that must not exist yet.

    Raises:
        SlsguError: `path` exists, or the disk refuses.
    """
    with _beside(path) as part:
        if exists(path):
            raise SlsguError(f"{path} exists already; give a new folder or remove it first")
        part.mkdir()
        mode = _make_ours(part)
        yield part
        for inside in part.rglob("*"):
            if inside.is_file():
                with inside.open("rb+") as file:
                    os.fsync(file.fileno())
                inside.chmod(mode & 0o666)
        part.rename(path)
        path.chmod(mode)


def refuse_target(path: Path, *, force: bool) -> None:
    """Refuse a name to write to where something is that should stay: before the work begins.

    Args:
        path: what is to be written, by `replacing`.
        force: a regular file may be replaced.

    Raises:
        SlsguError: there is a folder, a device or another thing that is no regular file; or there
            is a file, and `force` is not set.
    """
    try:
        try:
            status = path.stat()
        except FileNotFoundError:
            status = path.lstat()  # a link to nothing
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SlsguError(f"cannot write {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link to nothing"}
        what = kind.get(stat.S_IFMT(status.st_mode), "a pipe or a device")
        raise SlsguError(f"{path} is {what}, not a regular file: give another name")
    if not force:
        raise SlsguError(f"{path} exists already: give another name, or --force to replace it")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (no NaN), whole or not at all.

    Raises:
        SlsguError: a number in it is not finite, or the disk refuses.
    """
    text = json_text(value, f"cannot write {path}", indent=2, ensure_ascii=False)
    write_text(path, text + "\n")


def json_text(value: Any, problem: str, **layout: Any) -> str:
    """`value` as JSON, which has no way to write NaN and infinity.

    Args:
        problem: begins the message where it cannot be written.
        layout: of `json.dumps`.

    Raises:
        SlsguError: a number in it is not finite; the message says which.
    """
    try:
        return json.dumps(value, allow_nan=False, **layout)
    except ValueError:
        if (place := _not_finite(value)) is None:
            raise
        raise SlsguError(
            f"{problem}: {place}, which is not a finite number. A value that it was computed from "
            "is far too large, or the file that it came from is damaged"
        ) from None


def _not_finite(value: Any, place: str = "") -> str | None:
    """The first number of a JSON value that is NaN or infinite, and its place, in words."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place.removeprefix('.') or 'it'} is {value}"
    entries: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        entries = [(f".{key}", inside) for key, inside in value.items()]
    elif isinstance(value, list | tuple):
        entries = [(f"[{index}]", inside) for index, inside in enumerate(value)]
    found = (_not_finite(inside, place + step) for step, inside in entries)
    return next((text for text in found if text is not None), None)


def read_json(path: Path, what: str) -> Any:
    """Read JSON; `what` names the artifact in the error.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what} is damaged: {path} ({error})") from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def slug(text: str, length: int = 60) -> str:
    """A name that is safe as one path component: lower-case ASCII letters, digits and dashes.

    >>> slug("Golden retriever"), slug("../../etc/passwd"), slug("<b>")
    ('golden-retriever', 'etc-passwd', 'b')
    """
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return text[:length].rstrip("-") or "concept"


def _make_ours(path: Path) -> int:
    """Let this user write to a new file or folder, whatever the umask.

    Returns:
        The mode that the kernel gave it, which is the one that the user's files have. To ask for
        the umask means to change it, for every thread of the process.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | (0o700 if path.is_dir() else 0o600))
    return mode


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a name for a temporary of `path` that no other process or thread takes. It is gone at
    the end, and what the disk refuses within is told of `path`."""
    part = path.parent / temporary_name(path.name)  # an interrupt at any moment takes it away
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent, glob_escape(short(path.name)))
        yield part
        _sync_folder(path.parent)
    except Exception as error:
        if (refusal := _in_words(error, path, part)) is None:
            raise
        raise refusal from error
    finally:
        release(part)
        if os.path.isdir(part):  # noqa: PTH112 - no error where the name is too long
            shutil.rmtree(part, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _in_words(error: Exception, path: Path, part: Path) -> SlsguError | None:
    """What the disk refused, in words; None for any other error, which is raised as it is."""
    if isinstance(error, SlsguError):
        # From a file inside a folder, which is to be called by its final name.
        error.args = (str(error).replace(str(part), str(path)), *error.args[1:])
        return None
    cause: BaseException | None = error  # torch raises its own error over the disk's
    visited: set[int] = set()
    while cause is not None and id(cause) not in visited:  # an error may be its own cause
        visited.add(id(cause))
        if (reason := _refused(cause)) is not None:
            # Where it is another file, such as one that is copied, that one is named.
            name = getattr(cause, "filename", None)
            told = name is None or any(str(x).startswith(str(name)) for x in (path, part))
            inside = str(name).startswith((str(path), str(part)))
            where = path if told or inside else f"{path}: {name}"
            return SlsguError(f"cannot write {where}: {reason}")
        cause = cause.__cause__ or cause.__context__
    return None


def _refused(error: BaseException) -> str | None:
    """What a disk refused, in words; None if the error is another one."""
    number = error.errno if isinstance(error, OSError) else None
    if match := re.search(r"\(os error (\d+)\)", str(error)):  # how safetensors puts it in words
        number = int(match[1])
    if number in _REFUSALS:
        return _REFUSALS[number]
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return None if number is None else os.strerror(number)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the platform lets us open a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
