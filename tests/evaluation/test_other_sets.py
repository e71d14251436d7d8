"""What else is kept: which images of another data set are asked, and what is told of the rest."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Ran
from helpers.pairs import Memory, fingerprint, picture
from helpers.pictures import png
from PIL import Image

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.sources.records import Record
from slsgu.data.splits import folder_splits as choice
from slsgu.data.splits import test_only
from slsgu.data.splits.partition import SMALL_CLASS
from slsgu.data.splits.splits import Limits
from slsgu.data.splits.test_only import ChosenImages, images_of
from slsgu.errors import DataError, SlsguError
from slsgu.evaluation.other_sets import Also, OtherSet, find_others
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch
from slsgu.task.pairs import Pairs
from slsgu.task.plan import make_plan
from slsgu.task.settings import Settings
from slsgu.utils.files import file_sha256

Cli = Callable[..., Ran]
SETTINGS = Settings(limits=Limits(gradient=2, search=2, test=4))


@pytest.fixture
def other(tmp_path: Path) -> Also:
    """Four classes of six pictures each, with `test/`."""
    for number, name in enumerate(("cutter", "launch", "plane", "train")):
        for split, first in (("train", 0), ("test", 50)):
            folder = tmp_path / "other" / split / name
            folder.mkdir(parents=True)
            for index in range(6):
                (folder / f"{index}.png").write_bytes(png(100 * number + first + index))
    return Also("other", str(tmp_path / "other"))


def names(images: OtherSet) -> set[str]:
    return {sample.leaf.name for sample in images.images if sample.leaf is not None}


def test_other_names_of_what_is_forgotten_are_known_in_both_taxonomies(
    other: Also, tmp_path: Path
) -> None:
    """By alias, plural or id of either, and below a concept that is called so."""
    (tmp_path / "tree.yaml").write_text(
        "craft: {$aliases: [flyer], plane: {}, cutter: {}}\nlaunch: {}\ntrain: {}\n"
    )
    for mine, gone in (
        ({"launch": {}, "x": {}}, {"launch"}),
        ({"tender": {"$aliases": ["launch"]}, "x": {}}, {"launch"}),
        ({"tender": {"$plural": "launch"}, "x": {}}, {"launch"}),
        ({"tender": {"$aliases": ["Flyer"]}, "x": {}}, {"plane", "cutter"}),
        ({"craft": {"plane": {}, "rocket": {}}, "x": {}}, {"plane", "cutter"}),
        ({"tender": {}, "x": {}}, set()),  # control
    ):
        taxonomy = Taxonomy.parse(mine)
        request = Request(taxonomy, (taxonomy.tops[0],))
        named = replace(other, taxonomy=str(tmp_path / "tree.yaml"))
        found = OtherSet.find(named, settings=SETTINGS, request=request)
        assert set(found.left_out) == gone
        assert names(found) == {"cutter", "launch", "plane", "train"} - gone


def test_without_a_name_the_name_of_the_file_says_nothing(other: Also) -> None:
    tree = Taxonomy.parse(["plane", "train"])
    request = Request(tree, (tree.tops[0],), named=False)
    found = OtherSet.find(other, settings=SETTINGS, request=request)
    assert not found.left_out and "plane" in names(found)
    found = OtherSet.find(other, settings=SETTINGS, request=replace(request, named=True))
    assert found.left_out == ("plane",)  # control
    assert not Pairs(forget="data/plane.csv", retain="x.csv").request(None).named


def test_pictures_that_were_used_are_not_asked(other: Also, tmp_path: Path) -> None:
    table = tmp_path / "other.csv"
    with table.open("w", newline="") as file:
        rows = [(p, p.parent.name) for p in sorted(tmp_path.glob("other/test/*/*.png"))]
        csv.writer(file).writerows([("filepath", "label"), *rows])
    (tmp_path / "tree.yaml").write_text("[cutter, launch, plane, train]")
    rowed = Also("rows", str(table), str(tmp_path / "tree.yaml"))
    every = replace(SETTINGS, limits=replace(SETTINGS.limits, test=None))
    for also in (other, rowed):
        plain = OtherSet.find(also, settings=every)
        assert len(plain.images) == 24 and not plain.entries
        spent = {s.fingerprint: "used" for s in plain.images if s.name.endswith(("0.png", "1.png"))}
        found = OtherSet.find(also, settings=every, excluded=spent)
        assert len(found.images) == 16 and len(found.entries) == 8
        assert any(note.startswith(f"{also.name}: 8 left out, used: ") for note in found.notes)
        spent = {s.fingerprint: "used" for s in plain.images}
        with pytest.raises(DataError, match=r"can be used \(24 left out, used: .* and 21 more"):
            OtherSet.find(also, settings=every, excluded=spent)
    # Where there are more than are asked, others take their place.
    five = replace(SETTINGS, limits=replace(SETTINGS.limits, test=5))
    spent = {s.fingerprint: "used" for s in plain.images if s.name.endswith("0.png")}
    assert len(OtherSet.find(rowed, settings=five, excluded=spent).images) == 20


def test_pictures_of_the_edit_and_unreadable_ones_are_told(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    """Also where the bytes are others: the same pixels, as BMP."""
    copies = tmp_path / "copies"
    for file in sorted((photos / "images").rglob("*.png")):
        target = copies / file.parent.name / f"{file.stem}.bmp"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).save(target)
    table = tmp_path / "copies.csv"
    with table.open("w", newline="") as file:
        rows = [(p, p.parent.name) for p in sorted(copies.rglob("*.bmp"))]
        csv.writer(file).writerows([("filepath", "label"), *rows])
    for bad in ("pug/00.bmp", "pug/01.bmp"):
        (copies / bad).write_bytes(f"no picture {bad}".encode())
    also = ["--also", f"copies={table}:{photos / 'pets.yaml'}"]
    ran = cli("apply", "--concept", "beagle", *world, *also, "--trials", "4", "--force", "--json")
    value = json.loads(ran.out)
    assert [x for x in value["skipped"] if x["name"].startswith("copies: ")] == value["skipped"]
    assert len(value["skipped"]) == 2 and "skipped: copies: " in ran.err
    taken = [x for x in value["overlaps"] if x["name"].startswith("copies: ")]
    assert {x["other"] for x in taken} == {"gradient", "search"} and taken == value["overlaps"]
    assert value["also"][0]["count"] == 60 - len(taken) - 2
    assert "in another split or in the forget set" in ran.err
    # Nothing is known of what another run used; what cannot be read is told all the same.
    ran = cli("evaluate", *world, *also, "--json")
    assert json.loads(ran.out)["also"][0]["count"] == 78 and "skipped: copies: " in ran.err
    ran = cli("evaluate", *world, *also, "--strict")
    assert ran.code == 1 and "copies" in ran.err
    # Where nothing is left, the run ends before its search.
    with table.open("w", newline="") as file:
        rows = [(p, p.parent.name) for p in sorted(copies.rglob("*.bmp"))]
        rows = [row for row in rows if any(str(row[0]) in x["name"] for x in taken)]
        csv.writer(file).writerows([("filepath", "label"), *rows])
    ran = cli("apply", "--concept", "beagle", *world, *also, "--force", "--run", "new")
    assert ran.code == 1 and "none can be read that the edit is not made from" in ran.err
    assert "search" not in {path.stem for path in (tmp_path / "new").iterdir()}


def test_the_forget_set_proves_nothing_elsewhere(
    cli: Cli, world: list[str], photos: Path, taught_dir: Path, tmp_path: Path
) -> None:
    """Its pictures, filed under another name, are not counted as kept."""
    shutil.copytree(photos / "images" / "beagle", tmp_path / "veh" / "vehicle")
    shutil.copytree(photos / "images" / "pug", tmp_path / "veh" / "pug")
    with (tmp_path / "f.csv").open("w", newline="") as file:
        rows = [(p, "my pet") for p in sorted((photos / "images" / "beagle").glob("*.png"))]
        csv.writer(file).writerows([("filepath", "title"), *rows])
    words = ["apply", "--forget", "f.csv", "--retain", photos / "images", "--name", "rex"]
    (tmp_path / "names.txt").write_text("pug\ntabby\nsiamese\n")
    words += [
        "--classes",
        "names.txt",
        "--model",
        f"local-dir:{taught_dir}",
        "--trials",
        "3",
        "--force",
    ]
    ran = cli(*words, "--gradient-images", "5", "--also", "veh=veh", "--force", "--json")
    value = json.loads(ran.out)
    assert "veh: 20 left out, the picture is to be forgotten" in ran.err
    pug = sum(x["set"] == "veh" and x["name"].startswith("pug") for x in value["left_out"])
    assert value["also"][0]["count"] == 20 - pug < 20
    # Nor where they were saved in other bytes, as far as they were used.
    for file in sorted((tmp_path / "veh" / "vehicle").iterdir()):
        Image.open(file).save(file.with_suffix(".bmp"))
        file.unlink()
    for more in (words, ["apply", "--concept", "beagle", *world, "--trials", "3"]):
        ran = cli(*more, "--also", "veh=veh", "--force", "--json")
        value = json.loads(ran.out)
        assert sum(x["name"].startswith("veh: vehicle/") for x in value["overlaps"]) == 20


def test_large_classes_are_read_as_far_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, first in (("cutter", 0), ("launch", 1000)):
        (tmp_path / "big" / name).mkdir(parents=True)
        for index in range(SMALL_CLASS + 20):
            (tmp_path / "big" / name / f"{index}.png").write_bytes(png(first + index))
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr(choice, "file_sha256", counted)
    also = Also("big", str(tmp_path / "big"))
    settings = replace(SETTINGS, limits=replace(SETTINGS.limits, test=10))
    plain = OtherSet.find(also, settings=settings).images
    assert len(plain) == 20 and len(read) < 40
    foreign = {f"{number}": "used" for number in range(1000)}
    read.clear()
    same = OtherSet.find(also, settings=settings, excluded=foreign).images
    assert [x.fingerprint for x in same] == [x.fingerprint for x in plain]
    assert len(read) < 40
    spent = {sample.fingerprint: "used" for sample in plain} | foreign
    read.clear()
    other = OtherSet.find(also, settings=settings, excluded=spent)
    assert len(read) == len(set(read)) < 80  # none is read again in the second round
    assert len(other.images) == 20 and len(other.entries) == 20
    assert not {x.fingerprint for x in other.images} & spent.keys()


def test_a_source_is_read_no_further_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Taxonomy.parse(["cutter", "launch", "plane"])
    asked = [leaf for leaf in tree.leaves if leaf.name != "plane"]

    def images(records: Memory, limit: int | None, **more: Any) -> ChosenImages:
        monkeypatch.setattr(test_only, "open_source", lambda spec: records)
        options = {"limit": limit, "seed": 0, "excluded": {}, "strict": False, **more}
        return images_of("x.tar", tree, asked, **options)

    def endless() -> Iterator[Record]:
        for number in itertools.count():
            yield picture(number, None, ("cutter", "launch", "plane")[number % 3])

    source = Memory(endless())
    found = images(source, 5)
    assert source.seen == 3 * SMALL_CLASS - 1 and len(found.samples) == 10
    rest = Memory(itertools.islice(endless(), 3 * SMALL_CLASS - 1))
    same = images(rest, 5)
    assert [s.name for s in same.samples] == [s.name for s in found.samples]
    finite = Memory(itertools.islice(endless(), 900))
    assert len(images(finite, None).samples) == 600 and finite.seen == 900  # control
    # What is spent takes nobody's place.
    spent = {sample.fingerprint: "used" for sample in found.samples}
    again = Memory(endless())
    assert len(images(again, 5, excluded=spent).samples) == 10 and again.seen > source.seen


def test_a_picture_under_two_classes_is_asked_of_neither(tmp_path: Path) -> None:
    """In folders and in a table alike, also if one of the classes is not asked."""
    for number, name in enumerate(("cutter", "launch", "plane")):
        (tmp_path / "two" / name).mkdir(parents=True)
        for index in range(4):
            (tmp_path / "two" / name / f"{index}.png").write_bytes(png(100 * number + index))
    for name, copies in (("launch", (900, 901, 1)), ("plane", (900, 901)), ("cutter", (900,))):
        for seed in copies:
            (tmp_path / "two" / name / f"c{seed}.png").write_bytes(png(seed))
    with (tmp_path / "two.csv").open("w", newline="") as file:
        rows = [(p, p.parent.name) for p in sorted(tmp_path.glob("two/*/*.png"))]
        csv.writer(file).writerows([("filepath", "label"), *rows])
    (tmp_path / "tree.yaml").write_text("[cutter, launch, plane]")
    gone = Taxonomy.parse(["plane", "x"])
    request = Request(gone, (gone.tops[0],))
    for also in (
        Also("two", str(tmp_path / "two")),
        Also("two", str(tmp_path / "two.csv"), str(tmp_path / "tree.yaml")),
    ):
        found = OtherSet.find(also, settings=SETTINGS, request=request)
        assert len(found.images) == 3 + 4  # cutter/1 is launch/c1
        contents = {sample.fingerprint for sample in found.images}
        assert not contents & {fingerprint(seed) for seed in (900, 901, 1)}
        assert any("two classes" in note for note in found.notes)


def test_all_images_of_a_set_are_asked_in_folders_and_in_a_table(tmp_path: Path) -> None:
    """There is nothing to divide: also one picture a class is enough."""
    for number, name in enumerate(("cutter", "launch")):
        (tmp_path / "few" / name).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "few" / name / f"{index}.png").write_bytes(png(100 * number + index))
    (tmp_path / "few" / "cutter" / "copy.png").write_bytes(png(0))
    with (tmp_path / "few.csv").open("w", newline="") as file:
        rows = [(p, p.parent.name) for p in sorted(tmp_path.glob("few/*/*.png"))]
        csv.writer(file).writerows([("filepath", "label"), *rows])
    (tmp_path / "tree.yaml").write_text("[cutter, launch]")
    folders = Also("few", str(tmp_path / "few"))
    table = Also("few", str(tmp_path / "few.csv"), str(tmp_path / "tree.yaml"))
    for limit, count in ((50, 6), (2, 4), (1, 2), (None, 6)):
        settings = replace(SETTINGS, limits=replace(SETTINGS.limits, test=limit))
        found = [OtherSet.find(also, settings=settings).images for also in (folders, table)]
        assert [len(samples) for samples in found] == [count] * 2
        contents = [{sample.fingerprint for sample in samples} for samples in found]
        assert contents[0] == contents[1]
        spent = dict.fromkeys(contents[0], "used")
        if limit is not None and limit < 3:  # others take the place
            for also in (folders, table):
                other = OtherSet.find(also, settings=settings, excluded=spent).images
                assert other and not {x.fingerprint for x in other} & contents[0]


def test_a_set_needs_a_name_of_its_own_and_a_share(
    taught: Clip, photos: Path, tmp_path: Path
) -> None:
    for name, floor in (("", 0.5), ("x", 7), ("x", -1), ("x", float("nan"))):
        with pytest.raises(SlsguError, match=r"has no name|must lie in 0 to 1"):
            Also(name, "photos", floor=floor)
    plan = make_plan(taught, ["beagle"], data=photos / "images", taxonomy=photos / "pets.yaml")
    twice = [Also("x", str(photos / "images")), Also("x", str(photos / "images"), floor=0.9)]
    with pytest.raises(SlsguError, match="two data sets are called 'x'"):
        find_others(plan.task, twice)
    assert len(find_others(plan.task, twice[:1])) == 1  # control


def test_evaluate_has_floors_of_other_data_sets(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    weights = ["apply", "--concept", "beagle", *world, "--run", "run", "--force"]
    assert cli(*weights, "--layer", "visual.proj", "--step", "1000").code in (0, 1)
    patch = Patch.load(tmp_path / "run" / "patch.safetensors")
    assert all(np.isfinite(delta.numpy()).all() for delta in patch.delta.values())
    words = ["evaluate", *world, "--patch", "run/patch.safetensors", "--also"]
    words += [f"all={photos / 'images'}"]
    value = json.loads(cli(*words, "--json").out)["also"][0]
    assert value["floor"] == 0.85 and value["holds"] is False
    for floor in ("0", "all=0"):
        ran = cli(*words, "--floor", floor)
        assert ran.code == 0 and " yes\n" in ran.out and "0.0%" in ran.out
    ran = cli(*words, "--floor", "retain_fine=0.5")
    assert ran.code == 2 and "unknown floor 'retain_fine'; floors are all" in " ".join(
        ran.err.split()
    )
    ran = cli("evaluate", *world, "--floor", "0.5")
    assert ran.code == 2 and "give both" in ran.err
