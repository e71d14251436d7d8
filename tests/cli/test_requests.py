"""Requests by images, from the command line: select, apply, cache, --also, pareto."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Ran
from PIL import Image

from slsgu.concepts.taxonomy import Taxonomy, normalise
from slsgu.data.select import write_shard
from slsgu.data.sources.records import FilePicture, Record
from slsgu.data.splits.labels import Labels
from slsgu.errors import DataError
from slsgu.patch.patch import Patch
from slsgu.task.pairs import Pairs
from slsgu.task.task import MADE_FROM

Cli = Callable[..., Ran]
FEW = ["--trials", "4"]


@pytest.fixture
def pairs(photos: Path, tmp_path: Path) -> Path:
    """A table of the photographs, captioned by class; and the names of the classes."""
    rows = []
    for file in sorted((photos / "images").rglob("*.png")):
        rows.append((str(file), f"a photo of a {file.parent.name}, number {file.stem}"))
    with (tmp_path / "all.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("filepath", "title"), *rows])
    (tmp_path / "names.txt").write_text("beagle\npug\ntabby\nsiamese\n")
    return tmp_path / "all.csv"


@pytest.fixture
def asked(pairs: Path, taught_dir: Path) -> list[str]:
    """The identity case: a forget set by caption, the rest retained, named among four."""
    return [
        *("--forget", "beagle.tar", "--retain", str(pairs), "--name", "beagle"),
        *("--classes", "names.txt", "--model", f"local-dir:{taught_dir}"),
    ]


@pytest.fixture
def beagles(cli: Cli, pairs: Path) -> Ran:
    return cli("select", "--source", pairs, "--match", "beagle", "--out", "beagle.tar")


# -- select -------------------------------------------------------------------------------------


def test_select_counts_shows_and_writes(cli: Cli, pairs: Path, beagles: Ran) -> None:
    assert beagles.code == 0 and "20 pair(s), 20 different caption(s), 10 not shown" in beagles.out
    assert "pairs      beagle.tar" in beagles.out and "a photo of a pug" not in beagles.out
    with tarfile.open("beagle.tar") as tar:
        names = tar.getnames()
    assert len(names) == 40 and names[:2] == ["000000000.png", "000000000.txt"]
    again = cli("select", "--source", "beagle.tar", "--match", "Number", "--json")
    assert json.loads(again.out)["count"] == 20  # what was written is a source
    two = cli("select", "--source", pairs, "--match", "pug", "--match", "tabby", "--show", "0")
    assert two.out.startswith("40 pair(s)")


def test_select_that_finds_nothing_leaves_what_is_there(
    cli: Cli, pairs: Path, beagles: Ran
) -> None:
    before = Path("beagle.tar").read_bytes()
    half = ["--match", "beagl", "--out", "beagle.tar", "--force"]  # half a word
    ran = cli("select", "--source", pairs, *half)
    assert ran.code == 1 and "no caption in" in ran.err and "'beagl'" in ran.err
    assert Path("beagle.tar").read_bytes() == before
    assert cli("select", "--source", pairs, "--match", " ").code == 2
    assert cli("select", "--source", pairs, "--match", "pug", "--out", "pug.csv").code == 2
    assert cli("select", "--source", "missing.csv", "--match", "pug").code == 1


def test_select_names_pictures_by_what_they_are(cli: Cli, photos: Path, tmp_path: Path) -> None:
    """Whatever the files are called; what is no picture is left out and named."""
    files = ["noext", "x.jfif", "y.jpe", "z.PNG", "w.jpg?w=300", "6.png", "bad.jpg", "empty.jpg"]
    pictures = sorted((photos / "images" / "pug").glob("*.png"))
    for name, picture in zip(files, pictures, strict=False):
        Image.open(picture).save(tmp_path / name, "JPEG" if "j" in name else "PNG")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with (tmp_path / "ext.csv").open("w", newline="") as table:
        rows = [(name, "a ship") for name in [*files, "/proc/self/mem"]]
        csv.writer(table).writerows([("filepath", "title"), *rows])
    ran = cli("select", "--source", "ext.csv", "--match", "ship", "--out", "ext.tar")
    assert ran.code == 0 and "6 pair(s)" in ran.out
    assert "source: 2 left out, it is not a picture: bad.jpg, empty.jpg" in ran.err
    assert "1 left out, the image cannot be read (" in ran.err and "self/mem" in ran.err
    with tarfile.open("ext.tar") as tar:
        endings = [name.partition(".")[2] for name in tar.getnames() if not name.endswith("txt")]
    assert sorted(endings) == ["jpg"] * 3 + ["png"] * 3
    again = cli("select", "--source", "ext.tar", "--match", "ship")
    assert "6 pair(s)" in again.out and not again.err
    (tmp_path / "ext.csv").write_text("filepath,title\nbad.jpg,a ship\n")
    ran = cli("select", "--source", "ext.csv", "--match", "ship", "--out", "none.tar")
    assert (
        ran.code == 1 and "nothing to write to none.tar: 1 left out, it is not a picture" in ran.err
    )
    assert not (tmp_path / "none.tar").exists()


def test_a_shard_is_written_of_pictures_only(tmp_path: Path) -> None:
    """From a program, which need not ask what is left out."""
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    record = Record("bad", FilePicture(tmp_path / "bad.jpg"), "a ship")
    for records, told in (([record], "bad: it is not a picture"), ([], "there are no records")):
        with pytest.raises(DataError, match=told):
            write_shard(records, tmp_path / "a.tar")
    assert [file.name for file in tmp_path.iterdir()] == ["bad.jpg"]


def test_select_shows_captions_in_a_line_each(cli: Cli, photos: Path, tmp_path: Path) -> None:
    picture = photos / "images" / "pug" / "00.png"
    rows = [(picture, "a ship\nPATCH ok"), (picture, "a ship \a\x1b[2J\u202e")]
    with (tmp_path / "x.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("filepath", "title"), *rows])
    ran = cli("select", "--source", "x.csv", "--match", "ship")
    assert len(ran.out.splitlines()) == 4 and "a ship\ufffdPATCH ok" in ran.out
    assert not {"\a", "\x1b", "\u202e"} & set(ran.out)
    whole = json.loads(cli("select", "--source", "x.csv", "--match", "ship", "--json").out)
    assert rows[0][1] in whole["captions"]  # control


def test_select_knows_both_ways_to_write_an_accent(cli: Cli, photos: Path, tmp_path: Path) -> None:
    """Composed or not (NFC, NFD); and so does a retain set, which then keeps neither."""
    files = sorted((photos / "images").rglob("*.png"))
    said = ["Beyonc\u00e9 on stage", "live: Beyonce\u0301!", "a tabby", "a pug"]
    with (tmp_path / "x.csv").open("w", newline="") as table:
        rows = [(file, said[index % 4]) for index, file in enumerate(files)]
        csv.writer(table).writerows([("filepath", "title"), *rows])
    for name in ("Beyonc\u00e9", "beyonce\u0301"):
        ran = cli("select", "--source", "x.csv", "--match", name)
        assert "40 pair(s)" in ran.out
    assert cli("select", "--source", "x.csv", "--match", "beyonce").code == 1  # another name
    names = normalise("Beyonce\u0301"), normalise("BEYONC\u00c9")
    assert names[0] == names[1] != normalise("Beyonce")
    request = Pairs(forget="x", retain="y", name="Beyonc\u00e9").request(
        Taxonomy.parse(["tabby", "pug"])
    )
    labels = Labels(request.taxonomy)
    record = Record("x", FilePicture(files[0]), "live: Beyonce\u0301!")
    assert labels.of(record) is request.concepts[0]


# -- pairs --------------------------------------------------------------------------------------


def test_the_identity_case(cli: Cli, asked: list[str], beagles: Ran, tmp_path: Path) -> None:
    ran = cli("apply", *asked, "--force", "--json")  # a model that knows no such sentences
    assert "retain set: 20 left out, the picture is to be forgotten" in ran.err
    value = json.loads(ran.out)
    assert value["after"]["forget_fine"] < value["before"]["forget_fine"]
    assert {row["level"] for row in value["levels"]} == {0, 1}
    assert not any(row["level"] == 0 and row["images"] == "forget" for row in value["levels"])
    assert value["data"]["kind"] == "pairs" and value["request"]["concepts"] == ["beagle"]
    assert value["counts"]["retain_fine"] == 18  # 30 % of 60 pairs of the other three
    patch = Patch.load(Path(value["patch"]))
    ran = cli("patch", "apply", value["patch"], asked[-1], "--out", "out")
    assert ran.code == 0 and list(patch.layers) == [value["layer"]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--concept NAME, or --forget SOURCE"),
        (["--concept", "pug", "--forget", "beagle.tar"], "not both"),
        (["--concept", "pug", "--name", "x"], "--name goes with --forget"),
        (["--forget", "beagle.tar", "--data", "photos"], "--data goes with --concept"),
    ],
)
def test_what_to_forget_must_be_clear(cli: Cli, words: list[str], told: str) -> None:
    ran = cli("apply", *words)
    assert ran.code == 2 and told in " ".join(ran.err.split())


def test_without_retain_images(
    cli: Cli, asked: list[str], beagles: Ran, world: list[str], photos: Path
) -> None:
    alone = ["--forget", "beagle.tar", "--name", "beagle", *asked[-2:]]
    for words, told in (
        ([], "give --retain SOURCE, or --parent NAME"),
        (["--parent", "dog"], "without a class beside 'dog'"),
    ):
        ran = cli("apply", *alone, *words)
        assert ran.code == 1 and told in ran.err
    ran = cli("apply", *alone, "--taxonomy", photos / "pets.yaml", *FEW, "--force", "--json")
    value = json.loads(ran.out)
    assert value["floors_not_measured"] == ["retain_fine", "retain_coarse"]
    assert value["before"]["retain_fine"] is None and value["before"]["forget_coarse"] is not None
    assert "retain_fine" not in " ".join(value["shortfall"] or "")
    shown = cli("apply", *alone, "--taxonomy", photos / "pets.yaml", *FEW, "--force")
    assert (
        "not measured, so no floor can be enforced: other images at the finest level" in shown.out
    )
    # Control: with retain images all floors are measured.
    ran = cli("apply", "--concept", "beagle", *world, *FEW, "--json")
    assert json.loads(ran.out)["floors_not_measured"] == []


def test_shards_stand_in_for_class_folders(
    cli: Cli, pairs: Path, world: list[str], photos: Path, taught_dir: Path
) -> None:
    model = ["--model", f"local-dir:{taught_dir}", "--taxonomy", str(photos / "pets.yaml")]
    folders = json.loads(cli("evaluate", *world, "--json").out)
    table = json.loads(cli("evaluate", *model, "--data", pairs, "--json").out)
    names = ("level", "count", "before")
    assert [[r[n] for n in names] for r in folders["levels"]] == [
        [r[n] for n in names] for r in table["levels"]
    ]  # the same pictures, divided in the same way
    ran = cli("apply", "--concept", "beagle", *model, "--data", pairs, *FEW)
    assert ran.code == 0 and "beagle: " in ran.out


# -- retain gradients ---------------------------------------------------------------------------


def test_a_second_request_reuses_the_retain_gradient(
    cli: Cli, pairs: Path, asked: list[str], beagles: Ran
) -> None:
    kept = cli(
        "select", "--source", pairs, "--match", "tabby", "--match", "siamese", "--out", "c.tar"
    )
    assert kept.code == 0
    cli("select", "--source", pairs, "--match", "pug", "--out", "pug.tar")
    rest = ["--retain", "c.tar", "--classes", "names.txt", *asked[-2:]]
    assert "nothing is kept" in cli("cache", "list").out
    first = cli("grads", "--forget", "beagle.tar", "--name", "beagle", *rest)
    assert first.code == 0 and "reusing" not in first.err
    (entry,) = json.loads(cli("cache", "list", "--json").out)
    assert entry["title"].startswith("c.tar on ") and entry["bytes"] > 1000

    second = cli("grads", "--forget", "pug.tar", "--name", "pug", *rest, "--json")
    assert "retain gradient: reusing" in second.err
    plain = cli("grads", "--forget", "pug.tar", "--name", "pug", *rest, "--no-cache", "--run", "x")
    assert "reusing" not in plain.err
    one, other = (
        Path(path).read_bytes()
        for path in (json.loads(second.out)["gradients"], "x/gradients.safetensors")
    )
    assert one == other  # reused or computed, the same to the byte
    # Controls: other pictures and another loss are something else; a damaged file is not used.
    assert "reusing" not in cli("grads", *asked).err
    ran = cli(
        "grads", "--forget", "pug.tar", "--name", "pug", *rest, "--retain-loss", "contrastive"
    )
    assert "reusing" not in ran.err
    for path in (Path(entry["path"]),):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    shutil.rmtree("runs")
    assert "reusing" not in cli("grads", "--forget", "pug.tar", "--name", "pug", *rest).err
    assert "removed 3 retain gradient(s)" in cli("cache", "clear").out
    assert "nothing is kept" in cli("cache", "list").out


def test_class_folders_keep_no_retain_gradient(cli: Cli, world: list[str]) -> None:
    assert cli("grads", "--concept", "beagle", *world).code == 0
    assert "nothing is kept" in cli("cache", "list").out


# -- what else is kept --------------------------------------------------------------------------


def test_also_has_a_floor_of_its_own(
    cli: Cli, world: list[str], photos: Path, pairs: Path, tmp_path: Path
) -> None:
    words = ["apply", "--concept", "beagle", *world, *FEW]
    also = ["--also", f"rows={pairs}:{photos / 'pets.yaml'}", "--also", f"all={photos / 'images'}"]
    ran = cli(*words, *also, "--floor", "rows=0", "--floor", "all=0", "--json")
    value = json.loads(ran.out)
    assert ran.code == 0 and [row["name"] for row in value["also"]] == ["rows", "all"]
    for row in value["also"]:
        # Both hold all pictures: those that the edit is made from prove nothing.
        assert row["left_out"] == ["beagle"] and row["count"] == 18
        assert row["holds"] is True and row["floor"] == 0
    for name in ("rows", "all"):
        spent = [x["reason"] for x in value["left_out"] if x["set"] == name]
        assert spent == [MADE_FROM] * 42
        assert f"{name}: 42 left out, the edit was made with it: " in ran.err
    # The floor of one breaks: no patch, and it says which. A model that loses all but one class.
    shutil.rmtree(tmp_path / "runs")
    fixed = ["--layer", "visual.proj", "--step", "1000", "--floor", "0"]
    ran = cli(*words, *fixed, *also, "--floor", "rows=1")
    assert ran.code == 1 and "what else is kept: rows falls to" in ran.err and " no\n" in ran.out
    assert "all falls" not in ran.err and not list(tmp_path.rglob("patch.safetensors"))
    ran = cli(*words, *fixed, *also)  # control: without that floor it is taken
    assert "what else is kept" not in ran.err


def test_a_dry_run_looks_for_the_other_data_sets(cli: Cli, world: list[str], photos: Path) -> None:
    words = ["apply", "--concept", "beagle", *world, "--dry-run"]
    for source, told in (("nowhere", "nowhere"), (f"{photos / 'images'}:nothing", "nothing")):
        ran = cli(*words, "--also", f"x={source}")
        assert ran.code == 1 and told in ran.err and not ran.out
    one, two = (
        json.loads(cli(*words, *also, "--json").out)
        for also in ([], ["--also", f"x={photos / 'images'}"])
    )
    assert "other data sets" not in one["images"] and two["images"]["other data sets"] == 18


@pytest.mark.parametrize("text", ["x", "=x", "x="])
def test_also_needs_a_name_and_a_source(cli: Cli, text: str) -> None:
    ran = cli("apply", "--concept", "beagle", "--also", text)
    assert ran.code == 2 and "write NAME=SOURCE" in ran.err
    ran = cli("apply", "--concept", "beagle", "--also", "retain_fine=x")
    assert ran.code == 2 and "retain_fine is the name of a floor" in ran.err
    ran = cli("apply", "--concept", "beagle", "--also", "a=b", "--floor", "c=0.5")
    assert ran.code == 2 and "unknown floor 'c'; floors are forget_coarse, retain_fine" in ran.err


def lines(ran: Ran) -> list[dict[str, Any]]:
    """One result a line: a file of CLIP_benchmark each."""
    return [json.loads(line) for line in ran.out.splitlines()]


def test_clip_benchmark(cli: Cli, world: list[str], pairs: Path, photos: Path) -> None:
    also = ["--also", f"rows={pairs}:{photos / 'pets.yaml'}"]
    rows = lines(cli("evaluate", *world, *also, "--format", "clip-benchmark"))
    plain = json.loads(cli("evaluate", *world, *also, "--format", "json").out)
    assert [row["dataset"] for row in rows] == ["images", "rows"]
    fine = next(row for row in plain["levels"] if row["level"] == 2)
    assert rows[0]["metrics"]["acc1"] == fine["before"]
    assert rows[0]["metrics"]["acc5"] is None  # four classes
    assert rows[1]["metrics"]["acc1"] == plain["also"][0]["before"]
    assert all(row["task"] == "zeroshot_classification" for row in rows)
    assert all({"acc1", "acc5"} < set(row["metrics"]) for row in rows)
    ran = cli("evaluate", *world, "--format", "clip-benchmark", "--json")
    assert ran.code == 2 and "two formats" in ran.err


# -- pareto -------------------------------------------------------------------------------------


def test_pareto_shows_forgetting_per_unit_of_harm(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    assert cli("grads", "--concept", "beagle", *world).code == 0
    rows = json.loads(cli("pareto", "--json").out)
    known = {row["layer"] for row in rows if row["efficiency"] is not None}
    assert {"visual.proj", "text_projection"} <= known
    assert known >= {row["layer"] for row in rows if row["on_front"]}
    assert all(row["efficiency"] > 0 for row in rows if row["layer"] in known)
    value = json.loads(
        cli("apply", "--concept", "beagle", *world, *FEW, "--thorough", "--json").out
    )
    by_name = {row["layer"]: row["efficiency"] for row in rows}
    for candidate in value["candidates"]:  # what the search measured on its way
        assert candidate["efficiency"] == pytest.approx(by_name[candidate["layer"]], rel=1e-3)
    fast = cli("pareto", "--fast", "--json")  # what is known costs nothing
    assert fast.code == 0 and not fast.err
    assert any(row["efficiency"] is not None for row in json.loads(fast.out))
    (layers,) = tmp_path.glob("runs/*/layers.json")
    layers.unlink()
    fast = cli("pareto", "--fast", "--json")
    assert all(row["efficiency"] is None for row in json.loads(fast.out))
    request = next(tmp_path.glob("runs/*/request.yaml"))
    request.write_text(request.read_text().replace("beagle", "pug"))
    ran = cli("pareto")
    assert ran.code == 0 and "efficiency is left out: " in ran.err
    request.unlink()
    assert "request.yaml is not there" in cli("pareto").err


# -- found by fresh eyes ------------------------------------------------------------------------


def test_two_classes_of_which_one_is_kept(
    cli: Cli, photos: Path, taught_dir: Path, tmp_path: Path
) -> None:
    """Nothing that is kept can be told apart, so there is no metric; that is no crash."""
    for name in ("beagle", "tabby"):
        shutil.copytree(photos / "images" / name, tmp_path / "two" / name)
    words = ["--concept", "beagle", "--data", "two", "--model", f"local-dir:{taught_dir}"]
    assert cli("apply", *words, "--trials", "60", "--force").code in (0, 1)  # nor are many trials
    assert cli("apply", *words, "--trials", "61").code == 2
    assert cli("pareto").code == 0


@pytest.mark.filterwarnings("always:the retain gradient is not kept")
def test_a_cache_that_cannot_be_written_stops_nothing_and_is_told(
    cli: Cli, asked: list[str], beagles: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLSGU_CACHE_DIR", "/proc/self")
    ran = cli("grads", *asked)
    assert ran.code == 0 and "is not kept for later requests" in ran.err


def test_a_retain_set_with_a_gap_is_not_cached(cli: Cli, asked: list[str], beagles: Ran) -> None:
    """A picture that cannot be read today may be readable tomorrow."""
    table = Path(asked[3])
    table.write_text(table.read_text().replace("pug/00.png", "pug/00.png.broken"))
    (line,) = (line for line in table.read_text().splitlines() if "broken" in line)
    broken = Path(line.split(",")[0])
    broken.write_bytes(b"no picture")
    try:
        assert cli("grads", *asked, "--seed", "1").code == 0
        read_whole = "can be read" not in cli("grads", *asked, "--seed", "1").err
        kept = "nothing is kept" not in cli("cache", "list").out
        assert kept == read_whole
    finally:
        broken.unlink()


def test_select_does_not_overwrite_its_source(cli: Cli, beagles: Ran) -> None:
    before = Path("beagle.tar").read_bytes()
    words = ["select", "--source", "beagle.tar", "--match", "number 01", "--out", "beagle.tar"]
    ran = cli(*words, "--force")
    assert ran.code == 1 and "is a part of the source" in ran.err
    assert Path("beagle.tar").read_bytes() == before


def test_select_replaces_a_file_only_by_force_and_nothing_else_ever(
    cli: Cli, pairs: Path, tmp_path: Path
) -> None:
    words = ["select", "--source", pairs, "--match", "beagle", "--out"]
    Path("mine.tar").write_text("mine")
    Path("device.tar").symlink_to("/dev/full")
    os.mkfifo("pipe.tar")
    ran = cli(*words, "mine.tar")
    assert ran.code == 1 and "mine.tar exists already: give another name, or --force" in ran.err
    for name in ("device.tar", "pipe.tar"):
        ran = cli(*words, name, "--force")
        assert ran.code == 1 and f"{name} is a pipe or a device" in ran.err
    assert Path("mine.tar").read_text() == "mine" and Path("device.tar").is_symlink()
    ran = cli(*words, "mine.tar", "--force")  # control
    assert ran.code == 0 and tarfile.is_tarfile("mine.tar")


def test_a_named_floor_wins_in_any_order_and_bare_folders_take_a_taxonomy(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "bare").symlink_to(photos / "images")
    words = ["apply", "--concept", "beagle", *world, *FEW, "--json", "--force"]
    also = ["--also", f"more=bare:{photos / 'pets.yaml'}"]
    for floors in (["retain_fine=0.6", "0.1"], ["0.1", "retain_fine=0.6"]):
        given = [word for floor in floors for word in ("--floor", floor)]
        value = json.loads(cli(*words, *also, *given).out)
        assert value["settings"]["floors"]["retain_fine"] == 0.6
        assert value["settings"]["floors"]["retain_coarse"] == 0.1 == value["also"][0]["floor"]


def test_datasets_are_called_as_they_were_named(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    """In CLIP_benchmark's shape the name says what was asked: by a link, and what was left out."""
    (tmp_path / "my-photos").symlink_to(photos / "images")
    words = [*world[:2], "--taxonomy", str(photos / "pets.yaml"), "--data", "my-photos"]
    assert cli("apply", "--concept", "beagle", *words, *FEW, "--run", "run").code == 0
    words += ["--also", "more=my-photos", "--format", "clip-benchmark"]
    plain = lines(cli("evaluate", *words))
    both = lines(cli("evaluate", *words, "--patch", "run/patch.safetensors"))
    assert [row["dataset"] for row in plain] == ["my-photos", "more"]
    assert [row["dataset"] for row in both] == ["my-photos"] * 2 + ["more without beagle"] * 2
    assert plain[0]["metrics"]["acc1"] == both[0]["metrics"]["acc1"]


def test_retain_images_in_class_folders(
    cli: Cli, asked: list[str], beagles: Ran, photos: Path, tmp_path: Path
) -> None:
    words = [*asked[:2], *asked[4:]]
    ran = cli("apply", *words, "--retain", photos / "images", "--force", "--json")
    value = json.loads(ran.out)
    assert "20 left out, the picture is to be forgotten: beagle/" in ran.err
    assert value["counts"]["retain_fine"] == 18 and {row["level"] for row in value["levels"]} == {1}
    assert sum(row["set"] == "retain" for row in value["left_out"]) == 20
    # Control: pictures in no folder of a class say nothing.
    ran = cli("apply", *words, "--retain", photos / "images" / "pug")
    assert ran.code == 1 and "20 left out, it has neither a caption nor a class: " in ran.err


def test_one_class_needs_something_that_is_kept(
    cli: Cli, asked: list[str], beagles: Ran, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "images" / "beagle", tmp_path / "one" / "beagle")
    ran = cli("apply", "--concept", "beagle", "--data", "one", *asked[-2:])
    assert ran.code == 1 and "one has one class, 'beagle', and nothing to keep" in ran.err
    (tmp_path / "names.txt").write_text("Beagle\n")
    ran = cli("apply", *asked)
    assert ran.code == 1 and "'beagle' is the only name" in ran.err
    (tmp_path / "names.txt").write_text("Beagle\npug\n")
    assert cli("apply", *asked, "--dry-run").code == 0  # control


def test_what_is_left_out_of_another_data_set_is_told(
    cli: Cli, world: list[str], photos: Path, pairs: Path
) -> None:
    pairs.write_text(
        pairs.read_text() + f"{photos / 'images' / 'pug' / '00.png'},a zebra\nx,a pug\n"
    )
    words = [*world, "--also", f"rows={pairs}:{photos / 'pets.yaml'}"]
    ran = cli("evaluate", *words)
    assert "rows: 1 left out, no such file: x" in ran.err
    assert "rows: 1 left out, its label or caption does not name exactly one class: " in ran.err
    ran = cli("evaluate", *words, "--strict")
    assert ran.code == 1 and "strict" in ran.err


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("pipe:exit 3", "the command that fetches it ended with exit status 3"),
        ("s3://bucket/a.tar", "webdataset cannot open such an address; give a command"),
        ("http://localhost:1", "cannot read http://localhost:1: "),
        ("*.tar", "no such shard: *.tar (to name several shards, use braces"),
        ("pets-?", "no such file or folder: pets-?"),
    ],
)
def test_sources_that_can_not_be_read_are_named_as_they_were_typed(
    cli: Cli, source: str, told: str
) -> None:
    ran = cli("select", "--source", source, "--match", "pug")
    assert ran.code == 1 and told in ran.err and "shell" not in ran.err
