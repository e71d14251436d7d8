"""Shards: what is read, from files and from pipes.

Every rule has a control: the same shard in another state, or another one.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import captions, pairs, png, read, write_tar
from PIL import Image

from slsgu.data.images import UnreadableImageError, pixel_hash
from slsgu.data.sources import pipes
from slsgu.data.sources import shards as shards_module
from slsgu.data.sources.open import open_source
from slsgu.data.sources.records import PairSample
from slsgu.data.sources.shards import expand
from slsgu.errors import DataError

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
    with pytest.raises(
        UnreadableImageError, match=r"a\.tar/005: the file that holds it is cut short"
    ):
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
    whole = shards_module.open_regular

    def noted(path: Path, *args: Any, **more: Any) -> Any:
        opened.append(path)
        return whole(path, *args, **more)

    monkeypatch.setattr(shards_module, "open_regular", noted)
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
    with pytest.raises(DataError, match=r"shard not found: .*missing\.tar"):  # control
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


@pytest.mark.parametrize("spec", ["s-{000.tar", "::a.tar", "a.tar::", "s-{0..999999999}.tar"])
def test_braces_and_lists_that_name_nothing(spec: str) -> None:
    with pytest.raises(DataError, match="names no shard"):
        open_source(spec)


def test_a_file_that_is_called_so_is_meant(tmp_path: Path) -> None:
    for name, number in (("{a,b}", 0), ("a", 1), ("b", 2), ("x::y", 3)):
        write_tar(tmp_path / f"{name}.tar", pairs(number))
    assert captions(f"{tmp_path}/{{a,b}}.tar") == ["picture 0"]
    assert captions(f"{tmp_path}/{{a,b}}.tar::{tmp_path}/b.tar") == ["picture 0", "picture 2"]
    assert captions(f"{tmp_path}/x::y.tar") == ["picture 3"]
    (tmp_path / "{a,b}.tar").unlink()
    assert captions(f"{tmp_path}/{{a,b}}.tar") == ["picture 1", "picture 2"]  # control


def test_only_pipes_need_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", ".shardlists", ".gopen"):
        monkeypatch.setitem(sys.modules, f"webdataset{name}", None)
    for name, number in (("a", 0), ("b", 1)):
        write_tar(tmp_path / f"{name}.tar", pairs(number))
    assert captions(f"{tmp_path}/{{a,b}}.tar") == ["picture 0", "picture 1"]
    assert captions(f"{tmp_path}/b.tar::{tmp_path}/a.tar") == ["picture 1", "picture 0"]
    with pytest.raises(DataError, match=r"pipe: .* pip install 'slsgu\[webdataset\]'"):
        list(open_source(f"pipe:cat {tmp_path}/a.tar").records())


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
    assert left == {"it has neither a caption (txt) nor a class (cls)": ["a.tar/\ufffd\ufffd2"]}
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
    assert [names for reason, names in left.items() if reason.startswith("it has no picture")] == [
        ["a.tar/link"]
    ]


# -- shards: pipes ------------------------------------------------------------------------------


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder that what comes from pipes is kept in."""
    monkeypatch.setattr(pipes, "_SPOOLED", {})
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
        "import sys; from slsgu.data.sources.open import open_source\n"
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


def test_what_a_killed_program_left_of_its_pipe_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    shard = write_tar(tmp_path / "a.tar", pairs(0))
    code = (
        "import sys, time; from slsgu.data.sources.open import open_source\n"
        "print(next(open_source(sys.argv[1]).records()).picture.path, flush=True)\n"
        "time.sleep(600)\n"
    )
    env = {**os.environ, "TMPDIR": str(temporary)}
    words = [sys.executable, "-c", code, f"pipe:cat {shard}"]
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        kept = Path(process.stdout.readline().strip())
        try:
            assert kept.read_bytes() == shard.read_bytes()
            assert kept.parent.parent == temporary and kept.parent.stat().st_mode & 0o777 == 0o700
            open_source(shard)
            assert kept.is_file()  # control: its program lives
        finally:
            process.kill()
    assert kept.is_file()
    open_source(shard)
    assert not list(temporary.iterdir())


def test_a_pipe_that_can_not_be_kept(
    tmp_path: Path, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "a.tar", pairs(0))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no temporary file can be made .*set TMPDIR"):
        read(f"pipe:cat {tmp_path}/a.tar")
    monkeypatch.setattr("tempfile.tempdir", str(spooled))
    assert captions(f"pipe:cat {tmp_path}/a.tar") == ["picture 0"]  # control
    with pytest.raises(DataError, match="cannot read pipe:cat"):
        read(f"pipe:cat {tmp_path}/a.tar {tmp_path}/none.tar")
    assert [path.name for path in spooled.rglob("*.tar")] == ["1.tar"]  # no half of one


def test_shards_one_behind_the_other(tmp_path: Path) -> None:
    """As `cat` joins them: each ends with empty blocks, after which `tarfile` stops."""
    one = write_tar(tmp_path / "a.tar", pairs(0, 1)).read_bytes()
    two = write_tar(tmp_path / "b.tar", pairs(1, 2)).read_bytes()
    both = tmp_path / "both.tar"
    both.write_bytes(one + two)
    records, left = read(both)
    assert [record.caption for record in records] == [f"picture {n}" for n in (0, 1, 1, 2)]
    assert [record.picture.data() for record in records] == [png(n) for n in (0, 1, 1, 2)]
    assert not left and captions(f"pipe:cat {tmp_path}/a.tar {tmp_path}/b.tar") == [
        record.caption for record in records
    ]
    both.write_bytes(one + two[:1024])  # cut in the second, behind its picture
    records, left = read(both)
    assert [record.caption for record in records] == ["picture 0", "picture 1"]
    assert any("the shard is damaged after" in reason for reason in left)
    both.write_bytes(one + b"more" * 200)
    records, left = read(both)
    assert len(records) == 2 and left == {
        "the shard is followed by something else after 6 members, which are used": ["both.tar"]
    }
    # Names of one have nothing to do with those of the other.
    first = write_tar(tmp_path / "a.tar", [("0.jpg", png(0))]).read_bytes()
    second = write_tar(tmp_path / "b.tar", [("0.png", png(1)), ("0.txt", b"of the second")])
    both.write_bytes(first + second.read_bytes())
    records, left = read(both)
    assert [(r.name, r.caption, r.picture.data()) for r in records] == [
        ("both.tar (2)/0", "of the second", png(1))
    ]
    assert left == {"it has neither a caption (txt) nor a class (cls)": ["both.tar/0"]}
    both.write_bytes(one + bytes(10**6))  # control: padding is no damage
    assert len(read(both)[0]) == 2 and not read(both)[1]
