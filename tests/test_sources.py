"""Records of shards, tables and folders: what is read, what is left out and why, what is refused.

Every rule has a control: the same source without the damage, or with another name.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slsgu.data import shards as shards_module
from slsgu.data.images import UnreadableImageError, pixel_hash
from slsgu.data.opening import PictureFolder, is_class_folders, open_source
from slsgu.data.records import FilePicture, PairSample, Record
from slsgu.data.shards import ShardSource, expand, is_shards
from slsgu.data.tables import TableSource
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

    def noted(*, fileobj: Any, mode: str) -> Any:
        opened.append(Path(fileobj.name))
        return whole(fileobj=fileobj, mode=mode)

    monkeypatch.setattr(tarfile, "open", noted)
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
    missing = tmp_path / "missing.tar"
    with pytest.raises(DataError, match=r"no such shard: .*missing\.tar"):  # said at once
        open_source(f"{shard}::{missing}")
    missing.touch()
    source = open_source(f"{shard}::{missing}")
    missing.unlink()
    records = source.records()
    assert [next(records).name, next(records).name] == ["a.tar/000", "a.tar/001"]
    assert not source.left_out.reasons
    with pytest.raises(DataError, match=r"cannot read shard .*missing\.tar"):  # control
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


def test_every_folder_of_shards_has_its_own_class_names(tmp_path: Path) -> None:
    members = [("a.png", png(0)), ("a.cls", b"1")]
    shards = []
    for name, classes in (("one", "cat\ndog"), ("two", "dog\nfox"), ("three", None)):
        (tmp_path / name).mkdir()
        shards.append(str(write_tar(tmp_path / name / "a.tar", members)))
        if classes:
            (tmp_path / name / "classnames.txt").write_text(classes)
    source = ShardSource(shards)
    assert [record.label for record in source.records()] == ["dog", "fox", "1"]
    assert source.classes == ["cat", "dog", "fox"]


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
    "cut between records": lambda data: data[: header_of(data, "002.png")],
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
    assert found == ["a.tar/000", "a.tar/001", "b.tar/004"]  # all that is whole
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


# -- tables -------------------------------------------------------------------------------------


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """A folder with three pictures in `cars/`."""
    (tmp_path / "cars").mkdir()
    for number in range(3):
        (tmp_path / "cars" / f"{number}.png").write_bytes(png(number))
    return tmp_path


LINES = [("cars/0.png", "an Oudi A1"), ("cars/1.png", 'a "car", red'), ("cars/2.png", "Käfer 🚗")]


def rows_of(columns: tuple[str, str], separator: str) -> str:
    head, *rest = [columns, *LINES]
    quoted = [(a, '"' + b.replace('"', '""') + '"') for a, b in rest]
    return "\n".join(separator.join(line) for line in [head, *quoted]) + "\n"


def lines_of(columns: tuple[str, str]) -> str:
    return "\n".join(json.dumps(dict(zip(columns, line, strict=True))) for line in LINES) + "\n\n"


OPENCLIP = ("filepath", "title")
TABLES = {
    "pairs.csv": rows_of(OPENCLIP, ","),
    "tabs.csv": rows_of(OPENCLIP, "\t"),  # OpenCLIP's own default
    "pairs.tsv": rows_of(OPENCLIP, "\t"),
    "commas.TSV": rows_of(OPENCLIP, ","),
    "crlf.csv": rows_of(OPENCLIP, ",").replace("\n", "\r\n"),
    "bom.csv": "\ufeff" + rows_of(OPENCLIP, ","),
    "others.csv": rows_of(("file_name", "caption"), ","),
    "more.csv": rows_of(("image", "text"), ",").replace("\n", ",x,y\n"),
    "pairs.jsonl": lines_of(OPENCLIP),
    "bom.jsonl": "\ufeff" + lines_of(("image", "caption")),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_every_kind_say_the_same(cars: Path, name: str) -> None:
    (cars / name).write_bytes(TABLES[name].encode())
    records, left = read(cars / name)
    records.sort(key=lambda record: record.name)
    assert [(r.name, r.caption, r.label) for r in records] == [(*line, None) for line in LINES]
    assert [r.picture.data() for r in records] == [png(n) for n in range(3)] and not left
    assert [r.picture.fingerprint() for r in records] == [
        hashlib.sha256(png(n)).hexdigest() for n in range(3)
    ]
    assert open_source(cars / name).describe() == {
        "kind": Path(name).suffix[1:].lower(), "root": name
    }  # fmt: skip


def test_labels_in_tables(cars: Path) -> None:
    (cars / "a.csv").write_text("filepath,title,label\ncars/0.png,,car\ncars/1.png,red,\n")
    assert {(r.caption, r.label) for r in read(cars / "a.csv")[0]} == {(None, "car"), ("red", None)}
    (cars / "a.jsonl").write_text('{"image": "cars/0.png", "cls": 0}\n')
    assert [(r.caption, r.label) for r in read(cars / "a.jsonl")[0]] == [(None, "0")]


def test_paths_may_be_whole_or_lead_elsewhere(cars: Path) -> None:
    inner = cars / "tables"
    inner.mkdir()
    (inner / "a.csv").write_text(
        f"filepath,title\n../cars/0.png,one\n{cars}/cars/1.png,two\ncars/2.png,not here\n"
    )
    records, left = read(inner / "a.csv")
    assert {r.caption: r.picture.data() for r in records} == {"one": png(0), "two": png(1)}
    assert left == {"no such file": ["cars/2.png"]}


def test_a_sorted_table_is_not_read_class_by_class(tmp_path: Path) -> None:
    classes = ("car", "dog", "ship")
    rows = [(f"{name}/{n:03}.png", name) for name in classes for n in range(100)]
    for path, _ in rows:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    # Two captions of one picture stay in their order.
    rows.insert(1, (rows[0][0], "another"))
    (tmp_path / "a.csv").write_text("".join(f"{a},{b}\n" for a, b in [OPENCLIP, *rows]))
    found = [(r.name, r.caption) for r in read(tmp_path / "a.csv")[0]]
    assert sorted(found) == sorted(rows) and found != rows
    counts = [sum(caption == name for _, caption in found[:90]) for name in classes]
    assert min(counts) > 15, counts
    assert found.index((rows[0][0], "car")) + 1 == found.index((rows[0][0], "another"))
    # The order of the rows does not matter.
    rows[2:] = reversed(rows[2:])
    (tmp_path / "b.csv").write_text("".join(f"{a},{b}\n" for a, b in [OPENCLIP, *rows]))
    assert [(r.name, r.caption) for r in read(tmp_path / "b.csv")[0]] == found


@pytest.mark.parametrize(
    ("text", "lost", "kept"),
    [
        ('cars/0.png,"a ship\ncars/1.png,x\n', "line 2 to 3", []),
        ('cars/0.png,"a\ncars/1.png,x\ncars/0.png,"b" c\ncars/1.png,z\n', "line 2 to 4", ["z"]),
        ('cars/0.png,"Best" ship\ncars/1.png,x\n', "line 2 to 2", ["x"]),
        (f"cars/0.png,{'x' * 200_000}\ncars/1.png,y\n", "line 2 to 2", ["y"]),
    ],
)
def test_quotes_that_do_not_match_lose_nothing_silently(
    cars: Path, text: str, lost: str, kept: list[str]
) -> None:
    (cars / "a.csv").write_text("filepath,title\n" + text)
    records, left = read(cars / "a.csv")
    assert [r.caption for r in records] == kept
    ((reason, (name,)),) = left.items()
    assert reason.startswith("the quotes of a field do not match") and name.endswith(lost)
    (cars / "a.csv").write_text('filepath,title\ncars/0.png,"two\nlines, ""so"""\n')  # control
    assert captions(cars / "a.csv") == ['two\nlines, "so"']


@pytest.mark.parametrize("head", ["Filepath,Title", " FILEPATH , title", "Image,CAPTION"])
def test_the_case_of_column_names_does_not_matter(cars: Path, head: str) -> None:
    (cars / "a.csv").write_text(f"{head}\ncars/0.png,words\n")
    assert captions(cars / "a.csv") == ["words"]


BAD_ROWS = {
    "no text": ('{"filepath": "cars/0.png", "title": " "}', "the caption has no text"),
    "null": ('{"filepath": "cars/0.png", "title": null}', "the caption has no text"),
    "no image": ('{"title": "words"}', "no image is named"),
    "missing": ('{"filepath": "cars/9.png", "title": "words"}', "no such file"),
    "elsewhere": ('{"filepath": "../../../9.png", "title": "words"}', "no such file"),
    "folder": ('{"filepath": "cars", "title": "words"}', "a folder or device, no file"),
    "device": ('{"filepath": "/dev/zero", "title": "words"}', "a folder or device, no file"),
    "cut off": ('{"filepath": "cars/0.png", "ti', "the line is no JSON"),
    "nested": ("[" * 100_000, "the line is no JSON"),
    "many digits": ("9" * 5000, "the line is no JSON"),
    "no object": ('["cars/0.png"]', "the line is no object"),
    "list": ('{"filepath": ["cars/0.png"], "title": "words"}', "no such file"),
    "too long": (json.dumps({"filepath": "x" * 5000, "title": "words"}), "no such file"),
    "null byte": ('{"filepath": "a\\u0000b", "title": "words"}', "no such file"),
    "half a pair": ('{"filepath": "\\ud800", "title": "words"}', "no such file"),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_row_that_can_not_be_used_is_left_out_and_named(cars: Path, row: str) -> None:
    line, reason = BAD_ROWS[row]
    good = '{"filepath": "cars/1.png", "title": "good"}'
    (cars / "a.jsonl").write_text(f"{good}\n{line}\n")
    source = open_source(cars / "a.jsonl")
    assert [r.caption for r in source.records()] == ["good"]
    (note,) = source.left_out.notes("retain set")
    note.encode()  # valid Unicode, whatever the row says
    assert f"1 left out, {reason}" in note
    with pytest.raises(DataError, match=f"{reason}.*strict"):
        source.left_out.refuse("retain set")
    (cars / "a.jsonl").write_text(f"{good}\n")
    assert read(cars / "a.jsonl")[1] == {}  # control


def test_halves_of_surrogate_pairs_in_captions_do_not_get_through(cars: Path) -> None:
    (cars / "a.jsonl").write_text(
        '{"filepath": "cars/0.png", "title": "a \\ud800 b \\ud83d\\ude97"}'
    )
    assert captions(cars / "a.jsonl") == ["a ? b 🚗"]


def test_names_of_files_in_any_bytes(cars: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    (cars / odd).write_bytes(png(7))
    (cars / "a.jsonl").write_text(json.dumps({"filepath": odd, "title": "words"}))
    ((record,), left) = read(cars / "a.jsonl")
    assert record.picture.data() == png(7) and record.name == "\ufffd.png" and not left


def test_a_table_whose_images_are_all_elsewhere_is_refused(cars: Path) -> None:
    (cars / "a.csv").write_text("filepath,title\n0.png,one\n1.png,two\n")
    with pytest.raises(DataError, match=r"none of the images.*0\.png, in line 2 \(.*relative"):
        read(cars / "a.csv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path_to,title\nx,y\n", "no column of image paths, filepath or .*path_to, title"),
        ("a.csv", "filepath,words\nx,y\n", "no column of captions, title or .*filepath, words"),
        ("a.csv", "", "no column of image paths.*columns: none"),
        ("a.csv", "filepath,title\ncars/0.png,caf\udce9\n", "cannot read .*utf-8"),
        ("a.jsonl", '{"filepath": "caf\udce9"}', "cannot read .*utf-8"),
    ],
)
def test_tables_that_are_none_are_refused(cars: Path, name: str, text: str, message: str) -> None:
    (cars / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        read(cars / name)


def test_a_long_caption_is_a_caption(cars: Path) -> None:
    text = "x" * 100_000
    (cars / "a.csv").write_text(f"filepath,title\ncars/0.png,{text}\n")
    (cars / "a.jsonl").write_text(json.dumps({"filepath": "cars/0.png", "title": 3 * text}))
    assert captions(cars / "a.csv") == [text] and captions(cars / "a.jsonl") == [3 * text]


def test_a_table_that_can_not_be_read(cars: Path) -> None:
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        with pytest.raises(DataError, match="no such source"):
            open_source(cars / name)
        with pytest.raises(DataError, match=r"cannot read .*No such file"):  # it has gone since
            list(TableSource(cars / name).records())


# -- what a specification names -----------------------------------------------------------------


def test_a_specification_names_one_kind_of_source(cars: Path) -> None:
    write_tar(cars / "shards.tar", [])
    for name in ("a.csv", "A.JSONL", "a.tar"):
        (cars / name).touch()
    for spec, kind in (
        (cars / "a.csv", TableSource),
        (cars / "A.JSONL", TableSource),
        (cars / "cars", PictureFolder),
        (cars, ShardSource),  # it holds one
        (cars / "a.tar", ShardSource),
        ("s3://bucket/a.tar", ShardSource),
    ):
        assert isinstance(open_source(spec), kind), spec
    assert is_shards("pipe:cat x") and is_shards("a.TAR") and is_shards("a.tar.gz")
    assert not is_shards("tar") and not is_shards("a.csv") and not is_shards("C:/a.csv")


@pytest.mark.parametrize("spec", ["", "nothing", "x" * 5000, "a\0b", "\udcff", "~"])
def test_a_specification_that_names_nothing(cars: Path, spec: str) -> None:
    with pytest.raises(DataError, match="no such source"):
        open_source(f"{cars}/{spec}.zip")


def test_what_is_no_source(cars: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png is no source: give a folder"):
        open_source(cars / "cars" / "0.png")
    assert is_class_folders("x" * 5000)  # it is missed by its name later on


def test_a_folder_of_pictures_has_no_words(cars: Path) -> None:
    (cars / "cars" / "notes.txt").write_text("not a caption")
    (cars / "cars" / "more.d").mkdir()
    (cars / "cars" / "more.d" / "4.PNG").write_bytes(png(4))
    records, left = read(cars / "cars")
    assert [r.name for r in records] == ["0.png", "1.png", "2.png", "more.d/4.PNG"] and not left
    assert records[3].picture == FilePicture(cars / "cars" / "more.d" / "4.PNG")
    assert [(r.caption, r.label) for r in records] == [(None, None)] * 3 + [(None, "more.d")]
    assert open_source(cars / "cars").describe() == {"kind": "pictures", "root": "cars"}
