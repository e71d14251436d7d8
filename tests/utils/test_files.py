"""Files: what is read, with bounds; temporaries: what a killed writer left goes, what another
writes stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slsgu.errors import DataError, SlsguError
from slsgu.utils import temporaries
from slsgu.utils.files import (
    read_json,
    refuse_target,
    replacing,
    replacing_folder,
    write_json,
    write_text,
)

DAY = 24 * 3600


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture(scope="module")
def living() -> Iterator[int]:
    """The number of another process that runs."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def temporary(folder: Path, name: str, host: str, process: int, *, age: float = 0.0) -> Path:
    """A temporary of `name` as a process of some machine leaves it."""
    path = folder / f".{name}.{host}.{process}-abc_1234.part"
    path.write_text("x")
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(temporaries.platform, "node", lambda: "node-1.example")
    return "node_1_example"


def test_the_name_of_a_temporary_says_whose_it_is(tmp_path: Path, here: str) -> None:
    with replacing(tmp_path / "a.json") as part:
        assert part.name.startswith(f".a.json.{here}.{os.getpid()}-")
    with replacing_folder(tmp_path / "b") as part:
        assert part.name.startswith(f".b.{here}.{os.getpid()}-")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b"}


def test_temporaries_of_this_machine_are_judged_by_process(
    tmp_path: Path, here: str, dead: int, living: int
) -> None:
    left = temporary(tmp_path, "a", here, dead)
    folder = tmp_path / f".a.{here}.{dead}-folder.part"
    folder.mkdir()
    (folder / "half").write_text("x")
    busy = temporary(tmp_path, "a", here, living, age=30 * DAY)
    write_text(tmp_path / "a", "whole")
    assert not left.exists() and not folder.exists() and busy.exists()


def test_those_of_other_machines_are_judged_by_age(
    tmp_path: Path, here: str, dead: int, living: int
) -> None:
    """The numbers of their processes say nothing here."""
    new = [temporary(tmp_path, "a", "node_2", n, age=DAY - 600) for n in (dead, living)]
    old = [temporary(tmp_path, "a", "node_3", n, age=DAY + 600) for n in (dead, living)]
    write_text(tmp_path / "a", "whole")
    assert all(path.exists() for path in new) and not any(path.exists() for path in old)


def test_temporaries_of_other_names_stay(tmp_path: Path, here: str, dead: int) -> None:
    """Even if the other name begins like this one, or is a pattern that fits."""
    others = [temporary(tmp_path, name, here, dead) for name in ("b", "a.pt", "a.1", "[a]", "aa")]
    (tmp_path / "a.part").write_text("x")
    (tmp_path / ".a.mine.part").write_text("x")  # not as ours are called
    own = temporary(tmp_path, "a", here, dead)
    write_text(tmp_path / "a", "whole")
    assert not own.exists() and all(path.exists() for path in others)
    assert (tmp_path / "a.part").exists() and (tmp_path / ".a.mine.part").exists()
    for name, path in zip(("b", "a.pt", "a.1", "[a]", "aa"), others, strict=True):
        write_text(tmp_path / name, "whole")
        assert not path.exists()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("create", ["open", "mkdir"])
def test_ctrl_c_while_a_temporary_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, create: str
) -> None:
    real = getattr(os, create)
    seen = []

    def interrupted(path: str | Path, *args: int, **kwargs: int) -> int:
        if ".part" not in str(path):
            return int(real(path, *args, **kwargs) or 0)
        if moment == "after":
            real(path, *args, **kwargs)
        seen.append(list(tmp_path.iterdir()))
        raise KeyboardInterrupt

    writer = replacing if create == "open" else replacing_folder
    with monkeypatch.context() as patch:
        patch.setattr(os, create, interrupted)
        with pytest.raises(KeyboardInterrupt), writer(tmp_path / "a"):
            pass
    assert bool(seen[0]) == (moment == "after")  # control: it was there
    assert not list(tmp_path.iterdir())


def test_threads_that_write_the_same_file_leave_each_other_alone(tmp_path: Path, here: str) -> None:
    """What an earlier process of the same number has left goes all the same."""
    left = temporary(tmp_path, "a", here, os.getpid())
    with replacing(tmp_path / "a") as outer:
        outer.write_text("outer")
        assert not left.exists()
        thread = threading.Thread(target=write_text, args=(tmp_path / "a", "inner"))
        thread.start()
        thread.join()
        assert outer.exists() and (tmp_path / "a").read_text() == "inner"
    assert (tmp_path / "a").read_text() == "outer"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert not [name for name in temporaries._LIVING if name.startswith(".a.")]  # nothing piles up


# -- disks that refuse --------------------------------------------------------------------------


def refuses(number: int) -> None:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EFBIG, errno.EDQUOT, errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_ends_in_a_message(tmp_path: Path, number: int) -> None:
    """Also inside a folder, where a file has put it in words already; and in safetensors' words."""
    reason = {
        errno.EFBIG: "ulimit -f",
        errno.EDQUOT: "quota",
        errno.EIO: "Input/output error",
        errno.ENOSPC: "no space left",
    }[number]
    with pytest.raises(SlsguError) as caught, replacing_folder(tmp_path / "run") as part:
        with replacing(part / "a.json"):
            refuses(number)
    assert str(caught.value).startswith(f"cannot write {tmp_path}/run/a.json: ")
    assert reason in str(caught.value)
    for writer in (replacing, replacing_folder):
        with pytest.raises(SlsguError, match=reason), writer(tmp_path / "run"):
            raise RuntimeError(f"I/O error: what it is called (os error {number})")
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_its_own_cause_is_raised_as_it_is(tmp_path: Path) -> None:
    error = RuntimeError("a bug")
    for writer in (replacing, replacing_folder):
        with pytest.raises(RuntimeError, match="a bug") as caught, writer(tmp_path / "out"):
            raise error from error
        assert caught.value is error
    with pytest.raises(SlsguError, match="in a taxonomy") as said, replacing(tmp_path / "out"):
        raise DataError("in a taxonomy")
    assert isinstance(said.value, DataError) and said.value.__cause__ is None


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from slsgu.errors import SlsguError
from slsgu.utils.files import replacing, replacing_folder, write_json

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
weights = {"w": torch.zeros(100_000)}

def in_folder():
    with replacing_folder(folder / "run") as part:
        write_json(part / "result.json", list(range(100_000)))

def tensors():
    with replacing(folder / "a.safetensors") as part:
        save_file(weights, part)

def pickled():
    with replacing(folder / "a.pt") as part, part.open("wb") as file:
        torch.save(weights, file)

for write in (in_folder, tensors, pickled):
    try:
        write()
        print("whole")
    except SlsguError as error:
        print(error)
"""


def test_a_limit_for_files_ends_in_a_message(tmp_path: Path) -> None:
    pytest.importorskip("resource")

    def run(limit: int) -> list[str]:
        words = [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
        return ran.stdout.splitlines()

    said = run(100_000)
    assert [line.split(": ")[0] for line in said] == [
        f"cannot write {tmp_path / name}" for name in ("run/result.json", "a.safetensors", "a.pt")
    ]
    assert all("ulimit -f" in line for line in said)
    assert not list(tmp_path.iterdir())
    assert run(10_000_000) == ["whole"] * 3  # control


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path: Path, here: str, dead: int) -> None:
    for name in ("x" * 255, "ü" * 127):
        left = temporary(tmp_path, temporaries.short(name), here, dead)
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole" and not left.exists()
        with replacing_folder(tmp_path / f"{name[:-1]}y") as part:
            (part / "a").write_text("whole")
        assert {path.name for path in tmp_path.iterdir()} == {name, f"{name[:-1]}y"}
        for path in tmp_path.iterdir():
            (shutil.rmtree if path.is_dir() else os.remove)(path)
    for writer in (replacing, replacing_folder):
        with pytest.raises(SlsguError, match=r"cannot write .*name too long"):
            with writer(tmp_path / ("x" * 256)):
                pass
        with pytest.raises(SlsguError, match=r"cannot write .*name too long"):
            with writer(tmp_path / ("x" * 256) / "a"):
                pass
    assert not list(tmp_path.iterdir())


def test_a_temporary_that_can_not_be_removed_stops_nobody(
    tmp_path: Path, here: str, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = temporary(tmp_path, "a", here, dead)
    real = Path.unlink

    def refuse(path: Path, **more: bool) -> None:
        if path == left:
            refuses(errno.EPERM)
        real(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        write_text(tmp_path / "a", "whole")
    assert left.exists() and (tmp_path / "a").read_text() == "whole"
    write_text(tmp_path / "a", "whole")
    assert not left.exists()  # control


# -- modes --------------------------------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o227, 0o777])
def test_files_and_folders_have_the_mode_of_the_users_files(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    """Also where a library has put a private file in the place of ours."""
    umask(mask)
    write_text(tmp_path / "a", "whole")
    with replacing(tmp_path / "private") as part:
        part.unlink()
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        part.chmod(0o600)
    with replacing_folder(tmp_path / "run") as part:
        (part / "b").write_text("whole")
        (part / "b").chmod(0o600)
    assert mode(tmp_path / "a") == mode(tmp_path / "private") == 0o666 & ~mask
    assert mode(tmp_path / "run") == 0o777 & ~mask
    (tmp_path / "run").chmod(0o700)
    assert mode(tmp_path / "run" / "b") == 0o666 & ~mask


def test_writing_does_not_change_the_umask_of_other_threads(
    tmp_path: Path, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    umask(0o077)
    stop = threading.Event()

    def slow(mask: int) -> int:  # whoever switches it leaves time to be seen
        before = umask(mask)
        time.sleep(0.002)
        return before

    def write() -> None:
        while not stop.is_set():
            write_text(tmp_path / "a", "whole")
            with replacing_folder(tmp_path / "run") as part:
                (part / "b").write_text("whole")
            shutil.rmtree(tmp_path / "run")

    def modes_beside(work: Callable[[], None]) -> set[int]:
        stop.clear()
        thread = threading.Thread(target=work)
        thread.start()
        found = set()
        for number in range(200):
            path = tmp_path / f"other-{number}"
            path.touch(0o666)
            found.add(mode(path))
            path.unlink()
            time.sleep(0.0005)
        stop.set()
        thread.join()
        return found

    def switch() -> None:
        while not stop.is_set():
            os.umask(os.umask(0))

    monkeypatch.setattr(os, "umask", slow)
    assert modes_beside(write) == {0o600}
    assert modes_beside(switch) > {0o600}  # control: it would be seen


def test_a_file_that_cannot_be_copied_is_named(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    for name, told in (
        ("model/notes.txt", "model/notes.txt: Permission"),
        ("inside", "Permission"),
    ):
        with (
            pytest.raises(SlsguError, match=rf"cannot write \S*out: {told}"),
            replacing_folder(tmp_path / "out") as part,
        ):
            refuse(name if "/" in name else str(part / name))  # the other is the control


# -- what may be replaced -----------------------------------------------------------------------


def test_what_is_there_is_replaced_only_if_it_is_a_file_and_by_force(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-nothing").symlink_to("nothing")
    (tmp_path / "to-device").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "to-file"):
        with pytest.raises(SlsguError, match=rf"{name} exists already: .* --force"):
            refuse_target(tmp_path / name, force=False)
        refuse_target(tmp_path / name, force=True)
    for name, what in (
        (".", "a folder"),
        ("to-nothing", "a link to nothing"),
        ("to-device", "a pipe or a device"),
        ("pipe", "a pipe or a device"),
        ("/dev/full", "a pipe or a device"),
        ("x" * 300, "name too long"),
    ):
        for force in (True, False):
            with pytest.raises(SlsguError, match=what):
                refuse_target(tmp_path / name, force=force)
    for name in ("new", "new/er", "file/x"):  # control; the last is refused when it is written
        refuse_target(tmp_path / name, force=False)


def test_json_says_which_number_it_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(SlsguError, match=r"x.json: layers\[1\].importance is inf"):
        write_json(path, {"layers": [{"importance": 1.0}, {"importance": float("inf")}]})
    assert not path.exists()
    write_json(path, {"layers": [1e308]})  # control
    assert read_json(path, "x") == {"layers": [1e308]}
