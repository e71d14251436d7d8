"""What CONTRIBUTING adds, added: each block is run in the file that it names, and then used."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import build_network

import slsgu
from slsgu.audit.run import PROBES, run_audit
from slsgu.baselines.iterative import Iterative
from slsgu.baselines.methods import METHODS
from slsgu.baselines.train import Budget
from slsgu.data.sources.open import FILES, is_class_folders, open_source
from slsgu.direction.direction import DIRECTIONS
from slsgu.interop.targets import TARGETS
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.utils.progress import SILENT

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "contributing.md"
BLOCK = re.compile(r"```python\n(# (\S+\.py)\n.*?)```", re.S)
TABLES: tuple[dict[str, Any], ...] = (
    FORGET_LOSSES, DIRECTIONS, METHODS, PROBES, FILES, TARGETS
)  # fmt: skip


def namespace_of(path: str) -> dict[str, Any]:
    """The names of a file: of one that is there, a copy; of a new one, a module that can be
    imported from."""
    name = path.removesuffix(".py").replace("/", ".")
    if path.startswith("tests/"):
        spec = importlib.util.spec_from_file_location("contributed", ROOT / path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return vars(module)
    if (ROOT / path).exists():
        return dict(vars(importlib.import_module(name)))
    return vars(sys.modules.setdefault(name, types.ModuleType(name)))


@pytest.fixture
def added() -> Iterator[dict[str, dict[str, Any]]]:
    """Every block of the page, run in order, by file; the tables are as before afterwards."""
    before, known = [dict(table) for table in TABLES], set(sys.modules)
    found: dict[str, dict[str, Any]] = {}
    try:
        for code, path in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
            space = found.setdefault(path, namespace_of(path))
            exec(compile(code, path, "exec"), space)
        yield found
    finally:
        for table, own in zip(TABLES, before, strict=True):
            table.clear()
            table.update(own)
        for name in set(sys.modules) - known:
            if name.startswith("slsgu."):
                del sys.modules[name]


@pytest.fixture
def make(taught: Clip, photos: Path) -> Callable[..., slsgu.Task]:
    where = {"data": photos / "images", "taxonomy": photos / "pets.yaml"}
    return lambda *concepts: slsgu.make_task(taught, concepts, **where)


def test_each_section_adds_to_its_table(added: dict[str, dict[str, Any]]) -> None:
    new = ["angle", "sparse", "random-step", "nearest", ".lst", "ip-adapter-plus"]
    assert all(name in table for name, table in zip(new, TABLES, strict=True))


def test_the_tables_are_as_before() -> None:
    """Control: without the page there is none of it."""
    new = ["angle", "sparse", "random-step", "nearest", ".lst", "ip-adapter-plus"]
    assert not any(name in table for name, table in zip(new, TABLES, strict=True))


def test_blocks_are_short_and_name_real_places(added: dict[str, dict[str, Any]]) -> None:
    for code, path in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        assert len([line for line in code.splitlines() if line.strip()]) <= 30, path
        assert (ROOT / path).parent.is_dir(), path


def test_the_loss_and_the_direction_are_used_by_name(
    added: dict[str, dict[str, Any]], taught: Clip, photos: Path
) -> None:
    settings = slsgu.Settings(
        forget_loss="angle", direction="sparse", layer="visual.proj", force=True
    )
    outcome = slsgu.unlearn(
        taught,
        "beagle",
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
        settings=settings,
    )
    made = outcome.edit.patch
    assert (made.metadata["forget_loss"], made.metadata["direction"]) == ("angle", "sparse")
    zero = (made.delta["visual.proj"] == 0).float().mean()
    assert zero == pytest.approx(0.5, abs=0.01)
    assert outcome.trace is not None and 0 < outcome.trace.gradients.losses["forget"] < 1.6


def test_the_method_and_the_probe_are_used_by_name(
    added: dict[str, dict[str, Any]], make: Callable[..., slsgu.Task]
) -> None:
    task = make("siamese")
    outcome = slsgu.run_method(task, METHODS["random-step"], force=True)
    assert outcome.patch is not None and outcome.patch.metadata["method"] == "random-step"
    weight = task.clip.model.get_parameter("visual.proj")
    share = outcome.patch.delta["visual.proj"].norm() / weight.norm()
    assert float(share) == pytest.approx(0.1)
    (reading,) = run_audit(task, 0 * outcome.patch, probes=["nearest"])
    assert reading.before == reading.after and reading.measurable
    assert reading.chance == pytest.approx(1 / 4)
    line = torch.randn(32, 1) @ torch.randn(1, 32) - weight  # control: all pictures on one line
    ruined = slsgu.Patch({"visual.proj": line}, {"visual.proj": weight.detach().clone()})
    (reading,) = run_audit(task, ruined, probes=["nearest"])
    assert reading.before is not None and reading.after is not None
    assert reading.after < reading.before


def test_the_loss_that_is_trained_is_a_method_by_name(
    added: dict[str, dict[str, Any]], make: Callable[..., slsgu.Task]
) -> None:
    method = METHODS["uncertain"]
    assert isinstance(method, Iterative)
    task = make("siamese")
    short = method.within(Budget(cap=24, batch=8, checks=1)).at(0.02)
    edit = short(task, task.ledger(), SILENT)
    assert edit.patch.metadata["method"] == "uncertain" and edit.gradients == 24
    # Control: another loss moves the weights elsewhere.
    other = replace(short, objective=METHODS["ga"].objective)  # type: ignore[attr-defined]
    elsewhere = other(task, task.ledger(), SILENT).patch.delta["visual.proj"]
    assert not torch.equal(edit.patch.delta["visual.proj"], elsewhere)


def test_the_source_is_read_as_data(
    added: dict[str, dict[str, Any]], taught: Clip, photos: Path, tmp_path: Path
) -> None:
    listing = tmp_path / "pets.lst"
    files = sorted((photos / "images").rglob("*.png"))
    lines = [f"{file} {file.parent.name}" for file in files]
    listing.write_text("\n".join([*lines, "", "no-class.png"]) + "\n")
    source = open_source(listing)
    assert not is_class_folders(listing) and is_class_folders(tmp_path)
    assert [record.label for record in source.records()] == [file.parent.name for file in files]
    assert source.left_out.entries("x")[0]["name"] == f"pets.lst line {len(files) + 2}"
    task = slsgu.make_task(taught, ["beagle"], data=listing, taxonomy=photos / "pets.yaml")
    assert {sample.leaf.name for sample in task.splits.test} == {
        "beagle",
        "pug",
        "tabby",
        "siamese",
    }
    assert slsgu.run_method(task, METHODS["random-step"]).proof.measures.counts["forget_fine"] > 0


def test_the_target_claims_what_its_test_finds(added: dict[str, dict[str, Any]]) -> None:
    test = added["tests/interop/test_targets.py"]
    given = test["GIVEN"]["ip-adapter-plus"]
    model = build_network("vit")
    names = [layer.name for layer in inventory(model, norms=True)]
    read = {name for name in names if TARGETS["ip-adapter-plus"].reads(name, model)}
    assert read and read == {name for name in names if test["changed"](model, name, given)}
