"""Batches do not depend on how they were read; splits do not share a picture."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.batches import Batch, Reading, collect, default_workers, stream
from slsgu.data.images import pixel_hash
from slsgu.data.ledger import Ledger
from slsgu.data.sources.folders import FileSample, FolderSource
from slsgu.data.splits.partition import SPLITS
from slsgu.data.splits.splits import Limits, make_splits
from slsgu.errors import DataError

HERE = Path(__file__).parent


def transform(image: Image.Image) -> torch.Tensor:
    """The shape of OpenCLIP's preprocessing, without importing it."""
    pixels = np.asarray(image.resize((8, 8)), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.fixture
def leaf() -> Concept:
    return Taxonomy.parse(["beagle", "pug"]).leaves[0]


@pytest.fixture
def samples(tmp_path: Path, leaf: Concept) -> list[FileSample]:
    """40 pictures; number 5 is empty, 11 is truncated, 17 is text."""
    made = []
    for i in range(40):
        path = tmp_path / f"{i:02}.png"
        noise = np.random.Generator(np.random.PCG64(i)).integers(0, 256, (9, 7, 3), np.uint8)
        Image.fromarray(noise).save(path)
        made.append(FileSample(leaf, path, path.name, f"{i:064}"))
    made[5].path.write_bytes(b"")
    made[11].path.write_bytes(made[11].path.read_bytes()[:100])
    made[17].path.write_text("no picture")
    return made


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def read(samples: list[FileSample], workers: int = 0, size: int = 8) -> tuple[list[Batch], Ledger]:
    ledger = Ledger()
    batches = stream(
        samples, transform, split="test", ledger=ledger, reading=Reading(size, workers)
    )
    return list(batches), ledger


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_change_nothing(samples: list[FileSample], workers: int) -> None:
    torch.randn(500, 500).matmul(torch.randn(500, 500))  # threads exist before the fork
    state = torch.get_rng_state()
    (alone, ledger), (helped, other) = read(samples), read(samples, workers)
    assert torch.equal(state, torch.get_rng_state())
    assert len(alone) == len(helped)
    for one, two in zip(alone, helped, strict=True):
        assert one.samples == two.samples and torch.equal(one.pixels, two.pixels)
    assert ledger.hashes("test") == other.hashes("test") and ledger.skipped == other.skipped


def test_batches_are_stretches_of_the_samples_in_order(samples: list[FileSample]) -> None:
    """What cannot be read leaves its batch smaller, and the others as they are."""
    batches, ledger = read(samples)
    assert [len(batch.samples) for batch in batches] == [7, 7, 7, 8, 8]
    assert [batch.stop for batch in batches] == [8, 16, 24, 32, 40]
    names = [sample.name for batch in batches for sample in batch.samples]
    assert names == [f"{i:02}.png" for i in range(40) if i not in (5, 11, 17)]
    assert [item.name for item in ledger.skipped] == ["05.png", "11.png", "17.png"]
    assert ledger.skipped[0].reason == "the file is empty"
    batch = batches[0]
    assert batch.pixels.shape == (7, 3, 8, 8) and batch.pixels.dtype == torch.float32
    for sample, pixels in zip(batch.samples, batch.pixels, strict=True):
        assert torch.equal(pixels, transform(sample.read()))


def test_batch_size_changes_no_pixel(samples: list[FileSample]) -> None:
    one = torch.cat([batch.pixels for batch in read(samples, size=3)[0]])
    two = torch.cat([batch.pixels for batch in read(samples, size=64)[0]])
    assert torch.equal(one, two)


@pytest.mark.parametrize("workers", [0, 2])
def test_strict(samples: list[FileSample], workers: int) -> None:
    def strictly(some: list[FileSample]) -> list[Batch]:
        return list(
            stream(
                some, transform, split="test", ledger=Ledger(),
                reading=Reading(4, workers, strict=True),
            )
        )  # fmt: skip

    with pytest.raises(DataError, match=r"05\.png: the file is empty"):
        strictly(samples)
    assert len(strictly(samples[:4])) == 1  # control


def test_progress_counts_every_sample(samples: list[FileSample]) -> None:
    done: list[int] = []
    list(
        stream(
            samples, transform, split="test", ledger=Ledger(), reading=Reading(16, 0),
            progress=done.append,
        )
    )  # fmt: skip
    assert sum(done) == 40


def test_leaving_early_ends_the_workers(samples: list[FileSample]) -> None:
    batches = stream(samples, transform, split="test", ledger=Ledger(), reading=Reading(4, 2))
    next(batches)
    assert multiprocessing.active_children()  # control
    batches.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def broken(image: Image.Image) -> torch.Tensor:
    os._exit(3)


def test_a_worker_that_dies_is_told(samples: list[FileSample]) -> None:
    with pytest.raises(DataError, match="fewer workers"):
        list(stream(samples, broken, split="test", ledger=Ledger(), reading=Reading(4, 1)))


def endless(image: Image.Image) -> torch.Tensor:
    time.sleep(0.2)
    return transform(image)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_an_interrupted_parent(tmp_path: Path, number: int) -> None:
    """Run a script, signal its process (for Ctrl-C: its group), wait for all children to go."""
    (tmp_path / "1.png").write_bytes(b"")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, pathlib, sys
            sys.path[:0] = sys.argv[1:2]
            from test_batches import FileSample, Ledger, Reading, Taxonomy, endless, stream
            from PIL import Image
            path = pathlib.Path(sys.argv[2]) / "x.png"
            Image.new("RGB", (4, 4)).save(path)
            leaf = Taxonomy.parse(["beagle", "pug"]).leaves[0]
            samples = [FileSample(leaf, path, "x.png", "00")] * 10000
            for batch in stream(
                samples, endless, split="test", ledger=Ledger(), reading=Reading(1, 2)
            ):
                print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            """
        )
    )
    parent = subprocess.Popen(
        [sys.executable, script, HERE, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2 and all(alive(pid) for pid in children)  # control
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)
    else:
        parent.send_signal(number)
    _, errors = parent.communicate(timeout=30)
    assert parent.returncode != 0
    if number == signal.SIGINT:
        assert errors.count("Traceback") == 1, errors  # the parent's own, none from workers
    deadline = time.monotonic() + 20  # a killed parent is noticed at the next heartbeat
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in children)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_default_workers() -> None:
    assert default_workers(10) == 0
    assert 0 <= default_workers(100_000) <= 4


def test_memory_does_not_grow(leaf: Concept) -> None:
    """Batches that were handed out are not held: at most a few are alive at any time."""
    import weakref

    made = [DrawnOnce(leaf, i) for i in range(200)]
    alive_at_once = []
    references: list[weakref.ref[Batch]] = []
    for batch in stream(made, transform, split="test", ledger=Ledger(), reading=Reading(4, 0)):
        references.append(weakref.ref(batch))
        del batch
        alive_at_once.append(sum(reference() is not None for reference in references))
    assert len(references) == 50 and max(alive_at_once) <= 2


@dataclass(frozen=True)
class DrawnOnce:
    """A sample that needs no file."""

    leaf: Concept
    index: int
    fingerprint: str = ""
    caption: None = None

    @property
    def name(self) -> str:
        return f"#{self.index}"

    def read(self) -> Image.Image:
        return Image.new("RGB", (3, 3), (self.index % 256, self.index // 256, 0))


def test_same_pixels_in_two_formats_are_used_once(tmp_path: Path) -> None:
    """The bytes differ, so the splits hold both; the ledger lets one of them pass."""
    taxonomy = Taxonomy.parse(["beagle", "pug"])
    for name, first in (("beagle", 0), ("pug", 100)):
        for part in ("train", "test"):
            (tmp_path / part / name).mkdir(parents=True)
        for i in range(first, first + 8):
            noise = np.random.Generator(np.random.PCG64(i)).integers(0, 256, (5, 5, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "train" / name / f"{i}.png")
            if i % 2:
                Image.fromarray(noise).save(tmp_path / "test" / name / f"{i}.bmp")
            else:
                Image.fromarray(noise[::-1]).save(tmp_path / "test" / name / f"{i}.png")
    splits = make_splits(FolderSource(tmp_path, taxonomy), request=None, limits=Limits())
    assert {split: len(splits.of(split)) for split in SPLITS} == splits.description["counts"]
    assert len(splits.test) == 16  # control: by bytes they pass
    ledger = Ledger()
    used = {}
    for split in SPLITS:
        used[split], _ = collect(splits.of(split), transform, split=split, ledger=ledger)
    ledger.check()
    assert len(used["test"]) == 8 and len(ledger.overlaps) == 8
    assert all(item.split == "test" and item.other in SPLITS[:2] for item in ledger.overlaps)
    pixels = [{pixel_hash(s.read()) for s in used[split]} for split in SPLITS]
    assert not pixels[0] & pixels[1] and not (pixels[0] | pixels[1]) & pixels[2]


def test_ledger_restores_what_a_cache_used() -> None:
    ledger = Ledger()
    ledger.claim("aa", "gradient")
    copy = Ledger()
    copy.restore("gradient", ledger.hashes("gradient"))
    assert not copy.claim("aa", "test") and copy.claim("bb", "test")
    with pytest.raises(DataError, match="1 of 1 pictures"):
        copy.restore("gradient", ["bb"])


def test_ledger_check_can_fail() -> None:
    ledger = Ledger()
    ledger.claim("aa", "gradient")
    ledger.check()
    ledger._claims["test"] = {"aa"}
    with pytest.raises(AssertionError, match="both gradient and test"):
        ledger.check()


def test_reading_twice_is_listed_once(samples: list[FileSample]) -> None:
    ledger = Ledger()
    for _ in range(2):
        batches = list(
            stream(samples, transform, split="gradient", ledger=ledger, reading=Reading(64, 0))
        )
        assert sum(len(batch.samples) for batch in batches) == 37
    assert len(ledger.skipped) == 3 and not ledger.overlaps


def test_collect_refuses_an_empty_set(samples: list[FileSample]) -> None:
    bad = [samples[i] for i in (5, 11, 17)]
    with pytest.raises(DataError, match=r"no usable image is left.*05\.png: the file is empty"):
        collect(bad, transform, split="search", ledger=Ledger())
    with pytest.raises(DataError, match="no usable image"):
        collect([], transform, split="search", ledger=Ledger())
    found, pixels = collect([*bad, samples[0]], transform, split="search", ledger=Ledger())
    assert found == (samples[0],) and pixels.shape == (1, 3, 8, 8)  # control


def test_pixels_beyond_the_budget_lie_in_a_file(
    samples: list[FileSample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pixels, in memory that the system may take back; nothing is left behind."""
    made: list[tuple[int, ...]] = []
    memmap = np.memmap

    def noted(file: Any, *rest: Any, shape: tuple[int, ...]) -> Any:
        made.append(shape)
        return memmap(file, *rest, shape=shape)

    monkeypatch.setattr(np, "memmap", noted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    enough = 4 * len(samples) * 3 * 8 * 8
    whole, spilled = (
        collect(
            samples, transform, split="search", ledger=Ledger(), budget=budget, reading=Reading(5)
        )
        for budget in (enough, enough - 1)
    )
    assert made == [(len(samples), 3, 8, 8)]  # the second only
    assert whole[0] == spilled[0] and len(whole[1]) == len(whole[0]) < len(samples)
    assert torch.equal(whole[1], spilled[1]) and len(torch.unique(whole[1])) > 1
    assert not list((tmp_path / "temporary").iterdir())


def test_collect_needs_every_required_leaf(samples: list[FileSample], leaf: Concept) -> None:
    other = Taxonomy.parse(["tulip", "rose"]).leaves[0]
    collect(samples[:3], transform, split="search", ledger=Ledger(), required=[leaf])
    with pytest.raises(DataError, match="no usable image of tulip is left in the search split"):
        collect(samples[:3], transform, split="search", ledger=Ledger(), required=[leaf, other])


def test_openclip_preprocessing_in_workers(samples: list[FileSample]) -> None:
    """The real transform, after threads and autograd have run in this process."""
    from open_clip.transform import image_transform

    weights = torch.randn(300, 300, requires_grad=True)
    weights.matmul(weights).sum().backward()
    preprocess = image_transform(224, is_train=False)
    one, two = (
        collect(
            samples[:5], preprocess, split="test", ledger=Ledger(), reading=Reading(workers=workers)
        )[1]
        for workers in (0, 2)
    )
    assert one.shape == (5, 3, 224, 224) and torch.equal(one, two)


@pytest.mark.photographs
def test_imagenet_sample_loads(shared_data: Path) -> None:
    from slsgu.data.sources.folders import taxonomy_of_folders

    root = shared_data / "imagenet-sample"
    taxonomy = taxonomy_of_folders(root)
    source = FolderSource(root, taxonomy)
    made = [
        source.sample(leaf, path, path.name)
        for leaf, paths in source.parts["all"].items()
        for path in paths
    ]
    assert len(made) == 86 == len(taxonomy.leaves) and all(leaf.id for leaf in taxonomy.leaves)
    ledger = Ledger()
    found, _ = collect(made, transform, split="test", ledger=ledger, reading=Reading(workers=2))
    assert len(found) == 86 and not ledger.skipped
