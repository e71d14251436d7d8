"""Files of a folder that change together: whatever happens, they are of one writer."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from slsgu.errors import SlsguError
from slsgu.utils import together
from slsgu.utils.together import replacing_together

NAMES = ("a.txt", "b.txt", "c.txt")


def write(folder: Path, word: str, names: tuple[str, ...] = NAMES) -> None:
    with replacing_together(folder, NAMES) as part:
        for name in names:
            (part / name).write_text(word)


def shown(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in NAMES if (folder / name).exists()}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".files"))


def test_the_files_are_those_of_the_last_writer(tmp_path: Path) -> None:
    write(tmp_path, "one")
    assert shown(tmp_path) == dict.fromkeys(NAMES, "one")
    (tmp_path / "mine.txt").write_text("kept")
    write(tmp_path, "two", NAMES[:2])
    assert shown(tmp_path) == dict.fromkeys(NAMES[:2], "two")  # c.txt has no successor
    assert not (tmp_path / "c.txt").is_symlink()
    assert (tmp_path / "mine.txt").read_text() == "kept" and len(hidden(tmp_path)) == 1
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == (
        tmp_path / "mine.txt"
    ).stat().st_mode & 0o777


def test_plain_files_of_the_same_names_are_taken_in(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plain")
    write(tmp_path, "new", NAMES[1:])
    assert shown(tmp_path) == dict.fromkeys(NAMES[1:], "new")


def test_a_writer_that_fails_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "one")
    with pytest.raises(RuntimeError), replacing_together(tmp_path, NAMES) as part:
        (part / "a.txt").write_text("two")
        raise RuntimeError
    assert shown(tmp_path) == dict.fromkeys(NAMES, "one") and len(hidden(tmp_path)) == 1
    with pytest.raises(AssertionError), replacing_together(tmp_path, NAMES) as part:
        (part / "other.txt").write_text("not announced")
    assert shown(tmp_path) == dict.fromkeys(NAMES, "one")


def test_without_links_the_files_are_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(together, "_link", refuse)
    write(tmp_path, "one")
    write(tmp_path, "two", NAMES[:1])
    assert shown(tmp_path) == {"a.txt": "two"} and not hidden(tmp_path)
    assert not (tmp_path / "a.txt").is_symlink()


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from slsgu.utils.together import replacing_together
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    for number in range(count):
        with replacing_together(folder, ("a.txt", "b.txt", "c.txt")) as part:
            for name in ("a.txt", "b.txt", "c.txt")[: 3 - number % 2]:
                (part / name).write_text(f"{sys.argv[3]}-{number}")
        print(number, flush=True)
    """
)


def test_a_kill_at_any_moment_leaves_files_of_one_writer(tmp_path: Path) -> None:
    write(tmp_path, "first")
    for delay in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, "100000", str(delay)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        time.sleep(0.0007 * delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert len(set(shown(tmp_path).values())) == 1
        assert len(shown(tmp_path)) in (2, 3)
    write(tmp_path, "last")
    assert hidden(tmp_path) == [(tmp_path / ".current").readlink().name]  # strays are gone


def test_two_writers_at_once_leave_files_of_one(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, "60", name], stdout=subprocess.DEVNULL
        )
        for name in ("x", "y")
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert len(set(shown(tmp_path).values())) == 1
    write(tmp_path, "last")
    assert len(hidden(tmp_path)) == 1


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SlsguError, match="cannot write"):
        write(tmp_path / "file", "one")
