"""Whatever a file holds, a reader gives a value or an error that is meant for people.

Hypothesis draws what stands in the file; the draws are the same in every run. Each property has a
control: what the reader is given without damage is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from helpers.artifacts import forge, places, put, read_raw
from helpers.pictures import pairs, write_tar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slsgu.cli.request_file import options_of

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.sources.open import open_source
from slsgu.errors import SlsguError
from slsgu.gradients.gradients import SIGN, Gradients
from slsgu.patch.patch import Patch

fixed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda child: (
        st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=8), child, max_size=4)
    ),
    max_leaves=12,
)
LAYER = "visual.proj"


# -- artifacts: a header whose hash is right, and whose values are not -----------------------------


@pytest.fixture(scope="module")
def patch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("patch") / "patch.safetensors"
    weight = torch.ones(2, 2)
    made = {
        "request": {"title": "beagle", "paths": ["dog/beagle"], "asked_by": "somebody"},
        "model": {"name": "ViT-B-32", "sha256": "ab" * 32},
        "test": {"before": {"forget_fine": 1.0}, "after": {"forget_fine": 0.0}, "q_u": 0.9},
        "scale": 1.0,
    }
    Patch({LAYER: 0.1 * weight}, {LAYER: weight}, made).save(path)
    return path


@pytest.fixture(scope="module")
def gradients_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gradients") / "gradients.safetensors"
    layer = {"name": LAYER, "tower": "vision", "kind": "matrix", "shape": [2, 2], "block": None}
    forget, retain = {LAYER: torch.ones(2, 2)}, {LAYER: torch.zeros(2, 2)}
    Gradients(
        forget, retain, {LAYER: 2.0}, {"forget": 0.5, "retain": 0.5}, {"forget": 3, "retain": 4},
        {"model": "a", "request": {"concepts": ["beagle"], "paths": ["dog/beagle"]}},
        {"title": "beagle", "layers": [layer], "pixel_hashes": ["ab"], "overlaps": [],
         "skipped": [["a.png", "it is cut"]]},
    ).save(path)  # fmt: skip
    return path


def with_an_odd_value(data: st.DataObject, file: Path, folder: Path) -> Path:
    """A copy of an artifact with any value in any place of its header, and the right hash."""
    header, tensors = read_raw(file)
    new = data.draw(VALUES)
    odd = folder / "odd.safetensors"
    forge(odd, put(header, data.draw(st.sampled_from(list(places(header)))), new), tensors)
    return odd


@fixed
@given(data=st.data())
def test_a_patch_is_read_or_refused(data: st.DataObject, patch_file: Path, tmp_path: Path) -> None:
    odd = with_an_odd_value(data, patch_file, tmp_path)
    try:
        found = Patch.load(odd)
    except SlsguError as error:
        assert "odd.safetensors" in str(error)
        return
    assert list(found.layers) == [LAYER]
    (0.5 * found).save(tmp_path / "half.safetensors")  # scaling reads metadata
    found.save(tmp_path / "again.safetensors")


@fixed
@given(data=st.data())
def test_a_gradient_cache_is_read_or_refused(
    data: st.DataObject, gradients_file: Path, tmp_path: Path
) -> None:
    odd = with_an_odd_value(data, gradients_file, tmp_path)
    try:
        found = Gradients.load(odd)
    except SlsguError as error:
        assert "odd.safetensors" in str(error)
        return
    assert [layer.name for layer in found.layers] == [LAYER]
    assert float(found.weight_norms[LAYER]) >= 0
    found.save(tmp_path / "again.safetensors")


def test_artifacts_without_damage_are_read(
    patch_file: Path, gradients_file: Path, tmp_path: Path
) -> None:
    for file, kind in ((patch_file, Patch), (gradients_file, Gradients)):
        forge(tmp_path / "same.safetensors", *read_raw(file))
        kind.load(tmp_path / "same.safetensors")
    assert read_raw(gradients_file)[0]["sign"] == SIGN


# -- trees, requests, tables, shards ---------------------------------------------------------------


@fixed
@given(VALUES)
def test_a_tree_is_a_taxonomy_or_refused(tree: Any) -> None:
    try:
        found = Taxonomy.parse(tree)
    except SlsguError as error:
        assert str(error)
        return
    assert found.leaves


REQUEST: dict[str, Any] = {
    "concept": ["beagle"], "target": 0.05, "floor": {"retain_fine": 0.5}, "also": ["photos=."],
    "seed": 1, "trials": 2, "search": "paper", "tower": "vision", "strict": True, "step": 0.5,
    "layer": "visual.proj", "asked_by": "somebody",
}  # fmt: skip


@fixed
@given(data=st.data())
def test_a_request_is_read_or_refused_with_its_name(data: st.DataObject, tmp_path: Path) -> None:
    value = put(REQUEST, data.draw(st.sampled_from(list(places(REQUEST)))), data.draw(VALUES))
    path = tmp_path / "odd.yaml"
    path.write_text(json.dumps(value), encoding="utf-8")
    try:
        options_of(path)
    except (SlsguError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        assert "odd.yaml" in text


def test_a_request_without_damage_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(json.dumps(REQUEST), encoding="utf-8")
    assert options_of(path)["seed"] == 1


def listed(path: Path) -> int:
    """How many records a source holds; those that are left out, with a word for each."""
    source = open_source(path)
    count = sum(1 for _ in source.records())
    assert all(reason for reason in source.left_out.reasons)
    return count


@fixed
@given(rows=st.lists(VALUES, max_size=4), tail=st.binary(max_size=40))
def test_a_table_of_any_rows_is_read_or_refused(
    rows: list[Any], tail: bytes, tmp_path: Path
) -> None:
    lines = [json.dumps({"filepath": row, "title": row, "label": row}) for row in rows]
    lines += [json.dumps(row) for row in rows]
    for suffix, data in (
        ("jsonl", "\n".join(lines).encode() + tail),
        ("csv", b"filepath,title\n" + ",".join(map(str, rows)).encode("utf-8", "replace") + tail),
    ):
        path = tmp_path / f"odd.{suffix}"
        path.write_bytes(data)
        try:
            listed(path)
        except SlsguError as error:
            assert f"odd.{suffix}" in str(error)


@fixed
@given(at=st.integers(0, 9000), new=st.binary(max_size=600), gone=st.integers(0, 600))
def test_a_shard_with_any_bytes_is_read_or_refused(
    at: int, new: bytes, gone: int, tmp_path: Path
) -> None:
    good = write_tar(tmp_path / "good.tar", pairs(1, 2, 3))
    assert listed(good) == 3
    data = good.read_bytes()
    odd = tmp_path / "odd.tar"
    odd.write_bytes(data[:at] + new + data[at + gone :])
    try:
        assert listed(odd) <= 3
    except SlsguError as error:
        assert "odd.tar" in str(error)
