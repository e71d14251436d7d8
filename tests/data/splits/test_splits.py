"""Three sets that never meet, chosen by content, the same every time."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.samples import Sample
from slsgu.data.sources.drawings import DrawingSource, split_seed
from slsgu.data.sources.folders import FolderSource
from slsgu.data.splits import folder_splits as choice
from slsgu.data.splits import two_classes
from slsgu.data.splits.partition import SMALL_CLASS, SPLITS, by_count, by_rank, rank
from slsgu.data.splits.splits import FEW, Limits, Splits, make_splits
from slsgu.errors import DataError
from slsgu.menagerie import TAXONOMY_FILE
from slsgu.utils.files import file_sha256

FREE = Limits(None, None, None)


@pytest.fixture
def pets() -> Taxonomy:
    return Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["tabby"]}, name="pets")


def picture(seed: int) -> Image.Image:
    noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(noise)


def fill(folder: Path, seeds: Iterable[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        picture(seed).save(folder / f"{seed:04}.png")


def make_pets(root: Path, count: int = 20) -> Path:
    for start, name in ((0, "beagle"), (1000, "pug"), (2000, "tabby")):
        fill(root / name, range(start, start + count))
    return root


def split_of(splits: Splits) -> dict[str, str]:
    return {sample.name: split for split in SPLITS for sample in splits.of(split)}


def counts(splits: Splits, leaf: str) -> tuple[int, ...]:
    return tuple(sum(s.leaf.name == leaf for s in splits.of(split)) for split in SPLITS)


def contents(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.fingerprint for sample in samples}


def test_shares_and_disjointness(tmp_path: Path, pets: Taxonomy) -> None:
    splits = make_splits(FolderSource(make_pets(tmp_path), pets), request=None, limits=FREE)
    assert counts(splits, "beagle") == counts(splits, "tabby") == (10, 4, 6)
    assert len(split_of(splits)) == 60  # every image, each in one split
    assert splits.description["counts"] == {"gradient": 30, "search": 12, "test": 18}
    assert splits.description["root"] == tmp_path.name


def test_same_seed_same_splits_other_seed_others(tmp_path: Path, pets: Taxonomy) -> None:
    source = FolderSource(make_pets(tmp_path), pets)
    one, two, other = (
        make_splits(source, request=None, limits=Limits(4, 2, 2), seed=seed) for seed in (0, 0, 1)
    )
    assert split_of(one) == split_of(two) and one.sha256 == two.sha256
    assert split_of(one) != split_of(other) and one.sha256 != other.sha256  # control


def test_names_do_not_matter(tmp_path: Path, pets: Taxonomy) -> None:
    """The split is by content: renaming files moves nothing."""
    make_pets(tmp_path)
    before = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    for path in list((tmp_path / "beagle").iterdir()):
        path.rename(path.with_name(f"x{9999 - int(path.stem)}.png"))
    after = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    assert before.sha256 == after.sha256
    assert split_of(before) != split_of(after)  # control: names did change


def test_a_new_image_changes_little(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path)
    before = split_of(make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE))
    fill(tmp_path / "beagle", [500])
    after = split_of(make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE))
    moved = [name for name in before if before[name] != after[name]]
    assert len(moved) <= 2 and all("beagle" in name for name in moved)


def test_limits(tmp_path: Path, pets: Taxonomy) -> None:
    source = FolderSource(make_pets(tmp_path), pets)
    splits = make_splits(source, request=None, limits=Limits(3, 2, 1))
    assert counts(splits, "pug") == (3, 2, 1)
    assert set(split_of(splits)) < set(
        split_of(make_splits(source, request=None, limits=FREE))
    )  # a choice from the same sets
    for bad in (0, -1, True):
        with pytest.raises(DataError, match="give 1 or more"):
            Limits(search=bad)


@pytest.mark.parametrize("count", [20, SMALL_CLASS + 40])
def test_limits_and_request_move_no_image(tmp_path: Path, pets: Taxonomy, count: int) -> None:
    """They take images away; an image that trained one run cannot be a test image of another."""
    source = FolderSource(make_pets(tmp_path, count), pets)
    full = split_of(make_splits(source, request=None, limits=FREE))
    for limits in (Limits(1, 1, 1), Limits(5, 1, 3)):
        for request in (None, Request.of(pets, ["pug"])):
            part = split_of(make_splits(source, request=request, limits=limits))
            assert len(part) == 3 * (limits.gradient + limits.search + limits.test)  # type: ignore
            assert all(full[name] == split for name, split in part.items())
    other = split_of(make_splits(source, request=None, limits=FREE, seed=1))
    assert other != full  # control


def test_few_images_to_forget_are_told(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path)
    request = Request.of(pets, ["beagle"])
    for count in (FEW - 1, FEW):
        shutil.rmtree(tmp_path / "beagle")
        fill(tmp_path / "beagle", range(1000, 1000 + count))
        source = FolderSource(tmp_path, pets)
        notes = make_splits(source, request=request, limits=FREE).notes
        told = "only 4 image(s) to forget: even if none of the 1 test image(s) is recognised"
        assert any(told in note for note in notes) == (count < FEW)
        assert not any("forget image" in note for note in make_splits(
            source, request=None, limits=FREE
        ).notes)  # fmt: skip


def test_a_large_class_is_cut_at_fixed_ranks(tmp_path: Path, pets: Taxonomy) -> None:
    """So the split of an image depends on its bytes alone, and a new one moves no other."""
    count = SMALL_CLASS + 40
    make_pets(tmp_path, count)
    before = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    assert all(
        by_rank(rank(sample.fingerprint, 0), SPLITS) == split
        for split in SPLITS
        for sample in before.of(split)
    )
    for got, share in zip(counts(before, "beagle"), (0.5, 0.2, 0.3), strict=True):
        assert abs(got - share * count) < 0.12 * count
    fill(tmp_path / "beagle", [500])
    after = split_of(make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE))
    assert {name: after[name] for name in split_of(before)} == split_of(before)


def test_many_copies_of_few_pictures(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path)
    for i in range(SMALL_CLASS + 1):
        shutil.copy(tmp_path / "pug" / "1000.png", tmp_path / "pug" / f"copy{i}.png")
    source = FolderSource(tmp_path, pets)
    splits = make_splits(source, request=None, limits=FREE)
    assert sum(counts(splits, "pug")) == 20 and min(counts(splits, "pug")) > 0
    # Limits choose how many, never which split a picture is in.
    place = {s.fingerprint: split for split in SPLITS for s in splits.of(split)}
    few = make_splits(source, request=None, limits=Limits(3, 2, 2))
    assert all(place[s.fingerprint] == split for split in SPLITS for s in few.of(split))


def test_a_picture_under_two_classes(tmp_path: Path, pets: Taxonomy) -> None:
    """What is to be forgotten wins; between two others, neither has it; and it is said."""
    make_pets(tmp_path)
    for start, other in ((1000, "beagle"), (2000, "pug")):
        own = "pug" if start == 1000 else "tabby"
        for i in range(2):
            name = f"{start + i}.png"
            shutil.copy(tmp_path / own / name, tmp_path / other / f"copy{name}")
    splits = make_splits(
        FolderSource(tmp_path, pets), request=Request.of(pets, ["beagle"]), limits=FREE
    )
    assert [sum(counts(splits, name)) for name in ("beagle", "pug", "tabby")] == [22, 18, 18]
    (note,) = [note for note in splits.notes if "under two classes" in note]
    assert note.startswith("4 picture(s)") and "copy1000.png" in note


def test_a_picture_of_a_large_forgotten_class_is_kept_nowhere(
    tmp_path: Path, pets: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large classes are not read whole; the other of two files may be one that was not read."""
    count = 3 * SMALL_CLASS
    make_pets(tmp_path, count)
    for i in range(count):
        shutil.copy(tmp_path / "beagle" / f"{i:04}.png", tmp_path / "pug" / f"copy{i}.png")
    source = FolderSource(tmp_path, pets)
    request = Request.of(pets, ["beagle"])
    beagles = {file_sha256(path) for path in (tmp_path / "beagle").iterdir()}

    def wrong() -> int:
        splits = make_splits(source, request=request, limits=Limits(30, 15, 30))
        assert any("under two classes" in note for note in splits.notes)
        assert counts(splits, "beagle") == (30, 15, 30)
        samples = [s for split in SPLITS for s in splits.of(split) if s.leaf.name == "pug"]
        assert samples
        return sum(sample.fingerprint in beagles for sample in samples)

    assert wrong() == 0
    monkeypatch.setattr(two_classes, "_unread", lambda *_: ())  # control
    assert wrong() > 10


def test_empty_class_folders_are_named(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path)
    (tmp_path / "zoo animal").mkdir()
    splits = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    assert any("1 folder(s) hold no image: zoo animal" in note for note in splits.notes)


def test_train_and_test_folders(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path / "train", 14)
    for start, name in ((100, "beagle"), (1100, "pug"), (2100, "tabby")):
        fill(tmp_path / "test" / name, range(start, start + 5))
    splits = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    assert counts(splits, "beagle") == (10, 4, 5)
    assert all(sample.name.startswith("test/") for sample in splits.test)
    assert all(s.name.startswith("train/") for s in (*splits.gradient, *splits.search))


def test_same_bytes_stay_in_one_split(tmp_path: Path, pets: Taxonomy) -> None:
    """Copies under another name, in another class, and in train and test."""
    make_pets(tmp_path / "train", 14)
    make_pets(tmp_path / "test", 14)  # all of test is a copy of train
    fill(tmp_path / "test" / "beagle", range(500, 506))
    fill(tmp_path / "test" / "tabby", range(2500, 2506))
    shutil.copy(tmp_path / "train/beagle/0000.png", tmp_path / "train/beagle/copy.png")
    shutil.copy(tmp_path / "train/beagle/0001.png", tmp_path / "train/tabby/copy.png")
    splits = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    seen = [contents(splits.of(split)) for split in SPLITS]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert counts(splits, "beagle")[2] == counts(splits, "tabby")[2] == 6
    notes = "\n".join(splits.notes)
    assert (
        "1 file(s) are copies" in notes
        and "another split holds a file with the same bytes" in notes
    )


def test_forget_leaf_whose_test_images_are_all_copies(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path / "train", 4)
    make_pets(tmp_path / "test", 4)
    fill(tmp_path / "test" / "pug", [1500])
    fill(tmp_path / "test" / "tabby", [2500])
    source = FolderSource(tmp_path, pets)
    with pytest.raises(DataError, match=r"every test image of 'dog/beagle' is a copy"):
        make_splits(source, request=Request.of(pets, ["beagle"]), limits=FREE)
    make_splits(source, request=Request.of(pets, ["pug"]), limits=FREE)  # control


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_images(tmp_path: Path, pets: Taxonomy, count: int) -> None:
    make_pets(tmp_path)
    shutil.rmtree(tmp_path / "pug")
    fill(tmp_path / "pug", range(count))
    source = FolderSource(tmp_path, pets)
    with pytest.raises(DataError, match=rf"'dog/pug' .* has {count} different image"):
        make_splits(source, request=Request.of(pets, ["pug"]), limits=FREE)
    with pytest.raises(DataError, match="dog/pug"):  # below an inner node
        make_splits(source, request=Request.of(pets, ["dog"]), limits=FREE)
    splits = make_splits(source, request=Request.of(pets, ["beagle"]), limits=FREE)
    assert counts(splits, "pug") == (0, 0, 0)
    assert any("dog/pug" in note for note in splits.notes)


def test_three_images_are_enough(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path, 3)
    splits = make_splits(
        FolderSource(tmp_path, pets), request=Request.of(pets, ["pug"]), limits=FREE
    )
    assert counts(splits, "pug") == (1, 1, 1)


def test_nothing_left_to_keep(tmp_path: Path, pets: Taxonomy) -> None:
    make_pets(tmp_path, 3)
    for name in ("pug", "tabby"):
        (tmp_path / name / next((tmp_path / name).iterdir()).name).unlink()
    with pytest.raises(DataError, match="left to keep"):
        make_splits(FolderSource(tmp_path, pets), request=Request.of(pets, ["beagle"]), limits=FREE)


def test_no_other_images_at_all(tmp_path: Path, pets: Taxonomy) -> None:
    """They are not needed where something above what is to be forgotten can be kept."""
    make_pets(tmp_path, 6)
    for name in ("pug", "tabby"):
        shutil.rmtree(tmp_path / name)
    source = FolderSource(tmp_path, pets)
    splits = make_splits(source, request=Request.of(pets, ["beagle"]), limits=FREE)
    assert {sample.leaf for sample in splits.test} == {pets.find("beagle")}
    with pytest.raises(DataError, match="a taxonomy that puts it below a parent"):
        flat = Taxonomy.parse(["beagle", "pug"])
        make_splits(FolderSource(tmp_path, flat), request=Request.of(flat, ["beagle"]), limits=FREE)


def test_empty_and_dangling_files_are_left_to_the_reader(tmp_path: Path, pets: Taxonomy) -> None:
    """They are no copies of each other: each is named, and `strict` can refuse it."""
    make_pets(tmp_path, 3)
    for i in range(4):
        (tmp_path / "pug" / f"empty{i}.png").touch()
    (tmp_path / "pug" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    splits = make_splits(FolderSource(tmp_path, pets), request=None, limits=FREE)
    assert sum(counts(splits, "pug")) == 8


def test_big_classes_are_not_read_whole(
    tmp_path: Path, pets: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pets(tmp_path, SMALL_CLASS + 40)
    source = FolderSource(tmp_path, pets)
    hashed: list[Path] = []

    def watch(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(choice, "file_sha256", watch)
    splits = make_splits(source, request=None, limits=Limits(3, 1, 2))
    assert counts(splits, "pug") == (3, 1, 2)
    assert len(hashed) <= 3 * 40
    hashed.clear()
    make_splits(source, request=None, limits=FREE)
    assert len(hashed) == 3 * (SMALL_CLASS + 40)  # control


def test_many_classes_share_the_retain_total() -> None:
    limits = Limits()
    assert [limits.capped("gradient", n) for n in (1, 10, 25, 250, 9000)] == [50, 50, 20, 2, 1]
    assert [limits.capped("search", n) for n in (1, 20, 25, 250)] == [25, 25, 20, 2]
    assert limits.capped("test", 9000) == 50
    assert Limits(gradient=None).capped("gradient", 5) == 100
    assert Limits(retain_gradient=None).capped("gradient", 9000) == 50


@pytest.mark.parametrize("count", range(3, 200, 7))
def test_by_count_gives_all_and_at_least_one(count: int) -> None:
    sizes = by_count(count, SPLITS)
    assert sum(sizes.values()) == count and min(sizes.values()) >= 1
    assert abs(sizes["gradient"] - count / 2) <= 1


def test_drawings() -> None:
    taxonomy = Taxonomy.load(TAXONOMY_FILE)
    request = Request.of(taxonomy, ["golden retriever"])
    source = DrawingSource(taxonomy)
    splits = make_splits(source, request=request, limits=Limits(3, 2, 4))
    assert counts(splits, "golden retriever") == counts(splits, "tulip") == (3, 2, 4)
    everything = [s.fingerprint for split in SPLITS for s in splits.of(split)]
    assert len(set(everything)) == len(everything) == 9 * len(taxonomy.leaves)
    first = splits.test[0]
    image = first.read()
    assert (image.mode, image.size) == ("RGB", (64, 64))
    assert first.name == "golden retriever #0"
    other = make_splits(source, request=request, limits=Limits(3, 2, 4), seed=1)
    assert other.sha256 != splits.sha256
    unlimited = make_splits(source, request=request, limits=FREE)
    assert counts(unlimited, "golden retriever") == (50, 25, 50)


def test_no_split_draws_what_the_model_was_trained_on() -> None:
    from slsgu.menagerie.train import TRAIN_SEED

    assert TRAIN_SEED % 7 not in {split_seed(split, 0) % 7 for split in SPLITS}
    seeds = [split_seed(split, seed) for split in SPLITS for seed in range(1000)]
    assert len(set(seeds)) == 3000


def test_drawings_of_another_taxonomy_are_refused() -> None:
    with pytest.raises(DataError, match="no drawings of unicorn"):
        DrawingSource(Taxonomy.parse(["tulip", "unicorn"]))


def test_samples_can_be_pickled(tmp_path: Path, pets: Taxonomy) -> None:
    """Worker processes receive them where they cannot inherit them."""
    photographs = make_splits(FolderSource(make_pets(tmp_path), pets), request=None, limits=FREE)
    source = DrawingSource(Taxonomy.load(TAXONOMY_FILE))
    for sample in (photographs.test[0], source.samples(source.taxonomy.leaves[0], "test", 1, 0)[0]):
        copy = pickle.loads(pickle.dumps(sample))
        assert (copy.leaf.key, copy.name) == (sample.leaf.key, sample.name)
        assert copy.read().tobytes() == sample.read().tobytes()
