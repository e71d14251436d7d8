"""Records of shards, tables and folders: what is read, what is left out and why, what is refused.

Every rule has a control: the same source without the damage, or with another name.
"""

from __future__ import annotations

import gc
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slsgu.data import shards as shards_module
from slsgu.data.images import UnreadableImageError, pixel_hash
from slsgu.data.opening import open_source
from slsgu.data.records import PairSample, Record
from slsgu.data.shards import expand
from slsgu.errors import DataError

Members = list[tuple[str, bytes]]


def png(seed: int) -> bytes:
    """The bytes of a small picture, another one for every seed."""
    noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    return buffer.getvalue()


def pairs(*numbers: int, folder: str = "") -> Members:
    """Members of whole records: a picture, a caption and a class each."""
    return [
        (f"{folder}{number:03}.{kind}", data)
        for number in numbers
        for kind, data in (
            ("png", png(number)),
            ("txt", f"picture {number}\n".encode()),
            ("cls", b"1"),
        )
    ]


def write_tar(path: Path, members: Members, *, layout: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=layout) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read(path: Path | str) -> tuple[list[Record], dict[str, list[str]]]:
    """The records of a source, and what it left out, by reason."""
    source = open_source(path)
    records = list(source.records())
    return records, {reason: list(names) for reason, names in source.left_out.reasons.items()}


def captions(path: Path | str) -> list[str | None]:
    return [record.caption for record in read(path)[0]]


# -- shards: what is read -----------------------------------------------------------------------


def test_a_shard_gives_every_picture_with_its_words(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", pairs(0, 1, 2))
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    records, left = read(shard)
    assert [r.name for r in records] == ["a.tar/000", "a.tar/001", "a.tar/002"]
    assert [r.caption for r in records] == ["picture 0", "picture 1", "picture 2"]
    assert [r.label for r in records] == ["dog"] * 3 and not left
    for number, record in enumerate(records):
        assert record.picture.data() == png(number)  # to the bit
        assert record.picture.fingerprint() == hashlib.sha256(png(number)).hexdigest()
    assert records[0].picture.data() != png(1)  # control


def test_a_sample_decodes_what_went_in_and_survives_pickling(tmp_path: Path) -> None:
    (record, *_), _ = read(write_tar(tmp_path / "a.tar", pairs(5)))
    sample = PairSample(None, record.caption, record.name, "ab", record.picture)
    expected = pixel_hash(Image.open(io.BytesIO(png(5))))
    assert pixel_hash(sample.read()) == expected
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample and pixel_hash(again.read()) == expected
    assert pixel_hash(Image.open(io.BytesIO(png(6)))) != expected  # control


def test_a_shard_that_changed_is_told_by_the_name_of_the_picture(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", pairs(5))
    (record, *_), _ = read(shard)
    sample = PairSample(None, record.caption, record.name, "ab", record.picture)
    shard.write_bytes(shard.read_bytes()[:520])
    with pytest.raises(UnreadableImageError, match=r"a\.tar/005: the shard is shorter"):
        sample.read()
    shard.unlink()
    with pytest.raises(UnreadableImageError, match="No such file"):
        sample.read()


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


def test_nothing_is_unpacked_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, numbers in (("a", (0, 1)), ("b", (2, 3))):
        write_tar(folder / f"{name}.tar", pairs(*numbers))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before, opened = contents(folder), []
    whole = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda path, mode: opened.append(path) or whole(path))
    gc.collect()
    descriptors = set(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else set()
    source = open_source(folder)
    records = list(source.records())
    assert [record.picture.data() for record in records] == [png(n) for n in range(4)]
    next(iter(source.records()))  # left in the middle
    gc.collect()
    if descriptors:
        assert len(set(Path("/proc/self/fd").iterdir())) == len(descriptors)
    assert contents(folder) == before and not list(temporary.iterdir())
    # One look through each shard for the pass, and one for the record after it.
    assert opened == [folder / "a.tar", folder / "b.tar", folder / "a.tar"]


def test_shards_are_read_no_further_than_asked(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", [*pairs(0, 1), ("002.png", b""), ("002.txt", b"x")])
    source = open_source(f"{shard}::{tmp_path / 'missing.tar'}")
    records = source.records()
    assert [next(records).name, next(records).name] == ["a.tar/000", "a.tar/001"]
    assert not source.left_out.reasons
    with pytest.raises(DataError, match=r"no such shard: .*missing\.tar"):  # control
        next(records)
    assert list(source.left_out.reasons) == ["the picture is empty"]


def test_braces_lists_and_folders_name_the_same_shards(tmp_path: Path) -> None:
    for number in range(12):
        write_tar(tmp_path / f"s-{number:03}.tar", pairs(number))
    expected = [f"picture {number}" for number in range(12)]
    assert captions(f"{tmp_path}/s-{{000..011}}.tar") == captions(tmp_path) == expected
    assert captions(f"{tmp_path}/s-00{{2,4}}.tar") == ["picture 2", "picture 4"]
    assert captions(f"{tmp_path}/s-004.tar::{tmp_path}/s-00{{0..1}}.tar") == [
        "picture 4", "picture 0", "picture 1"
    ]  # fmt: skip
    assert expand("s-{8..11}.tar") == ["s-8.tar", "s-9.tar", "s-10.tar", "s-11.tar"]
    assert expand("s-{08..11}.tar")[:2] == ["s-08.tar", "s-09.tar"]
    assert open_source(f"{tmp_path}/s-{{000..011}}.tar").describe()["shards"] == 12


@pytest.mark.parametrize("spec", ["s-{000.tar", "::a.tar", "a.tar::"])
def test_braces_and_lists_that_name_nothing(spec: str) -> None:
    with pytest.raises(DataError, match="names no shard"):
        open_source(spec)


def test_braces_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    monkeypatch.setitem(sys.modules, "webdataset.gopen", None)
    shard = write_tar(tmp_path / "a.tar", pairs(0))
    with pytest.raises(DataError, match=r"braces .* pip install 'slsgu\[webdataset\]'"):
        open_source(f"{tmp_path}/{{a,b}}.tar")
    with pytest.raises(DataError, match=r"pipe: .* pip install 'slsgu\[webdataset\]'"):
        list(open_source(f"pipe:cat {shard}").records())
    assert captions(shard) == ["picture 0"]  # control: a plain shard needs nothing


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.b/c.d/000.png", "a.b/c.d/000"),
        ("./000.png", "000"),
        ("/abs/000.PNG", "/abs/000"),
        ("../../000.png", "../../000"),
        ("ünï/000.png", "ünï/000"),
        ("long" * 40 + "/" + "x" * 120 + ".png", "long" * 40 + "/" + "x" * 120),
    ],
)
@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_members(tmp_path: Path, name: str, key: str, layout: int) -> None:
    """As the webdataset library splits them: at the first dot of the last part."""
    folder = name[: name.rindex("/") + 1]
    text = f"{folder}{Path(name).stem}.txt"
    shard = write_tar(tmp_path / "a.tar", [(name, png(0)), (text, b"x")], layout=layout)
    records, left = read(shard)
    assert [r.name for r in records] == [f"a.tar/{key}"] and not left
    assert records[0].picture.data() == png(0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]


def test_a_second_dot_begins_another_kind_of_member(tmp_path: Path) -> None:
    members = [("000.png", png(0)), ("000.mask.png", png(1)), ("000.txt", b"x")]
    records, left = read(write_tar(tmp_path / "a.tar", members))
    assert [r.picture.data() for r in records] == [png(0)] and not left


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    members = [(f"{odd}.png", png(0)), (f"{odd}.txt", b"x"), (f"{odd}2.png", png(1))]
    records, left = read(write_tar(tmp_path / "a.tar", members, layout=tarfile.GNU_FORMAT))
    assert [r.name for r in records] == ["a.tar/\ufffd\ufffd"]
    assert left == {"neither txt nor cls": ["a.tar/\ufffd\ufffd2"]}
    assert records[0].picture.data() == png(0)


def test_links_folders_and_members_without_an_ending_are_passed_over(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w") as tar:
        for name, kind in (
            ("000", tarfile.DIRTYPE),
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in [*pairs(1), ("README", b"x"), ("link.txt", b"of a link")]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    records, left = read(shard)
    assert [r.name for r in records] == ["a.tar/001"]
    assert [names for reason, names in left.items() if reason.startswith("no jpg")] == [
        ["a.tar/link"]
    ]


# -- shards: what is left out -------------------------------------------------------------------

DEFECTS: dict[str, tuple[Members, str]] = {
    "no text": ([("x.png", png(9))], "neither txt nor cls"),
    "no picture": ([("x.txt", b"words")], "no jpg, jpeg"),
    "empty picture": ([("x.png", b""), ("x.txt", b"words")], "the picture is empty"),
    "empty caption": ([("x.png", png(9)), ("x.txt", b"")], "the caption has no text"),
    "blank caption": ([("x.png", png(9)), ("x.txt", b" \n\t\r\n")], "the caption has no text"),
    "only a BOM": ([("x.png", png(9)), ("x.txt", b"\xef\xbb\xbf\n")], "the caption has no text"),
    "not UTF-8": ([("x.png", png(9)), ("x.txt", b"caf\xe9")], "its text is not UTF-8"),
    "huge": ([("x.png", png(9)), ("x.txt", b"x" * (1 << 21))], "its text is no caption"),
    "class 2 of 2": ([("x.png", png(9)), ("x.cls", b"2")], "cls is 2, and there are 2"),
    "endless class": ([("x.png", png(9)), ("x.cls", b"9" * 5000)], "cls is 999999999, and"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_record_that_is_not_whole_is_left_out_and_named(tmp_path: Path, defect: str) -> None:
    members, reason = DEFECTS[defect]
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    shard = write_tar(tmp_path / "a.tar", [*pairs(0), *members, *pairs(1)])
    source = open_source(shard)
    assert [r.name for r in source.records()] == ["a.tar/000", "a.tar/001"]  # the others are used
    (note,) = source.left_out.notes("forget set")
    assert note.startswith("forget set: 1 left out, ") and reason in note and "a.tar/x" in note
    list(source.records())
    assert source.left_out.notes("forget set") == [note]  # told once, however often it is read
    with pytest.raises(DataError, match=r"1 left out, .*strict"):
        source.left_out.refuse("forget set")
    whole = open_source(write_tar(tmp_path / "b.tar", pairs(0, 1)))
    assert len(list(whole.records())) == 2
    whole.left_out.refuse("forget set")  # control


def test_captions_with_a_bom_and_long_ones_are_read(tmp_path: Path) -> None:
    members = [
        *[("a.png", png(0)), ("a.txt", b"\xef\xbb\xbfwords\r\n")],
        *[("b.png", png(1)), ("b.txt", b"y" * (1 << 20))],
    ]
    assert captions(write_tar(tmp_path / "a.tar", members)) == ["words", "y" * (1 << 20)]


def test_a_number_without_names_stays_a_number(tmp_path: Path) -> None:
    members = [*[("a.png", png(0)), ("a.cls", b"7\n")], *[("b.png", png(1)), ("b.cls", b"pug")]]
    shard = write_tar(tmp_path / "a.tar", members)
    assert [(r.label, r.caption) for r in read(shard)[0]] == [("7", None), ("pug", None)]


def test_names_of_classes_may_have_a_bom_and_end_in_empty_lines(tmp_path: Path) -> None:
    members = [*[("a.png", png(0)), ("a.cls", b"0")], *[("b.png", png(1)), ("b.cls", b"1")]]
    shard = write_tar(tmp_path / "a.tar", members)
    (tmp_path / "classnames.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n\r\n\n")
    assert [r.label for r in read(shard)[0]] == ["cat", "dog"]
    # An empty line among them would move every class behind it.
    (tmp_path / "classnames.txt").write_bytes(b"cat\n\ndog\n")
    with pytest.raises(DataError, match=r"classnames\.txt line 2 is empty"):
        open_source(shard)
    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"cannot read .*classnames\.txt"):
        open_source(shard)


def test_members_that_stand_twice_lose_nothing_silently(tmp_path: Path) -> None:
    members = [("a.png", png(0)), ("a.txt", b"one"), ("a.png", png(1)), ("a.txt", b"two")]
    records, _ = read(write_tar(tmp_path / "a.tar", members))
    assert [(r.caption, r.picture.data()) for r in records] == [("one", png(0)), ("two", png(1))]
    members = [("a.png", png(0)), ("a.png", png(1)), ("a.txt", b"two")]
    records, left = read(write_tar(tmp_path / "b.tar", members))
    assert [(r.caption, r.picture.data()) for r in records] == [("two", png(1))]
    assert left == {"neither txt nor cls": ["b.tar/a"]}


# -- shards: damage -----------------------------------------------------------------------------


def header_of(data: bytes, member: str) -> int:
    return data.index(member.encode() + b"\0")


def damaged_header(data: bytes) -> bytes:
    place = header_of(data, "002.png")
    return data[:place] + b"\xff" * 512 + data[place + 512 :]


def endless_loop(data: bytes) -> bytes:
    """A member with a negative size, which leads back to one before it."""
    place = header_of(data, "002.png")
    head = bytearray(data[place : place + 512])
    head[124:136] = b"\xff" + (-1536 % 256**11).to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:place] + bytes(head) + data[place + 512 :]


DAMAGE = {
    "header": damaged_header,
    "cut in a header": lambda data: data[: header_of(data, "002.png") + 300],
    "cut in a picture": lambda data: data[: header_of(data, "002.png") + 540],
    "cut in a caption": lambda data: data[: header_of(data, "002.txt") + 515],
    "negative size": endless_loop,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_lies_before_the_damage_is_used_and_the_damage_is_told(
    tmp_path: Path, damage: str
) -> None:
    shard = write_tar(tmp_path / "a.tar", pairs(0, 1, 2, 3))
    shard.write_bytes(DAMAGE[damage](shard.read_bytes()))
    other = write_tar(tmp_path / "b.tar", pairs(4))
    records, left = read(f"{shard}::{other}")
    found = [r.name for r in records]
    assert found[0] == "a.tar/000" and found[-1] == "b.tar/004"
    assert len(found) >= 2 and "a.tar/003" not in found and "a.tar/002" not in found
    assert all(r.picture.data() == png(int(r.name[-3:])) for r in records)
    assert any(reason.startswith("the shard is damaged after") for reason in left)
    whole, left = read(f"{write_tar(tmp_path / 'c.tar', pairs(0, 1, 2, 3))}::{other}")
    assert len(whole) == 5 and not left  # control


def test_a_broken_member_is_a_picture_that_can_not_be_read(tmp_path: Path) -> None:
    members = [("a.png", png(0)[:40]), ("a.txt", b"words"), *pairs(1)]
    records, left = read(write_tar(tmp_path / "a.tar", members))
    samples = [PairSample(None, r.caption, r.name, "ab", r.picture) for r in records]
    assert not left  # nothing is decoded here
    with pytest.raises(UnreadableImageError, match=r"a\.tar/a"):
        samples[0].read()
    samples[1].read()  # control


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no tar file"),
        (b"not a tar file at all", "is no tar file"),
        (b"not a tar file at all" * 100, "is no tar file"),
        (b"\x1f\x8b\x08\0" + b"x" * 600, r"compressed.*pipe:gzip -dc"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.tar")


def test_a_shard_without_members_has_no_records(tmp_path: Path) -> None:
    assert read(write_tar(tmp_path / "a.tar", [])) == ([], {})


def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"give 'pipe:cat .*a\.tar'"):
        read(tmp_path / "a.tar")


def test_a_folder_with_the_name_of_a_shard(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    with pytest.raises(DataError, match="Is a directory"):
        read(str(tmp_path / "a.tar"))


# -- shards: pipes ------------------------------------------------------------------------------


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder that what comes from pipes is kept in."""
    monkeypatch.setattr(shards_module, "_SPOOLED", {})
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_pipe_is_read_once(tmp_path: Path, spooled: Path) -> None:
    write_tar(tmp_path / "a.tar", pairs(0, 1))
    subprocess.run(["gzip", "-k", str(tmp_path / "a.tar")], check=True)
    url = f"pipe:echo ran >> {tmp_path}/log; gzip -dc {tmp_path}/a.tar.gz"
    records, left = read(url)
    assert [r.picture.data() for r in records] == [png(0), png(1)] and not left
    assert captions(url) == ["picture 0", "picture 1"]
    assert (tmp_path / "log").read_text() == "ran\n"
    read(f"pipe:echo ran >> {tmp_path}/log; cat {tmp_path}/a.tar")  # control: another command
    assert (tmp_path / "log").read_text() == "ran\nran\n"


def test_pipes_expand_and_mix_with_files(tmp_path: Path, spooled: Path) -> None:
    for name, number in (("a", 0), ("b", 1), ("c", 2)):
        write_tar(tmp_path / f"{name}.tar", pairs(number))
    spec = f"{tmp_path}/c.tar::pipe:cat {tmp_path}/{{a,b}}.tar | cat"
    assert captions(spec) == ["picture 2", "picture 0", "picture 1"]


@pytest.mark.parametrize("command", ["cat {}/missing.tar", "cat {}/a.tar; exit 3"])
def test_a_pipe_that_fails_is_refused(tmp_path: Path, spooled: Path, command: str) -> None:
    write_tar(tmp_path / "a.tar", pairs(0))
    with pytest.raises(DataError, match="cannot read pipe:cat"):
        read("pipe:" + command.format(tmp_path))
    assert captions(f"pipe:cat {tmp_path}/a.tar") == ["picture 0"]  # control


def test_what_came_from_a_pipe_is_removed_at_exit(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", pairs(0))
    code = (
        "import sys; from slsgu.data.opening import open_source\n"
        "record = next(open_source(sys.argv[1]).records())\n"
        "print(record.picture.path, record.picture.path.is_file(), end='')\n"
    )
    url = f"pipe:cat {tmp_path}/a.tar"
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    out = subprocess.run(
        [sys.executable, "-c", code, url], check=True, capture_output=True, text=True, env=env
    ).stdout
    path, was_there = out.rsplit(" ", 1)
    assert was_there == "True" and Path(path).is_relative_to(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]
