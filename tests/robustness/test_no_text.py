"""Where a small text file is meant: pipes, devices, terabytes, other encodings. Each is answered
within seconds, by an error that names it."""

from __future__ import annotations

import codecs
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.concepts.templates import read_templates
from slsgu.errors import DataError, ModelError, SlsguError
from slsgu.models.clip import load
from slsgu.models.config import read_config
from slsgu.task.pairs import read_names
from slsgu.utils.yaml_file import read_with_lines, read_yaml

READERS: dict[str, Callable[[Path], Any]] = {
    "request": lambda path: read_with_lines(path, "request"),
    "yaml": lambda path: read_yaml(path, "taxonomy"),
    "taxonomy": Taxonomy.load,
    "classes": read_names,
    "templates": read_templates,
    "configuration": read_config,
}


@pytest.fixture(autouse=True)
def _within_seconds() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def sparse(path: Path) -> Path:
    path.touch()
    os.truncate(path, 1 << 42)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


def loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pipe": (pipe, "a pipe or a device"),
    "device": (lambda path: Path("/dev/zero"), "a pipe or a device"),
    "terabytes": (sparse, "4,398,046,511,104 bytes"),
    "folder": (lambda path: path.parent, "a folder"),
    "loop": (loop, "symbolic links"),
    "UTF-16": (written(codecs.BOM_UTF16_LE + "a: b".encode("utf-16-le")), "UTF-16"),
    "NUL": (written(b"a: b\0"), "NUL"),
    "bytes": (written(b"a: \xff"), "UTF-8"),
    "long name": (lambda path: path.with_name("x" * 300), "too long"),
    "NUL in its name": (lambda path: Path("a\0b"), "null"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", FILES)
def test_it_is_answered_at_once(reader: str, what: str, tmp_path: Path) -> None:
    make, words = FILES[what]
    path = make(tmp_path / "file.yaml")
    with pytest.raises((DataError, ModelError), match=words):
        READERS[reader](path)


def test_text_is_read(tmp_path: Path) -> None:
    """Control: with a byte order mark too."""
    path = tmp_path / "file"
    path.write_bytes(codecs.BOM_UTF8 + b"dog:\ncat:\n")
    assert [name for name, *_ in READERS["request"](path)] == ["dog", "cat"]
    assert READERS["yaml"](path) == {"dog": None, "cat": None}
    assert len(READERS["classes"](path)) == 2


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "place", ["$templates: *a11", "$name: *a11", "b: {$aliases: *a11}", "concept: *a11", "c: *a11"]
)
def test_aliases_that_claim_billions(place: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(f"{BOMB}{place}\n")
    for reader in ("request", "yaml", "taxonomy"):
        with pytest.raises(DataError, match="more than 1,000,000 entries"):
            READERS[reader](path)


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "a: &a [{b: [*a]}]"])
def test_an_alias_within_itself(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    for reader in ("request", "yaml", "taxonomy"):
        with pytest.raises(DataError, match="contains itself"):
            READERS[reader](path)


def test_aliases_that_stand_for_little(tmp_path: Path) -> None:
    """Control."""
    path = tmp_path / "file.yaml"
    path.write_text("a: &a [x, y]\nb: *a\nc: {d: *a, e: *a}\n")
    assert READERS["yaml"](path)["c"] == {"d": ["x", "y"], "e": ["x", "y"]}


@pytest.mark.parametrize("name", ["local-dir:{}", "{}.json"])
def test_a_model_that_is_no_file(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "open_clip_config.json")
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(SlsguError):
        load(name.format(folder), device="cpu")
