"""Tables and folders of pictures: what is read, what is left out and why, what is refused.

Every rule has a control: the same source without the damage, or with another name.
"""

from __future__ import annotations

import csv
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from helpers.pictures import captions, png, read, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from slsgu.data.sources.open import PictureFolder, is_class_folders, open_source
from slsgu.data.sources.records import FilePicture
from slsgu.data.sources.shards import ShardSource, is_shards
from slsgu.data.sources.tables import TableSource
from slsgu.data.splits.partition import rank
from slsgu.errors import DataError

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


QUOTES = "the quotes around a field do not match"


@pytest.mark.parametrize(
    ("text", "lost", "kept"),
    [
        ('cars/0.png,"a ship\ncars/1.png,x\n', {2: QUOTES}, ["x"]),
        ('cars/0.png,"a\ncars/1.png,x\ncars/0.png,"b" c\n', {2: QUOTES, 4: QUOTES}, ["x"]),
        ('cars/0.png,"a ship\ncars/1.png,x\ncars/2.png,12"\n', {2: QUOTES}, ["x", '12"']),
        ('cars/0.png,"Best" ship\ncars/1.png,x\n', {2: QUOTES}, ["x"]),
        (f"cars/0.png,{'x' * 200_000}\ncars/1.png,y\n", {2: QUOTES}, ["y"]),
        ("cars/0.png,a car, of a kind\ncars/1.png,y,\n", {2: "more fields than columns"}, ["y"]),
    ],
)
def test_damaged_rows_lose_nothing_else_and_nothing_silently(
    cars: Path, text: str, lost: dict[int, str], kept: list[str]
) -> None:
    (cars / "a.csv").write_text("filepath,title\n" + text)
    records, left = read(cars / "a.csv")
    assert sorted(str(r.caption) for r in records) == sorted(kept)
    found = {name: reason for reason, names in left.items() for name in names}
    assert found.keys() == {f"{cars / 'a.csv'} line {line}" for line in lost}
    for line, reason in lost.items():
        assert reason in found[f"{cars / 'a.csv'} line {line}"]
    (cars / "a.csv").write_text('filepath,title\ncars/0.png,"two, and\nlines, ""so"""\n\n')
    assert captions(cars / "a.csv") == ['two, and\nlines, "so"']  # control


@pytest.mark.parametrize("head", ["Filepath,Title", " FILEPATH , title", "Image,CAPTION"])
def test_the_case_of_column_names_does_not_matter(cars: Path, head: str) -> None:
    (cars / "a.csv").write_text(f"{head}\ncars/0.png,words\n")
    assert captions(cars / "a.csv") == ["words"]


BAD_ROWS = {
    "no text": ('{"filepath": "cars/0.png", "title": " "}', "the caption is empty"),
    "null": ('{"filepath": "cars/0.png", "title": null}', "the caption is empty"),
    "no image": ('{"title": "words"}', "it names no image"),
    "missing": ('{"filepath": "cars/9.png", "title": "words"}', "no such file"),
    "elsewhere": ('{"filepath": "../../../9.png", "title": "words"}', "no such file"),
    "folder": ('{"filepath": "cars", "title": "words"}', "it is a folder or a device, not a file"),
    "device": (
        '{"filepath": "/dev/zero", "title": "words"}',
        "it is a folder or a device, not a file",
    ),
    "cut off": ('{"filepath": "cars/0.png", "ti', "the line is not JSON"),
    "nested": ("[" * 100_000, "the line is not JSON"),
    "many digits": ("9" * 5000, "the line is not JSON"),
    "no object": ('["cars/0.png"]', "the line is not an object"),
    "list": ('{"filepath": ["cars/0.png"], "title": "words"}', "it names no image"),
    "captions": ('{"filepath": "cars/0.png", "title": ["a", "b"]}', "the caption is empty"),
    "no": ('{"filepath": "cars/0.png", "title": false}', "the caption is empty"),
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
    assert note.isprintable() and note.encode()  # valid Unicode, whatever the row says
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
        ("a.csv", "filepath;title\nx;y\n", r"filepath;title \(commas or tabs must separate them"),
        (
            "a.csv",
            "filepath,title\ncars/0.png,caf\udce9\n",
            "utf-8.*save it as UTF-8",
        ),
        ("a.jsonl", '{"filepath": "caf\udce9"}', "cannot read .*utf-8"),
    ],
)
def test_tables_that_are_none_are_refused(cars: Path, name: str, text: str, message: str) -> None:
    (cars / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        read(cars / name)


@pytest.mark.parametrize(
    "head", ["filepath,title,title", "Title,filepath, title", "image,image,text"]
)
def test_a_column_that_stands_there_twice_is_told(cars: Path, head: str) -> None:
    (cars / "pairs.csv").write_text(f"{head}\ncars/0.png,a car,a truck\n")
    name = "image" if "image" in head else "title"
    with pytest.raises(DataError, match=f"several columns called {name}.*its columns: {head[:5]}"):
        list(TableSource(cars / "pairs.csv").records())
    # Control: other columns may be called alike, and so may two of one meaning by other names.
    (cars / "pairs.csv").write_text("note,filepath,title,note,text\nx,cars/0.png,a car,y,z\n")
    (record,) = TableSource(cars / "pairs.csv").records()
    assert record.caption == "a car"


def test_a_line_that_says_something_twice_is_left_out(cars: Path) -> None:
    good = '{"filepath": "cars/0.png", "title": "a car", "note": 1, "note": 2}'
    bad = '{"filepath": "cars/1.png", "title": "a car", "Title": "a truck"}'
    (cars / "pairs.jsonl").write_text(f"{bad}\n{good}\n")
    source = TableSource(cars / "pairs.jsonl")
    assert [record.name for record in source.records()] == ["cars/0.png"]
    (note,) = source.left_out.notes("retain set")
    assert "pairs.jsonl line 1" in note and "title stands in it twice" in note


def test_a_long_caption_is_a_caption(cars: Path) -> None:
    text = "x" * 100_000
    (cars / "a.csv").write_text(f"filepath,title\ncars/0.png,{text}\n")
    (cars / "a.jsonl").write_text(json.dumps({"filepath": "cars/0.png", "title": 3 * text}))
    assert captions(cars / "a.csv") == [text] and captions(cars / "a.jsonl") == [3 * text]


def test_a_table_that_can_not_be_read(cars: Path) -> None:
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        with pytest.raises(DataError, match="no such file or folder"):
            open_source(cars / name)
        with pytest.raises(DataError, match=r"table not found: "):  # it has gone since
            list(TableSource(cars / name).records())


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_tables_in_other_encodings_and_with_nul_bytes_are_refused(cars: Path, name: str) -> None:
    text = TABLES["pairs.csv" if name == "a.csv" else "pairs.jsonl"]
    for data, why in (
        (text.encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (text.encode("utf-16-be"), "line 1 holds NUL bytes"),
        (text.replace("Oudi", "Ou\0di").encode(), "line [12] holds NUL bytes, so it is not text"),
        (text.encode() + b"x" * (17 << 20), "line [56] has more than 16,777,216 bytes"),
    ):
        (cars / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"cannot read .*{name}: {why}"):
            read(cars / name)
    (cars / name).write_bytes(text.encode())
    assert len(read(cars / name)[0]) == 3  # control


def test_devices_and_holes_are_no_tables(cars: Path) -> None:
    for name in ("a.csv", "b.jsonl"):
        (cars / name).symlink_to("/dev/zero")
        with pytest.raises(DataError, match="it is a pipe or a device"):
            read(cars / name)
        (cars / name).unlink()
        os.mkfifo(cars / name)
        with pytest.raises(DataError, match="it is a pipe or a device"):
            read(cars / name)
        (cars / name).unlink()
        with (cars / name).open("wb") as file:
            file.write(TABLES["pairs.csv" if name == "a.csv" else "pairs.jsonl"].encode())
            file.truncate(1 << 42)
        with pytest.raises(DataError, match=r"line \d has more than|line \d holds NUL"):
            read(cars / name)


# -- tables that are large ----------------------------------------------------------------------


def whole(path: Path) -> list[tuple[str, str]]:
    """The rows of a table in their order, by reading all of it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".jsonl":
            rows = [tuple(json.loads(line).values()) for line in file.read().split("\n") if line]
        else:
            rows = [tuple(row) for row in csv.reader(file)][1:]
    rows.sort(key=lambda row: rank(row[0].encode(), 0))
    return [(name, caption.strip()) for name, caption in rows]


def test_rows_that_are_read_again_are_those_that_were_ordered(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever the captions hold, and however lines end."""
    folder = tmp_path_factory.mktemp("table")
    for number in range(9):
        (folder / f"{number}é.png").touch()
    letters = st.sampled_from(["\r", "\n", "\r\n", '"', ",", "é", "🚗", "x", " "])
    captions_ = st.lists(letters, max_size=6).map("".join).map(lambda text: f"a{text}z")
    rows = st.lists(st.tuples(st.integers(0, 8), captions_), min_size=1, max_size=12)

    @given(rows, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
    @settings(max_examples=150, deadline=None)
    def check(numbered: list[tuple[int, str]], end: str, bom: bool) -> None:
        named = [(f"{number}é.png", caption) for number, caption in numbered]
        encoding = "utf-8-sig" if bom else "utf-8"
        with (folder / "a.csv").open("w", encoding=encoding, newline="") as file:
            csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
                [OPENCLIP, *named]
            )
        lines = [json.dumps(dict(zip(OPENCLIP, row, strict=True))) + "\n" for row in named]
        (folder / "b.jsonl").write_text("".join(lines), encoding=encoding)
        for name in ("a.csv", "b.jsonl"):
            records, left = read(folder / name)
            assert [(r.name, r.caption) for r in records] == whole(folder / name) and not left

    check()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_memory_does_not_grow_with_what_rows_say(cars: Path, name: str) -> None:
    """32 bytes a row, and a few more while they are put in order."""

    def peak(count: int) -> int:
        with (cars / name).open("w") as file:
            if name == "a.csv":
                file.write("filepath,title\n")
            for number in range(count):
                row = (f"cars/{number % 3}.png", f"caption number {number} of a car in a street")
                line = json.dumps(dict(zip(OPENCLIP, row, strict=True)))
                file.write((",".join(row) if name == "a.csv" else line) + "\n")
        tracemalloc.start()
        try:
            assert next(iter(TableSource(cars / name).records())).caption
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(5_000), peak(45_000)
    assert (many - few) / 40_000 < 64


def test_a_table_that_changes_while_it_is_read_is_refused(cars: Path) -> None:
    path = cars / "a.csv"
    path.write_text(TABLES["pairs.csv"])
    records = TableSource(path).records()
    next(records)
    path.write_text("filepath,title\n" + "cars/1.png,other\n" * 20)
    with pytest.raises(DataError, match="has changed since it was first read"):
        list(records)


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
    with pytest.raises(DataError, match="no such file or folder"):
        open_source(f"{cars}/{spec}.zip")


def test_what_is_no_source(cars: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png is not a data source: give a folder"):
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
