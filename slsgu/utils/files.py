"""Files that are either whole or absent: write beside, flush, rename.

Every artifact goes through `replacing` or `replacing_folder`, so a crash, a full disk or `kill -9`
can leave a stray temporary (named `.NAME.HOST.PID-*.part`, removed by the next writer of NAME),
never half a result.

What others have written is read through `open_regular`, `read_bytes` and `read_text`: a pipe, a
device or a file of terabytes under the name of a small file ends in a message, not in a hang.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from slsgu.errors import ArtifactError, SlsguError
from slsgu.utils.temporaries import glob_escape, release, remove_stale, short, temporary_name

MOST_TEXT = 64 << 20  # bytes of a file that is read whole as text
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
    part = _beside(path)  # named before it is made: an interrupt at any moment takes it away
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent, glob_escape(short(path.name)))
        part.touch(exist_ok=False)
        mode = _make_ours(part)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(mode)  # safetensors has put a private file in its place
        part.replace(path)
        _sync_folder(path.parent)
    except Exception as error:
        if (refusal := _in_words(error, path, part)) is None:
            raise
        raise refusal from error
    finally:
        release(part)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder that must not exist yet.

    Raises:
        SlsguError: `path` exists, or the disk refuses.
    """
    part = _beside(path)
    try:
        if path.exists():
            raise SlsguError(f"{path} exists already; give a new folder or remove it first")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent, glob_escape(short(path.name)))
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
        _sync_folder(path.parent)
    except Exception as error:
        if (refusal := _in_words(error, path, part)) is None:
            raise
        raise refusal from error
    finally:
        release(part)
        shutil.rmtree(part, ignore_errors=True)


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
    """Write `value` as indented JSON (no NaN), whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def open_regular(path: Path, what: str, *, error: type[SlsguError] = ArtifactError) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes. Never waits, as opening a named
    pipe does, and never opens a device.

    Args:
        what: what the file is, in the message: "cannot read WHAT PATH: ...".
        error: raised where it is not one.

    Raises:
        SlsguError: `error`: the file is missing, is no regular file, or cannot be opened.
    """
    try:
        _check_regular(path.stat())  # before it is opened: to open a device can change its state
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            _check_regular(os.fstat(file))  # it may be another by now
            return os.fdopen(file, "rb")
        except BaseException:
            os.close(file)
            raise
    except FileNotFoundError:
        raise error(f"{what} not found: {path}") from None
    except (OSError, ValueError) as problem:  # ValueError: a name that holds a NUL character
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error(f"cannot read {what} {path}: {reason}") from None


def read_bytes(
    path: Path, what: str, *, limit: int = MOST_TEXT, error: type[SlsguError] = ArtifactError
) -> bytes:
    """The bytes of a regular file that holds no more than `limit` of them.

    Args:
        what: what the file is, for messages.
        error: the class of the error.

    Raises:
        SlsguError: `error`: as `open_regular`, or the file is larger.
    """
    with open_regular(path, what, error=error) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > limit else file.read(limit + 1)  # /proc gives files the size 0
        except OSError as problem:
            raise error(f"cannot read {what} {path}: {problem.strerror or problem}") from None
    if max(size, len(data)) > limit:
        raise error(
            f"cannot read {what} {path}: it holds {max(size, len(data)):,} bytes, and more than "
            f"{limit:,} are not read"
        )
    return data


def read_text(
    path: Path, what: str, *, limit: int = MOST_TEXT, error: type[SlsguError] = ArtifactError
) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark.

    Args:
        what: what the file is, for messages.
        limit: bytes.
        error: the class of the error.

    Raises:
        SlsguError: `error`: as `read_bytes`, or the file is not text in UTF-8.
    """
    data = read_bytes(path, what, limit=limit, error=error)
    try:
        return decode_text(data)
    except ValueError as problem:
        raise error(f"cannot read {what} {path}: {problem}") from None


def decode_text(data: bytes) -> str:
    """Bytes as UTF-8, with or without a byte order mark.

    Raises:
        ValueError: they are something else; the message says what, and what to do.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16; save it as UTF-8")
    if b"\0" in data:
        raise ValueError("it holds NUL bytes, so it is not text in UTF-8; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{error}; save it as UTF-8") from None


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


def _check_regular(status: os.stat_result) -> None:
    """Raises:
    OSError: what is there is no regular file.
    """
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file")


def _make_ours(path: Path) -> int:
    """Let this user write to a new file or folder, whatever the umask.

    Returns:
        The mode that the kernel gave it, which is the one that the user's files have. To ask for
        the umask means to change it, for every thread of the process.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | (0o700 if path.is_dir() else 0o600))
    return mode


def _beside(path: Path) -> Path:
    """A name for a temporary of `path` that no other process or thread takes."""
    return path.parent / temporary_name(path.name)


def _in_words(error: Exception, path: Path, part: Path) -> SlsguError | None:
    """What the disk refused, in words; None for any other error, which is raised as it is."""
    if isinstance(error, SlsguError):
        # From a file inside a folder, which is to be called by its final name.
        error.args = (str(error).replace(str(part), str(path)), *error.args[1:])
        return None
    cause: BaseException | None = error  # torch raises its own error over the disk's
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # an error may be its own cause
        seen.add(id(cause))
        if (reason := _refused(cause)) is not None:
            return SlsguError(f"cannot write {path}: {reason}")
        cause = cause.__cause__ or cause.__context__
    return None


def _refused(error: BaseException) -> str | None:
    """What a disk refused, in words; None if the error is another one."""
    number = error.errno if isinstance(error, OSError) else None
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # how safetensors puts it in words
        number = int(found[1])
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
