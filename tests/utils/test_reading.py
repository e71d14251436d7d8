"""What others have written is read within bounds, and refused in words."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from slsgu.errors import ArtifactError, DataError
from slsgu.utils.files import read_json
from slsgu.utils.reading import read_bytes, read_text


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_text(path, "request", error=DataError, **more)
    return str(caught.value)


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffKäfer\n".encode())
    assert read_text(path, "request") == "Käfer\n"
    assert read_bytes(path, "request", limit=10) == path.read_bytes()  # 10 bytes, control
    assert refusal(path, limit=9) == (
        f"cannot read request {path}: it holds 10 bytes, and more than 9 are not read"
    )
    with path.open("wb") as file:
        file.truncate(1 << 42)  # sparse
    assert "holds 4,398,046,511,104 bytes" in refusal(path)
    if Path("/proc/self/maps").exists():  # claims to have no bytes
        assert "holds 101 bytes" in refusal(Path("/proc/self/maps"), limit=100)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("pipe", "it is a pipe or a device"),
        ("link", "it is a pipe or a device"),
        ("loop", "Too many levels"),
        (".", "it is a folder"),
        ("x" * 300, "name too long"),
        ("a\0b", "null"),
    ):
        assert reason in refusal(tmp_path / name), name
    assert refusal(tmp_path / "none") == f"request not found: {tmp_path / 'none'}"
    with pytest.raises(ArtifactError, match="request not found"):
        read_bytes(tmp_path / "none", "request")
    (tmp_path / "file").write_text("words")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link", "request") == "words"  # control


def test_text_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data, reason in (
        ("{}".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        ("{}".encode("utf-16-be"), "it holds NUL bytes"),
        (b"caf\xe9", "can't decode byte 0xe9 .*; save it as UTF-8"),
    ):
        path.write_bytes(data)
        assert re.search(reason, refusal(path))
        with pytest.raises(ArtifactError, match=reason):
            read_json(path, "result")
    for data in ("[" * 100_000, "{", "9" * 5000):
        path.write_text(data)
        with pytest.raises(ArtifactError, match="result is damaged"):
            read_json(path, "result")
    path.write_text('{"a": "ü"}')
    assert read_json(path, "result") == {"a": "ü"}  # control
