"""Finding concepts by name, reading trees, and what a request means for each image."""

from __future__ import annotations

from pathlib import Path

import pytest

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.errors import ConceptError, DataError

TREE = """
$name: zoo
$templates: ["a {}", "the {}"]
animal:
  bird: [crane, duck]
  dog:
    $aliases: [canine, hound]
    retriever:
      golden retriever: {$id: n02099601, $plural: golden retrievers}
      labrador:
    pug:
machine: [crane, lorry]
"""


@pytest.fixture
def zoo(tmp_path: Path) -> Taxonomy:
    path = tmp_path / "zoo.yaml"
    path.write_text(TREE)
    return Taxonomy.load(path)


@pytest.mark.parametrize(
    "text",
    ["golden retriever", "Golden_Retriever", " golden-retriever", "golden retrievers",
     "n02099601", "dog/golden retriever", "animal/dog/retriever/golden retriever"],
)  # fmt: skip
def test_a_concept_answers_to_all_its_names(zoo: Taxonomy, text: str) -> None:
    assert zoo.find(text).key == "animal/dog/retriever/golden retriever"


def test_homonyms_are_told_apart_by_path(zoo: Taxonomy) -> None:
    with pytest.raises(ConceptError, match=r"animal/bird/crane, machine/crane"):
        zoo.find("crane")
    assert zoo.find("machine/crane").key == "machine/crane"
    assert zoo.find("bird/crane").key == "animal/bird/crane"


def test_an_unknown_name_brings_close_ones(zoo: Taxonomy) -> None:
    with pytest.raises(ConceptError, match="did you mean 'golden retriever'"):
        zoo.find("goldn retreiver")
    with pytest.raises(ConceptError) as caught:
        zoo.find("xylophone")
    assert "did you mean" not in str(caught.value)


def test_levels_let_shallow_leaves_stand_for_themselves(zoo: Taxonomy) -> None:
    assert [c.name for c in zoo.level(1)] == ["animal", "machine"]
    assert [c.key for c in zoo.level(2)] == [
        "animal/bird", "animal/dog", "machine/crane", "machine/lorry"
    ]  # fmt: skip
    assert len(zoo.level(4)) == len(zoo.leaves) == 7
    lorry = zoo.find("lorry")
    assert zoo.ancestor(lorry, 4) is lorry and zoo.ancestor(lorry, 1).name == "machine"


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("golden_retriever", "animal/dog/retriever/golden retriever"),
        ("n02099601-golden_retriever", "animal/dog/retriever/golden retriever"),
        ("n02099601", "animal/dog/retriever/golden retriever"),
        ("n99999999-labrador", "animal/dog/retriever/labrador"),
        ("machine__crane", "machine/crane"),
    ],
)
def test_class_folders_find_their_leaf(zoo: Taxonomy, folder: str, key: str) -> None:
    leaf = zoo.leaf_of_folder(folder)
    assert leaf is not None and leaf.key == key


def test_an_inner_node_is_no_class_folder(zoo: Taxonomy) -> None:
    assert zoo.leaf_of_folder("dog") is None
    with pytest.raises(ConceptError, match="name it by path"):
        zoo.leaf_of_folder("crane")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b, b]", "is listed twice"),
        ("a: {b: , B_: {}}\nc: ", "is listed twice"),
        ("a: {$colour: red, b: }", "unknown attribute"),
        ("a: 3\nb: ", "expected names"),
        ("[a, [b, c]]", "not a usable name"),
        ("a", "at least 2"),
        ("$templates: ['a photo']\na: [b, c]", "exactly once"),
        ("a: [b", "not valid YAML"),
        ("a: [true, false]", "not a usable name"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_broken_trees_are_refused_with_a_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Taxonomy.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        Taxonomy.load(tmp_path / "none.yaml")


def test_a_request_is_captioned_with_what_must_go_and_nothing_above(zoo: Taxonomy) -> None:
    request = Request.of(zoo, ["dog"])
    names = [c.name for c in request.forgotten_names(zoo.find("labrador"))]
    assert names == ["dog", "retriever", "labrador"]  # never animal
    assert request.forgotten_names(zoo.find("duck")) == ()
    assert request.forget_depth(zoo.find("labrador")) == 2


def test_a_concept_below_another_counts_once(zoo: Taxonomy) -> None:
    assert Request.of(zoo, ["labrador", "dog", "canine"]).concepts == (zoo.find("dog"),)


def test_forgetting_everything_is_refused(zoo: Taxonomy) -> None:
    with pytest.raises(ConceptError, match="leave something"):
        Request.of(zoo, ["animal", "machine"])
    assert Request.of(zoo, ["animal"]).retain_leaves  # control: one side may go


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [dog]\na: [cat]\nb: [ship]\n", "'a' is given in line 1 and again in line 2"),
        ("a:\n  b: [x, y]\n  b: [z]\n", "'b' is given in line 2 and again in line 3"),
        ("a: [dog, Dog]\n", "'Dog' is listed twice under 'a'"),
        ("a: ['', dog]\n", "an empty name under 'a'"),
        ("a: [dog]\n", "has one class"),
        ("{a: [dog], a: [cat], b: [ship]}\n", "'a' is given twice in line 1"),
        ("1: [dog]\n1: [cat]\n", "'1' is given in line 1 and again in line 2"),
        ("a: [{b: [x], b: [y]}, z]\n", "'b' is given twice in line 1"),
        ("bird:\n  crane: {aliases: [heron]}\n  owl:\n", r"did you mean \$aliases\?"),
        ("bird:\n- crane:\n  - aliases: [heron]\n- owl\n", r"did you mean \$aliases\?"),
        ("Definition: flies\nbird: [crane, owl]\n", r"did you mean \$definition\?"),
        (f"a: 0x{'f' * 5000}\n", "line 1, column 4: this number is too long to be read"),
        (f"a: {'9' * 5000}\n", "not valid YAML"),
        ("name: zoo\nbird: [crane, owl]\n", r"did you mean \$name at the top of the file\?"),
        ("bird: [{$aliases: [fowl]}, crane, owl]\n", r"\$aliases under 'bird' stands in a list"),
    ],
)
def test_what_yaml_lets_pass_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Taxonomy.load(path)


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("words: [aliases, plural, name]\n", "aliases plural name"),  # as items of a list
        ("a:\n  n: &x {<<: &b {p: , q: }, p: }\nc: {<<: *x, q: }\n", "p q p q"),  # merge keys
        ("a: &x [p, q]\nb: *x\n", "p q p q"),
    ],
)
def test_what_only_looks_like_a_mistake_is_read(tmp_path: Path, text: str, leaves: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    assert [leaf.name for leaf in Taxonomy.load(path).leaves] == leaves.split()


def test_suggestions_are_close_in_spelling_or_part_of_the_name() -> None:
    pets = Taxonomy.parse({"dog": {"$aliases": ["canine"], "golden retriever": {}, "pug": {}}})
    assert pets.suggest("crane") == []
    assert pets.suggest("golden retreiver") == ["golden retriever"]
    assert pets.suggest("retriever") == ["golden retriever"]
    assert pets.suggest("pgu") == ["pug"]


@pytest.mark.parametrize(
    "text", ["0777", "1:30:00", "1.10", "0x1F", "1_000", ".inf", "2024-01-02", "2024", "7.5"]
)
def test_a_name_that_yaml_takes_for_a_number_is_kept_as_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(f"a: [{text}, other]\nb: {{c: {{$index: 3, $id: 0123}}}}\n")
    tree = Taxonomy.load(path)
    assert {leaf.name for leaf in tree.leaves} == {text.replace("_", " "), "other", "c"}
    assert tree.find("c").index == 3 and tree.find("c").id == "0123"  # control: a number is one


def test_a_name_that_has_no_end_is_refused() -> None:
    """To read it takes seconds, of which the model uses the first words."""
    long = "x" * 1_001
    for tree in ({"dog": ["pug", long]}, {"dog": ["pug"], long: ["tabby"]}):
        with pytest.raises(DataError, match="has a name of 1,001 characters; 1,000 are the most"):
            Taxonomy.parse(tree)
    assert len(Taxonomy.parse({"dog": ["pug", long[1:]]}).leaves) == 2  # control
