"""Bundled taxonomies: found by name, true to the data sets, and the ImageNet tree made as said."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import open_clip
import pytest
import timm.data
import yaml

from slsgu.concepts.taxonomies import BUNDLED, bundled_file
from slsgu.concepts.taxonomy import Taxonomy, normalise
from slsgu.data.sources.folders import FolderSource
from slsgu.errors import ConceptError, DataError
from slsgu.task.find import find_taxonomy

ROOT = Path(__file__).resolve().parents[2]
INFO = Path(timm.data.__file__).parent / "_info"
WORDNET = Path("/usr/share/wordnet/data.noun")
SIZES = {
    "menagerie": (46, 3),
    "cifar10": (10, 2),
    "cifar100": (100, 20),
    "oxford-pets": (37, 11),
    "imagenet-dogs": (99, 14),
    "imagenet": (1000, 27),
}


@pytest.fixture(scope="module")
def imagenet() -> Taxonomy:
    return Taxonomy.load("imagenet")


# -- by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_each_is_found_by_name_and_has_its_size(name: str) -> None:
    tree = find_taxonomy(name, None)
    assert tree.name == name
    assert (len(tree.leaves), len(tree.level(1))) == SIZES[name]
    assert all(len(tree.level(depth)) > 1 for depth in range(1, tree.depth + 1))
    for concept in tree.concepts:
        assert tree.find(concept.key) is concept
        if concept.id:
            assert tree.find(concept.id) is concept


def test_the_table_in_the_docs_is_what_the_files_hold() -> None:
    page = (ROOT / "docs" / "taxonomies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| ([\d:, ]+) \|", page, flags=re.M)
    assert {name for name, _, _ in rows} == set(BUNDLED)
    for name, leaves, levels in rows:
        tree = Taxonomy.load(name)
        counts = [f"{d}: {len(tree.level(d))}" for d in range(1, tree.depth + 1)]
        assert (len(tree.leaves), ", ".join(counts)) == (int(leaves), levels)


def test_a_name_is_not_a_file_and_a_file_is_not_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("cifar10", "mine.yaml"):
        Path(file).write_text("a: [b, c]\n")
    assert len(Taxonomy.load("cifar10").leaves) == 10
    assert len(Taxonomy.load("./cifar10").leaves) == 2
    assert (
        len(Taxonomy.load("mine.yaml").leaves) == len(Taxonomy.load(Path("mine.yaml")).leaves) == 2
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [("CIFAR-10", "cifar10"), ("imagenet_dogs", "imagenet-dogs"), ("oxford pets", "oxford-pets"),
     ("cifar10.yaml", "cifar10"), ("imagnet", "imagenet")],
)  # fmt: skip
def test_an_unknown_name_is_told_the_close_one_and_all(written: str, meant: str) -> None:
    with pytest.raises(DataError, match=f"did you mean '{meant}'") as caught:
        Taxonomy.load(written)
    assert all(name in str(caught.value) for name in BUNDLED)


def test_a_name_like_none_brings_no_guess() -> None:
    with pytest.raises(DataError, match=r"not found: zoo\.yaml \(bundled taxonomies: menagerie,"):
        Taxonomy.load("zoo.yaml")


# -- class numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "oxford-pets"])
def test_class_numbers_are_the_alphabetical_ones_of_the_data_sets(name: str) -> None:
    leaves = Taxonomy.load(name).leaves
    ordered = sorted(leaves, key=lambda leaf: leaf.name.replace(" ", "_").lower())
    assert [leaf.index for leaf in ordered] == list(range(len(leaves)))
    assert [leaf.index for leaf in leaves] != list(range(len(leaves)))  # control


def test_a_number_finds_a_leaf_only_where_no_name_does() -> None:
    tree = Taxonomy.parse(
        {"a": {"x": {"$index": 7}, "8": {"$index": 9}}, "b": {"y": {"$index": 8}}}
    )
    assert tree.find("7") is tree.find("x") is tree.leaf_of_index(7) is tree.leaf_of_index("007")
    assert tree.find("8").index == 9
    assert tree.leaf_of_index("8") is tree.find("y")
    assert tree.leaf_of_index(3) is tree.leaf_of_index("-7") is tree.leaf_of_index("x") is None
    for text in ("3", "9" * 5000):
        with pytest.raises(ConceptError, match="no concept"):
            tree.find(text)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"x": {"$index": 1}, "y": {"$index": 1}}}, "a/x and a/y have the same"),
        ({"a": {"$index": 1, "x": {}, "y": {}}}, "concepts below it"),
        ({"a": {"x": {"$index": -1}, "y": {}}}, "must be 0, 1, 2"),
        ({"a": {"x": {"$index": "1"}, "y": {}}}, "must be 0, 1, 2"),
        ({"a": {"x": {"$index": True}, "y": {}}}, "must be 0, 1, 2"),
        ({"a": {"x": {"index": 1}, "y": {}}}, "did you mean .index"),
    ],
)
def test_wrong_numbers_are_refused(tree: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Taxonomy.parse(tree)


def test_folders_named_by_number_and_numbers_inside_class_folders(tmp_path: Path) -> None:
    inside = ["207/1.png", "00012/1.png", "n02099712-labrador/12/1.png", "beagle/12/1.png"]
    for file in inside:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(b"")
    found = FolderSource(tmp_path, Taxonomy.load("imagenet")).parts["all"]
    assert {
        leaf.index: [path.as_posix() for path in paths] for leaf, paths in found.items()
    } == dict(zip([207, 12, 208, 162], ([file] for file in inside), strict=True))
    (tmp_path / "nonsense" / "12").mkdir(parents=True)
    (tmp_path / "nonsense" / "12" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="nonsense/12"):
        FolderSource(tmp_path, Taxonomy.load("imagenet"))


# -- ImageNet ---------------------------------------------------------------------------------


def test_imagenet_has_every_class_once_with_its_wnid_and_name(imagenet: Taxonomy) -> None:
    wnids = (INFO / "imagenet_synsets.txt").read_text().split()
    names = [name.replace(" / ", " or ") for name in open_clip.IMAGENET_CLASSNAMES]
    leaves = sorted(imagenet.leaves, key=lambda leaf: leaf.index or 0)
    assert [(leaf.index, leaf.id, leaf.name) for leaf in leaves] == list(
        zip(range(1000), wnids, names, strict=True)
    )
    for leaf in leaves:
        assert imagenet.find(str(leaf.index)) is imagenet.leaf_of_folder(f"{leaf.id}-any") is leaf
        assert leaf.depth in (2, 3, 4) and leaf.definition


def test_names_that_two_classes_share_are_reported_and_told_apart(imagenet: Taxonomy) -> None:
    twice = [n for n, count in Counter(open_clip.IMAGENET_CLASSNAMES).items() if count > 1]
    assert sorted(twice) == ["missile", "sunglasses"]
    for name in twice:
        with pytest.raises(ConceptError, match="is ambiguous") as caught:
            imagenet.find(name)
        first, second = imagenet.search(name)
        assert first.parent is not second.parent
        assert all(leaf.key in str(caught.value) for leaf in (first, second))
        assert imagenet.find(first.key) is first and imagenet.find(str(second.index)) is second
    assert {leaf.index for leaf in imagenet.search("crane")} == {134, 517}  # by alias
    assert imagenet.find("crane bird").index == 134  # control


def test_groups_have_names_of_their_own(imagenet: Taxonomy) -> None:
    """So that a request for a group is never taken for one of a class, nor refused."""
    names = Counter(normalise(concept.name) for concept in imagenet.concepts)
    groups = [concept for concept in imagenet.concepts if not concept.is_leaf]
    assert all(names[normalise(group.name)] == 1 for group in groups)
    assert all(imagenet.find(group.name) is group for group in groups)
    assert sum(1 for _ in imagenet.find("dog").leaves()) == 118
    assert sum(1 for _ in imagenet.find("bird").leaves()) == 59


def test_dogs_agree_with_imagenet(imagenet: Taxonomy) -> None:
    """Wnid and number of a breed belong together, and its name is one that WordNet has for it."""
    own = {"Walker foxhound"}  # the paper's alone
    for leaf in Taxonomy.load("imagenet-dogs").leaves:
        assert leaf.id is not None
        there = imagenet.find(leaf.id)
        assert there.index == leaf.index
        words = {normalise(word) for word in (there.name, *there.aliases)}
        words |= {word.removesuffix(" dog") for word in words}
        assert normalise(leaf.name) in words or leaf.name in own
        assert there.lineage[1].name == "dog"


@pytest.mark.parametrize("name", ["imagenet-dogs", "oxford-pets"])
def test_breeds_and_kinds_are_those_of_the_paper(name: str, shared_data: Path) -> None:
    raw = yaml.safe_load((shared_data / "taxonomies" / f"{name}.yaml").read_text())
    tree = Taxonomy.load(name)
    kinds = {tree.find(kind): {tree.find(leaf) for leaf in below} for kind, below in raw.items()}
    assert kinds == {kind: set(kind.children) for kind in tree.tops}


def test_cifar10_is_grouped_as_the_shared_one(shared_data: Path) -> None:
    shared = Taxonomy.load(shared_data / "cifar10.yaml")
    assert {leaf.key for leaf in shared.leaves} == {
        leaf.key for leaf in Taxonomy.load("cifar10").leaves
    }


def test_folders_of_imagenet_find_their_class(shared_data: Path, imagenet: Taxonomy) -> None:
    folders = sorted(path.name for path in (shared_data / "imagenet-sample").iterdir())
    assert len(folders) > 50
    for folder in folders:
        leaf = imagenet.leaf_of_folder(folder)
        assert leaf is not None and leaf.id == folder[:9]


# -- the script that made the ImageNet tree -----------------------------------------------------


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    path = ROOT / "examples" / "taxonomies" / "make_imagenet.py"
    spec = importlib.util.spec_from_file_location("make_imagenet", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "make_imagenet", module)
    spec.loader.exec_module(module)
    yield module


SYNSETS = """\
  1 the licence
00000001 03 n 01 beast 0 000 | anything that moves
00000002 03 n 02 dog 0 hound 0 002 @ 00000001 n 0000 ~ 00000003 n 0000 | it barks
00000003 03 n 01 pug 0 001 @ 00000002 n 0000 | small
00000004 03 n 01 crane 0 001 @ 00000001 n 0000 | long legs
00000005 03 n 01 chow 0 002 @ 00000002 n 0000 @i 00000004 n 0000 | of two kinds
"""


def small_tree(script: ModuleType, folder: Path, groups: str) -> str:
    (folder / "data.noun").write_text(SYNSETS)
    (folder / "groups.yaml").write_text(groups)
    wnids = ["n00000003", "n00000004", "n00000005"]
    classes = script.Classes(wnids, ["pug", "crane", "no"], {wnids[0]: ["pug", "mops"]}, {})
    wordnet = script.WordNet.read(folder / "data.noun")
    made = script.make(wordnet, classes, folder / "groups.yaml")
    assert isinstance(made, str)
    return made


def test_classes_go_to_the_nearest_group_above_them(script: ModuleType, tmp_path: Path) -> None:
    groups = "animal: {takes: [n00000001 beast], dog: [n00000002 dog, 2 no]}\n"
    tree = Taxonomy.parse(yaml.safe_load(small_tree(script, tmp_path, groups)))
    assert [leaf.key for leaf in tree.leaves] == ["animal/dog/pug", "animal/dog/no", "animal/crane"]
    assert [leaf.index for leaf in tree.leaves] == [0, 2, 1]
    assert tree.find("mops").name == "pug" and tree.find("n00000002").name == "dog"
    moved = groups.replace("2 no]", "1 crane, 2 no]")  # a class by name goes where it is named
    tree = Taxonomy.parse(
        yaml.safe_load(
            small_tree(script, tmp_path, moved.replace("takes: [n00000001 beast], ", ""))
        )
    )
    assert tree.find("crane").key == "animal/dog/crane"
    assert tree.find("dog").id is None  # it holds a class that is no dog


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("dog: [n00000002 dog]\n", "no group for 1 crane"),
        ("dog: [n00000002 dog]\nbird: [1 crane]\n", "as near to"),
        ("dog: [n00000002 cat]\n", "n00000002 is 'dog'"),
        ("dog: [1 pug]\n", "1 is 'crane'"),
        ("dog: [n00000001 beast]\ncat: [n00000001 beast]\n", "taken by"),
        ("all: [0 pug, 1 crane, 2 no]\ndog: [n00000002 dog]\n", "bring no class"),
    ],
)
def test_the_script_refuses_a_table_with_holes(
    script: ModuleType, tmp_path: Path, groups: str, message: str
) -> None:
    with pytest.raises(script.click.ClickException, match=message):
        small_tree(script, tmp_path, groups)


def test_the_script_makes_the_bundled_file(script: ModuleType) -> None:
    if not WORDNET.is_file():
        pytest.skip("WordNet 3.0 is not installed (Debian: wordnet-base)")
    made = script.make(script.WordNet.read(WORDNET), script.Classes.installed())
    bundled = bundled_file("imagenet")
    assert bundled is not None and made == bundled.read_text(encoding="utf-8")
