"""Several files of a folder that change together: at any moment they are all of one writer.

The files lie in a hidden folder of their writer. Their names in the folder itself are links through
one link, `.current`, so renaming that one link changes all of them at once:

    patch.safetensors -> .current/patch.safetensors      .current -> .files-HOST.41-9c2e
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from slsgu.errors import SlsguError
from slsgu.utils.files import replacing_folder
from slsgu.utils.temporaries import host, is_running, release, remove_stale, temporary_name

CURRENT = ".current"
_WRITER = re.compile(r"\.files-(\w+)\.(\d+)-\w+")


@contextlib.contextmanager
def replacing_together(folder: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder to write files into; on success they take the place of the earlier
    ones in `folder`, all at once. A name that was not written is gone from then on.

    Where the disk has no links, the files are replaced one after another.

    Args:
        folder: created if it is not there. Other files in it stay.
        names: of the files that change together.

    Raises:
        SlsguError: the disk refuses. The files are as they were.
    """
    for name in names:
        if (folder / name).is_dir():
            raise SlsguError(f"cannot write {folder / name}: a folder of that name is in the way")
    for name in (".files-*", CURRENT, *names):
        remove_stale(folder, name)
    written = folder / f".files-{host()}.{os.getpid()}-{secrets.token_hex(4)}"
    with replacing_folder(written) as part:
        yield part
        unexpected = {path.name for path in part.iterdir()} - set(names)
        assert not unexpected, f"written, but not among the names: {unexpected}"
    try:
        earlier = _earlier(folder, names)
        present = [name for name in names if (written / name).exists()]
        for name in present:
            _link(folder / name, f"{CURRENT}/{name}")
        _link(folder / CURRENT, written.name)
        for name in set(names) - set(present):
            (folder / name).unlink(missing_ok=True)  # by now a link to nothing
    except (NotImplementedError, OSError):
        _replace_one_by_one(folder, written, names)
        return
    for other in folder.glob(".files-*"):
        if other == earlier or (other != written and _is_stray(other)):
            shutil.rmtree(other, ignore_errors=True)


def _earlier(folder: Path, names: Collection[str]) -> Path | None:
    """The folder of the earlier writer. Files that lie in the folder itself are brought into one
    first, so that turning them into links changes nothing."""
    with contextlib.suppress(OSError):
        return folder / (folder / CURRENT).readlink()
    plain = [name for name in names if (folder / name).is_file()]
    if not plain:
        return None
    earlier = folder / f".files-{host()}.{os.getpid()}-{secrets.token_hex(4)}"
    earlier.mkdir()
    try:
        for name in plain:
            shutil.copy2(folder / name, earlier / name)
        _link(folder / CURRENT, earlier.name)
    except (NotImplementedError, OSError):
        shutil.rmtree(earlier, ignore_errors=True)
        raise
    return earlier


def _link(path: Path, target: str) -> None:
    """Make a link, or point one elsewhere, in one step."""
    with contextlib.suppress(OSError):
        if str(path.readlink()) == target:
            return
    part = path.parent / temporary_name(path.name)
    try:
        part.symlink_to(target)
        part.replace(path)
    finally:
        release(part)
        part.unlink(missing_ok=True)


def _replace_one_by_one(folder: Path, written: Path, names: Collection[str]) -> None:
    try:
        for name in names:
            if (written / name).exists():
                (written / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise SlsguError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _is_stray(path: Path) -> bool:
    """Whether a folder of files is of a writer that was killed before its files were shown."""
    writer = _WRITER.fullmatch(path.name)
    return (
        writer is not None
        and writer[1] == host()
        and int(writer[2]) != os.getpid()
        and not is_running(int(writer[2]))
    )
