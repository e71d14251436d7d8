"""Names of temporaries, `.NAME.HOST.PID-*.part`, and the removal of what killed writers left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from fnmatch import fnmatchcase
from pathlib import Path

ABANDONED = 24 * 3600  # seconds after which another machine's temporary is taken for a stray
_LIVING: set[str] = set()  # names of temporaries that this process writes now, in any thread


def temporary_name(name: str) -> str:
    """What a temporary of `name` is called, so that `remove_stale` knows whose it is. This process
    leaves it alone from now on."""
    temporary = f".{short(name)}.{host()}.{os.getpid()}-{secrets.token_hex(4)}.part"
    _LIVING.add(temporary)
    return temporary


def release(part: Path) -> None:
    """A temporary of this process is written no more."""
    _LIVING.discard(part.name)


def short(name: str) -> str:
    """A name that leaves room for what stands around it in the name of a temporary: file systems
    take 255 bytes."""
    data = os.fsencode(name)
    return name if len(data) <= 160 else f"{name[:32]}-{hashlib.sha256(data).hexdigest()[:16]}"


def remove_stale(folder: Path, names: str) -> None:
    """Clear away what killed writers of files have left; what another is writing now stays.

    Args:
        names: of the files, as a pattern.
    """
    for stray in folder.glob(f".{names}.*.part"):
        # The end of the name is the writer's; `names` says what may stand before it, and no more:
        # beside `out`, `.out.pt.HOST.7-x.part` is of `out.pt`, and somebody else's business.
        writer = re.fullmatch(r"\.(.+)\.(\w+)\.(\d+)-\w+\.part", stray.name)
        if writer is None or not fnmatchcase(writer[1], names):
            continue
        if writer[2] == host():
            if stray.name in _LIVING or is_running(int(writer[3])):
                continue
        elif _age(stray) < ABANDONED:
            continue  # of another machine or container that shares the disk
        with contextlib.suppress(OSError):  # it is another user's, or the disk is read-only
            if stray.is_dir() and not stray.is_symlink():
                shutil.rmtree(stray, ignore_errors=True)
            else:
                stray.unlink(missing_ok=True)


def host() -> str:
    """This machine (or container), as a word."""
    return re.sub(r"\W", "_", platform.node(), flags=re.ASCII)[:64] or "unknown"


def _age(path: Path) -> float:
    """Seconds since a file was written to."""
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0


def is_running(process: int) -> bool:
    """Whether another process of this number is there (on POSIX; elsewhere it is not checked)."""
    if os.name != "posix" or process == os.getpid():
        return False
    try:
        os.kill(process, 0)  # signal 0 only checks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def glob_escape(name: str) -> str:
    """`name` as a literal inside a glob pattern."""
    return re.sub(r"([*?\[])", r"[\1]", name)
