"""Shards that are damaged or not whole: what is left out and why, what is refused.

Every rule has a control: the same shard without the damage.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from helpers.pictures import Members, captions, pairs, png, read, write_tar

from slsgu.data.images import UnreadableImageError
from slsgu.data.sources.open import open_source
from slsgu.data.sources.records import PairSample
from slsgu.data.sources.shards import ShardSource
from slsgu.errors import DataError

# -- shards: what is left out -------------------------------------------------------------------

DEFECTS: dict[str, tuple[Members, str]] = {
    "no text": ([("x.png", png(9))], "it has neither a caption (txt) nor a class (cls)"),
    "no picture": ([("x.txt", b"words")], "it has no picture (jpg, jpeg"),
    "empty picture": ([("x.png", b""), ("x.txt", b"words")], "the picture is empty"),
    "empty caption": ([("x.png", png(9)), ("x.txt", b"")], "the caption is empty"),
    "blank caption": ([("x.png", png(9)), ("x.txt", b" \n\t\r\n")], "the caption is empty"),
    "only a BOM": ([("x.png", png(9)), ("x.txt", b"\xef\xbb\xbf\n")], "the caption is empty"),
    "not UTF-8": ([("x.png", png(9)), ("x.txt", b"caf\xe9")], "its text is not UTF-8"),
    "UTF-16": ([("x.png", png(9)), ("x.txt", "car".encode("utf-16-le"))], "its text holds NUL"),
    "huge": (
        [("x.png", png(9)), ("x.txt", b"x" * (1 << 21))],
        "its text is too long for a caption",
    ),
    "class 2 of 2": ([("x.png", png(9)), ("x.cls", b"2")], "cls is 2, but there are 2"),
    "endless class": ([("x.png", png(9)), ("x.cls", b"9" * 5000)], "cls is 999999999, but"),
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
    for data, why in (
        (b"caf\xe9\n", r"cannot read .*classnames\.txt.*save it as UTF-8"),
        ("cat\ndog\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (b"cat\0\ndog\n", "it holds NUL bytes"),
        (b"cat\n\x1b]0;x\x07dog\n", r"classnames\.txt line 2 holds unprintable characters"),
        (b"cat\n" * (1 << 23), "it holds 33,554,432 bytes, and more than"),
    ):
        (tmp_path / "classnames.txt").write_bytes(data)
        with pytest.raises(DataError, match=why):
            open_source(shard)


def test_members_that_stand_twice_lose_nothing_silently(tmp_path: Path) -> None:
    members = [("a.png", png(0)), ("a.txt", b"one"), ("a.png", png(1)), ("a.txt", b"two")]
    records, _ = read(write_tar(tmp_path / "a.tar", members))
    assert [(r.caption, r.picture.data()) for r in records] == [("one", png(0)), ("two", png(1))]
    members = [("a.png", png(0)), ("a.png", png(1)), ("a.txt", b"two")]
    records, left = read(write_tar(tmp_path / "b.tar", members))
    assert [(r.caption, r.picture.data()) for r in records] == [("two", png(1))]
    assert left == {"it has neither a caption (txt) nor a class (cls)": ["b.tar/a"]}


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
        (b"", "is not a tar file"),
        (b"not a tar file at all", "is not a tar file"),
        (b"not a tar file at all" * 100, "is not a tar file"),
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


def test_devices_and_holes_do_not_hang(tmp_path: Path) -> None:
    (tmp_path / "a.tar").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"cannot read shard .*a\.tar: it is a pipe or a device"):
        read(tmp_path / "a.tar")
    with (tmp_path / "b.tar").open("wb") as file:
        file.truncate(1 << 42)
    assert read(tmp_path / "b.tar") == ([], {})  # a tar file without members begins so
    whole = write_tar(tmp_path / "c.tar", pairs(0, 1))
    with whole.open("rb+") as file:
        file.truncate(1 << 42)
    assert len(read(whole)[0]) == 2 and not read(whole)[1]
    with whole.open("rb+") as file:  # and goes on behind the hole
        file.seek(1 << 42)
        file.write(write_tar(tmp_path / "d.tar", pairs(2)).read_bytes())
    assert [r.name for r in read(whole)[0]] == ["c.tar/000", "c.tar/001", "c.tar (2)/002"]
    (tmp_path / "classnames.txt").symlink_to("/dev/zero")  # is no list of names
    assert len(read(whole)[0]) == 3


def with_size(data: bytes, member: str, size: int) -> bytes:
    """A shard in which the header of a member claims another size."""
    place = header_of(data, member)
    head = bytearray(data[place : place + 512])
    head[124:136] = b"\x80" + size.to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:place] + bytes(head) + data[place + 512 :]


@pytest.mark.parametrize("size", [1 << 20, 1 << 50, 1 << 70, (1 << 80) - 1])
@pytest.mark.parametrize("number", [0, 1])
def test_a_member_that_lies_about_its_size_costs_its_record(
    tmp_path: Path, size: int, number: int
) -> None:
    """Also if it is the first, with its caption before it."""
    caption_first = [
        member for n in (0, 1) for member in sorted(pairs(n), key=lambda m: m[0][-3:] != "txt")
    ]
    shard = write_tar(tmp_path / "a.tar", caption_first)
    shard.write_bytes(with_size(shard.read_bytes(), f"00{number}.png", size))
    other = write_tar(tmp_path / "b.tar", pairs(4))
    records, left = read(f"{shard}::{other}")
    assert [r.name for r in records] == [*["a.tar/000"][:number], "b.tar/004"]
    assert any(reason.startswith("the shard is damaged after") for reason in left)


def test_a_picture_of_terabytes_is_left_out(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", [("x.txt", b"words"), ("x.png", b"")])
    data = with_size(shard.read_bytes(), "x.png", 1 << 42)
    tail = write_tar(tmp_path / "b.tar", pairs(1)).read_bytes()
    with shard.open("wb") as file:  # the bytes are there, in a hole
        file.write(data[: header_of(data, "x.png") + 512])
        file.seek(1 << 42, os.SEEK_CUR)
        file.write(tail)
    records, left = read(shard)
    assert [r.name for r in records] == ["a.tar/001"]
    assert left == {
        "the picture has 4,398,046,511,104 bytes; more than 1,073,741,824 are not read": ["a.tar/x"]
    }


def test_one_bad_member_costs_its_record_and_nothing_else(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in [*pairs(0), ("x.png", png(9)), ("x.txt", b"words"), *pairs(1)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == "x.png":
                info.pax_headers = {"comment": "what is said of it"}
            tar.addfile(info, io.BytesIO(data))
    whole = shard.read_bytes()
    assert len(read(shard)[0]) == 3  # control
    for damage, why in (
        (lambda data: data.replace(b"comment=", b"comment "), "its header is damaged"),
        (lambda data: data.replace(b"comment=what ", b"GNU.sparse.1="), "stored as a sparse file"),
    ):
        shard.write_bytes(damage(whole))
        records, left = read(shard)
        assert [r.name for r in records] == ["a.tar/000", "a.tar/001"]
        ((reason, names),) = left.items()
        assert names == ["a.tar/x"] and reason.startswith("the picture cannot be read: ")
        assert reason.endswith(why)


def test_a_folder_with_the_name_of_a_shard(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    with pytest.raises(DataError, match="it is a folder"):
        read(str(tmp_path / "a.tar"))
