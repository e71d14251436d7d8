"""Tar files: the same members as `tarfile` finds, and bounds that it does not have."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slsgu.data.sources.tar import Member, TarError, members

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
LONG = st.integers(90, 300).map(lambda length: "long/" * (length // 5) + "x.png")


def found(data: bytes, tmp_path: Path) -> list[Member | None]:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    file = os.open(path, os.O_RDONLY)
    try:
        return list(members(file))
    finally:
        os.close(file)


def archive(entries: list[tuple[str, bytes, bytes]], layout: int) -> bytes:
    """A tar file of names, kinds and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as tar:
        for name, kind, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, name if kind == tarfile.SYMTYPE else ""
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


@pytest.mark.parametrize("layout", FORMATS)
def test_the_members_are_those_of_tarfile(
    layout: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    kinds = st.sampled_from([tarfile.REGTYPE] * 3 + [tarfile.DIRTYPE, tarfile.SYMTYPE])

    @given(
        st.lists(st.tuples(NAMES | LONG, kinds, st.binary(max_size=1500)), min_size=1, max_size=5)
    )
    @settings(max_examples=60, deadline=None)
    def check(entries: list[tuple[str, bytes, bytes]]) -> None:
        try:
            data = archive(entries, layout)
        except ValueError:  # ustar has no room for such a name
            return
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            expected = [Member(m.name, m.offset_data, m.size) for m in tar if m.isfile()]
        assert found(data, folder) == expected
        twice = found(data + data, folder)
        assert [m and (m.name, m.size) for m in twice] == [
            *((m.name, m.size) for m in expected), None, *((m.name, m.size) for m in expected)
        ]  # fmt: skip

    check()


@pytest.mark.parametrize("layout", FORMATS)
def test_whatever_the_bytes_the_reading_ends(
    layout: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And what is found lies within the file, up to where the damage is."""
    folder = tmp_path_factory.mktemp("tar")
    entries = [(f"{n}/" * (30 * n + 1) + "x", tarfile.REGTYPE, b"x" * 700 * n) for n in range(4)]
    whole = archive(entries, layout)[:12_000]
    place = st.integers(0, len(whole) - 1)

    @given(st.lists(st.tuples(place, st.binary(min_size=1, max_size=20)), max_size=4), place)
    @settings(max_examples=300, deadline=None)
    def check(changes: list[tuple[int, bytes]], end: int) -> None:
        data = bytearray(whole)
        for at, value in changes:
            data[at : at + len(value)] = value
        for version in (bytes(data), bytes(data[:end])):
            seen = []
            try:
                seen = found(version, folder)
            except TarError:
                continue
            for member in seen:
                assert member is None or member.offset + member.size <= len(version)

    check()
    assert len(found(whole, folder)) == 4  # control


def test_chains_of_headers_end(tmp_path: Path) -> None:
    end = header("x.png", tarfile.REGTYPE, 3) + padded(b"abc") + bytes(1024)
    name = header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 6) + padded(b"y.png\0")
    pax = header("pax", tarfile.XHDTYPE, 14) + padded(b"14 path=z.png\n")
    both = header("all", tarfile.XGLTYPE, 14) + padded(b"14 path=q.png\n")
    for chain, expected in (
        (b"", "x.png"),
        (name, "y.png"),
        (pax, "z.png"),
        (name + pax, "y.png"),
        (pax + name, "z.png"),
        (name * 16, "y.png"),
        (both, "x.png"),
    ):
        (member,) = found(chain + end, tmp_path)
        assert member == Member(expected, len(chain) + 512, 3)
    for chain in (name, pax, both, name + pax):
        begin = time.monotonic()
        with pytest.raises(TarError, match="more than 16 headers"):
            found(chain * 20_000 + end, tmp_path)
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_terabytes_is_not_read(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(header("x", kind, 1 << 42))
        file.seek(1 << 42, os.SEEK_CUR)
        file.write(header("x.png", tarfile.REGTYPE, 0) + bytes(1024))
    handle = os.open(path, os.O_RDONLY)
    (member,) = members(handle)
    os.close(handle)
    assert member is not None and member.name == "x.png"
    assert (member.problem is not None) == (kind != tarfile.XGLTYPE)
    for size in (1 << 50, 1 << 70):
        with pytest.raises(TarError, match=r"claims .* and the file ends before"):
            found(header("x", kind, size) + bytes(10_000), tmp_path)


def test_what_pax_headers_may_say(tmp_path: Path) -> None:
    end = header("x.png", tarfile.REGTYPE, 3) + padded(b"abc") + bytes(1024)

    def after(*records: bytes) -> bytes:
        data = b"".join(records)
        return header("pax", tarfile.XHDTYPE, len(data)) + padded(data) + end

    (member,) = found(after(b"10 size=2\n", b"13 mtime=1.5\n"), tmp_path)
    assert member == Member("x.png", 1536, 2)
    for size in (b"x", b"-1", b"1.5", b"9" * 31, b""):
        record = b" size=" + size + b"\n"
        length = len(record) + len(str(len(record) + 2))
        with pytest.raises(TarError, match="is not a number"):
            found(after(b"%d" % length + record), tmp_path)
    for records in (
        b"0 path=y\n",
        b"8 path=y\n",
        b"99 path=y\n",
        b"path=y\n",
        b"9999999999 path=y\n",
        b"10 path",
    ):
        (member,) = found(after(records), tmp_path)
        assert member is not None and member.problem == "its header is damaged"


def test_old_sparse_members_are_known_for_what_they_are(tmp_path: Path) -> None:
    block = bytearray(header("x.png", tarfile.GNUTYPE_SPARSE, 3))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more = bytearray(512)
    more[504] = 1
    end = header("y.png", tarfile.REGTYPE, 3) + padded(b"abc") + bytes(1024)
    one, two = found(bytes(block) + bytes(more) + bytes(512) + padded(b"abc") + end, tmp_path)
    assert one == Member("x.png", 1536, 3, "it is stored as a sparse file")
    assert two == Member("y.png", 2560, 3)
    for count in (3, 100_000):
        with pytest.raises(TarError, match="does not end"):
            found(bytes(block) + bytes(more) * count, tmp_path)
