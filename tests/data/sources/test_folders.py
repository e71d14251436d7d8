"""Folders find their leaf; what does not fit is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.sources.folders import FolderSource, taxonomy_of_folders
from slsgu.data.sources.scan import scan
from slsgu.errors import DataError

TREE = {
    "dog": {"golden retriever": {"$id": "n02099601"}, "beagle": None},
    "bird": ["crane", "robin"],
    "machine": ["crane", "lorry"],
}


@pytest.fixture
def taxonomy() -> Taxonomy:
    return Taxonomy.parse(TREE, name="things")


def put(root: Path, *names: str) -> Path:
    """Small images of different content under the given names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(map(ord, str(path))) % 9973
        noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(noise).save(path, format="png")
    return root


def found(source: FolderSource, part: str = "all") -> dict[str, list[str]]:
    return {
        leaf.key: [path.as_posix() for path in paths] for leaf, paths in source.parts[part].items()
    }


@pytest.mark.parametrize(
    "folder",
    ["golden_retriever", "Golden Retriever", "n02099601-golden_retriever", "n02099601",
     "dog/golden_retriever", "dog__golden_retriever", "batch 3/golden-retriever",
     "golden_retriever/monday/morning", "dog/n02099601"],
)  # fmt: skip
def test_folder_finds_its_leaf(tmp_path: Path, taxonomy: Taxonomy, folder: str) -> None:
    put(tmp_path, f"{folder}/1.png", "beagle/1.png")
    assert found(FolderSource(tmp_path, taxonomy)) == {
        "dog/golden retriever": [f"{folder}/1.png"],
        "dog/beagle": ["beagle/1.png"],
    }


def test_homonyms_by_path(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "bird/crane/1.png", "machine__crane/1.png")
    assert set(found(FolderSource(tmp_path, taxonomy))) == {"bird/crane", "machine/crane"}


def test_homonym_without_a_path_is_refused(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "crane/1.png", "beagle/1.png")
    with pytest.raises(DataError, match=r"bird/crane, machine/crane.*name it by path"):
        FolderSource(tmp_path, taxonomy)


def test_a_known_folder_above_must_agree(tmp_path: Path) -> None:
    """With one crane only, `machine/crane` must not silently become the bird."""
    taxonomy = Taxonomy.parse({"bird": ["crane", "robin"], "machine": ["lorry"]})
    put(tmp_path, "machine/crane/1.png", "robin/1.png")
    with pytest.raises(DataError, match="machine/crane"):
        FolderSource(tmp_path, taxonomy)
    (tmp_path / "machine").rename(tmp_path / "bird")  # control
    assert set(found(FolderSource(tmp_path, taxonomy))) == {"bird/crane", "bird/robin"}


def test_all_unknown_folders_in_one_message(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "beagel/1.png", "zeppelin/1.png", "dog/1.png", "robin/1.png")
    with pytest.raises(DataError) as error:
        FolderSource(tmp_path, taxonomy)
    text = str(error.value)
    assert "'beagel' is not one of its classes; did you mean 'beagle'" in text
    assert "'zeppelin' is not one of its classes" in text
    assert (
        "'dog' is a group of classes; name the folder after one of them: golden retriever, beagle"
        in text
    )
    assert "robin" not in text  # control: what fits is not listed


def test_unknown_folder_without_images_is_no_matter(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "beagle/1.png")
    (tmp_path / "zeppelin").mkdir()
    (tmp_path / "zeppelin" / "readme.txt").write_text("none yet")
    assert set(found(FolderSource(tmp_path, taxonomy))) == {"dog/beagle"}


def test_leaves_without_images_are_noted(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "beagle/1.png", "robin/1.png")
    (tmp_path / "lorry").mkdir()
    notes = "\n".join(FolderSource(tmp_path, taxonomy).notes)
    assert "4 of the 6 classes" in notes and "machine/lorry" in notes
    assert "beagle" not in notes  # control


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_train_and_test(tmp_path: Path, taxonomy: Taxonomy, test: str) -> None:
    put(tmp_path, "train/beagle/1.png", f"{test}/beagle/2.png", "train/robin/1.png")
    (tmp_path / "annotations").mkdir()
    source = FolderSource(tmp_path, taxonomy)
    assert found(source, "train")["dog/beagle"] == ["train/beagle/1.png"]
    assert found(source, "test") == {"dog/beagle": [f"{test}/beagle/2.png"]}
    assert any("annotations" in note for note in source.notes)


def test_test_is_preferred_to_val(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, *(f"{part}/beagle/1.png" for part in ("train", "val", "test")))
    source = FolderSource(tmp_path, taxonomy)
    assert found(source, "test") == {"dog/beagle": ["test/beagle/1.png"]}
    assert any("left out: val" in note for note in source.notes)


def test_a_class_called_train(tmp_path: Path) -> None:
    """Trains are things too: a split folder holds folders, a class folder holds images."""
    put(tmp_path, "train/1.png", "test/1.png", "bus/1.png")
    assert [leaf.name for leaf in taxonomy_of_folders(tmp_path).leaves] == ["bus", "test", "train"]
    assert set(FolderSource(tmp_path).parts) == {"all"}


def test_train_alone_is_divided(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "train/beagle/1.png", "train/robin/1.png")
    source = FolderSource(tmp_path, taxonomy)
    assert set(source.parts) == {"all"} and any("only train/" in note for note in source.notes)


def test_other_files_are_counted_hidden_ones_are_not(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "beagle/1.PNG", "beagle/2.JpEg", "loose.png", "beagle/.hidden.png", ".git/x.png")
    (tmp_path / "beagle" / "labels.csv").write_text("a,b")
    source = FolderSource(tmp_path, taxonomy)
    assert found(source) == {"dog/beagle": ["beagle/1.PNG", "beagle/2.JpEg"]}
    notes = "\n".join(source.notes)
    assert "1 file(s) are not images by their extension: beagle/labels.csv" in notes
    assert "1 image(s) beside the class folders belong to no class: loose.png" in notes
    assert "hidden" not in notes and ".git" not in notes


def test_bad_roots(tmp_path: Path, taxonomy: Taxonomy) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "beagle").mkdir(parents=True)
    put(tmp_path, "flat/1.png", "file.png")
    for name, text in (
        ("absent", "not found"),
        ("empty", "is empty"),
        ("hollow", "no images in class folders"),
        ("flat", "no images in class folders"),
        ("file.png", "is a file"),
    ):
        with pytest.raises(DataError, match=text):
            FolderSource(tmp_path / name, taxonomy)
        with pytest.raises(DataError):
            taxonomy_of_folders(tmp_path / name)


def test_order_does_not_depend_on_the_disk(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path / "a", *(f"beagle/{i}.png" for i in (3, 1, 2)))
    put(tmp_path / "b", *(f"beagle/{i}.png" for i in (2, 3, 1)))
    one, two = (found(FolderSource(tmp_path / x, taxonomy)) for x in "ab")
    assert one == two == {"dog/beagle": ["beagle/1.png", "beagle/2.png", "beagle/3.png"]}


def test_loops_of_links_end(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path, "beagle/1.png", "robin/1.png")
    (tmp_path / "beagle" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "robin" / "self").symlink_to(tmp_path / "robin" / "self")
    (tmp_path / "robin" / "there").symlink_to(tmp_path / "beagle", target_is_directory=True)
    source = FolderSource(tmp_path, taxonomy)
    assert found(source)["dog/beagle"] == ["beagle/1.png"]
    assert found(source)["bird/robin"] == ["robin/1.png"]
    assert any("links to a folder that is read already" in note for note in source.notes)


def test_links_to_pictures_are_followed(tmp_path: Path, taxonomy: Taxonomy) -> None:
    put(tmp_path / "store", "x.png", "robins/1.png")
    root = tmp_path / "root"
    (root / "beagle").mkdir(parents=True)
    (root / "beagle" / "1.png").symlink_to(tmp_path / "store" / "x.png")
    (root / "robin").symlink_to(tmp_path / "store" / "robins", target_is_directory=True)
    assert set(found(FolderSource(root, taxonomy))) == {"dog/beagle", "bird/robin"}


def test_taxonomy_of_folders(tmp_path: Path) -> None:
    put(tmp_path, "n02099601-golden_retriever/1.png", "n02088364/1.png", "tabby_cat/x/1.png")
    taxonomy = taxonomy_of_folders(tmp_path)
    assert [(leaf.name, leaf.id) for leaf in taxonomy.leaves] == [
        ("n02088364", "n02088364"),
        ("golden retriever", "n02099601"),
        ("tabby cat", None),
    ]
    assert taxonomy.depth == 1
    assert len(found(FolderSource(tmp_path))) == 3


def test_folders_with_one_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "n02012849-crane/1.png", "n03126707-crane/1.png")
    with pytest.raises(DataError, match="would both be 'crane'"):
        taxonomy_of_folders(tmp_path)


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    put(tmp_path, "beagle/1.png", "robin/1.png")
    odd = tmp_path / "beagle" / b"\xff\xfe.png".decode("utf-8", "surrogateescape")
    try:
        (tmp_path / "beagle" / "1.png").rename(odd)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    source = FolderSource(tmp_path)
    leaf = source.taxonomy.find("beagle")
    sample = source.sample(leaf, source.parts["all"][leaf][0], "00")
    sample.name.encode()  # can be written to a report
    assert sample.read().size == (4, 4)


def test_scan_is_of_real_files(tmp_path: Path) -> None:
    put(tmp_path, "beagle/1.png")
    (tmp_path / "beagle" / "folder.png").mkdir()
    assert scan(tmp_path, tmp_path).images == {Path("beagle"): [Path("beagle/1.png")]}


def test_folders_of_any_bytes_find_their_class_and_are_printed_safely(tmp_path: Path) -> None:
    names = ["cat", "d\x1b]0;x\x07og", os.fsdecode(b"f\xff"), "äpfel"]
    for part in ("train", "test"):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / part / name / "\u202e0.png")
    (tmp_path / "e\x1b[2J").mkdir()
    source = FolderSource(tmp_path)
    assert sorted(leaf.name for leaf in source.parts["train"]) == sorted(
        ["cat", "d\ufffd]0;x\ufffdog", "f\ufffd", "äpfel"]
    )
    assert all(len(source.parts["test"][leaf]) == 1 for leaf in source.taxonomy.leaves)
    (path,) = source.parts["test"][source.taxonomy.leaves[0]]
    assert source.sample(source.taxonomy.leaves[0], path, "").name == "test/cat/\ufffd0.png"
    assert source.notes == ("besides train/ and test/, left out: e\ufffd[2J",)
    (tmp_path / "train" / "d\x1b]0;x\x1bog").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "d\x1b]0;x\x1bog" / "0.png")
    with pytest.raises(DataError, match="would both be 'd\ufffd]0;x\ufffdog'"):
        FolderSource(tmp_path)


def test_folders_are_found_where_the_locale_knows_only_ascii(tmp_path: Path) -> None:
    for name in ("äpfel", "犬"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "0.png")
    code = (
        "import sys; from slsgu.data.sources.folders import FolderSource\n"
        "print(ascii(sorted(leaf.name for leaf in FolderSource(sys.argv[1]).parts['all'])))\n"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=env
    )
    assert ran.stdout.strip() == ascii(sorted(["äpfel", "犬"])), ran.stderr
