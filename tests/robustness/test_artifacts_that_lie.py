"""Our own files, made on purpose by a stranger: every hash is right, and some value makes no sense.

What is read is answered by an `ArtifactError` that names the file and the key, or is used as it
was meant; never by another exception, and never by a number that is not the one in the file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.artifacts import forge, places, put, read_raw
from helpers.gradients import plan_for
from safetensors.torch import save_file
from torch import Tensor

import slsgu
from slsgu.data.ledger import Ledger
from slsgu.errors import ArtifactError, SlsguError
from slsgu.gradients.accumulate import LossGradient
from slsgu.gradients.bank import RetainCache
from slsgu.gradients.compute import compute_gradients
from slsgu.gradients.gradients import Gradients
from slsgu.gradients.resume import Partial
from slsgu.models.clip import Clip
from slsgu.patch.header import HEADER
from slsgu.patch.patch import Patch
from slsgu.pipeline.text_run import run_text_task
from slsgu.task.text_task import make_text_task
from slsgu.utils.artifact import content_sha256, read_artifact, write_artifact
from slsgu.utils.schema import MisfitError, parse_json

ODD: list[Any] = [
    None, True, -1, 0.5, 2**70, 10**400, "", "12", "nan", [], [1], {}, {"a": {"b": [None]}},
    [[["x"]]], "\x1b]0;owned\x07", "\ud800",
]  # fmt: skip


@pytest.fixture
def made(tiny: Clip, photos: Path, tmp_path: Path) -> dict[str, Path]:
    """One of each kind, made by slsgu."""
    plan = plan_for(tiny, photos)
    gradients = compute_gradients(plan, Ledger())
    paths = {kind: tmp_path / f"{kind}.safetensors" for kind in ("gradients", "patch", "partial")}
    gradients.save(paths["gradients"])
    name = gradients.layers[0].name
    delta = gradients.forget[name]
    record = {
        "model": tiny.describe(),
        "request": plan.task.request.describe(),
        "step_size": 0.5,
        "scale": 1.0,
        "templates": list(plan.task.templates),
        "test": {"before": {"forget": 0.5}, "after": {"forget": 0.25}, "q_u": None},
        "command": "slsgu apply",
    }
    Patch({name: delta}, {name: delta.half()}, record).save(paths["patch"])
    sums = LossGradient(dict(gradients.forget), torch.zeros(3, 32), 0.5, 4, 4, False)
    Partial(paths["partial"], {"a": 1}, Ledger(), passes={"forget": sums}).save()
    cache = RetainCache(tmp_path)
    cache.save({"a": 1}, sums, ["x"], title="photos")
    return {**paths, "retain": cache.path({"a": 1})}


def use(kind: str, path: Path) -> object:
    """Read an artifact and look at everything that the library and the commands look at."""
    if kind == "gradients":
        found = Gradients.load(path)
        return [found.layers, found.info["title"].title(), sum(found.counts.values())]
    if kind == "patch":
        patch = Patch.load(path)
        return [patch.requested_paths(), (2.0 * patch).metadata, (patch + 0.5 * patch).file_sha256]
    if kind == "partial":
        return Partial(path, {"a": 1}, Ledger()).load(lambda sums: True)
    cache = RetainCache(path.parent)
    return [list(cache.entries()), cache.load({"a": 1})]


KINDS = ("gradients", "patch", "partial", "retain")


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_the_wrong_kind_is_refused_or_used_as_it_is(
    kind: str, made: dict[str, Path]
) -> None:
    path = made[kind]
    header, tensors = read_raw(path)
    found = sorted(places(header), key=str)
    draws = random.Random(kind)
    refused = 0
    for place in draws.sample(found, min(len(found), 40)):
        for odd in draws.sample(ODD, 5):
            forge(path, put(header, place, odd), tensors)
            try:
                answer = use(kind, path)
            except ArtifactError as error:
                assert str(path) in str(error)
                assert str(error).isprintable()
                refused += 1
            else:
                refused += "not going on" in str(answer) or "unusable" in str(answer)
    assert refused > 20
    forge(path, header, tensors)
    use(kind, path)  # control: it is the values that are refused


@pytest.mark.parametrize("images", [True, False])
def test_everything_that_a_run_writes_into_a_patch_is_checked(
    images: bool, taught: Clip, photos: Path
) -> None:
    tree = photos / "pets.yaml"
    if images:
        where = {"data": photos / "images", "taxonomy": tree}
        patch = slsgu.unlearn(taught, "beagle", settings=slsgu.Settings(force=True), **where).patch
    else:
        task = make_text_task(taught, ["beagle"], taxonomy=tree)
        patch = run_text_task(task, tower="language", force=True).patch
    assert patch is not None
    for key in patch.metadata:
        with pytest.raises(MisfitError):
            HEADER({"layers": {}, **patch.metadata, key: [{"a": object()}]}, "")
    HEADER({"layers": {}, **patch.metadata}, "")  # control


@pytest.mark.parametrize(
    ("kind", "place", "odd", "words"),
    [
        ("patch", ("step_size",), "0.5", 'step_size is "0.5", and not a number'),
        ("patch", ("scale",), [1.0], "scale is a list of 1, and not a number"),
        ("patch", ("seed",), [1], "seed is a list of 1, and not a whole number"),
        ("patch", ("merge_onto",), {"a": 1}, "merge_onto is an object of 1, and not a text"),
        ("patch", ("request", "paths"), {"a": 1}, "request.paths is an object of 1"),
        ("patch", ("model", "name"), 7, "model.name is 7, and not a text"),
        ("patch", ("test", "before", "forget"), 10**400, "test.before.forget is 1000"),
        ("patch", ("test", "after"), {}, "test has other figures before than after"),
        ("gradients", ("losses", "forget"), True, "losses.forget is true, and not a number"),
        ("gradients", ("counts", "retain"), 1.5, "counts.retain is 1.5, and not a whole number"),
        ("gradients", ("info", "layers", 0, "shape", 0), "64", 'info.layers[0].shape[0] is "64"'),
        ("gradients", ("info", "layers", 0, "other"), 1, "info.layers[0].other is no key"),
    ],
)
def test_the_message_names_file_key_and_value(
    kind: str, place: tuple[Any, ...], odd: Any, words: str, made: dict[str, Path]
) -> None:
    header, tensors = read_raw(made[kind])
    forge(made[kind], put(header, place, odd), tensors)
    with pytest.raises(ArtifactError) as caught:
        use(kind, made[kind])
    assert str(made[kind]) in str(caught.value) and words in str(caught.value)


def test_numbers_that_json_does_not_have_are_refused(made: dict[str, Path]) -> None:
    path = made["patch"]
    header, tensors = read_raw(path)
    for literal, word in (("NaN", "NaN"), ("-Infinity", "Infinity"), ("1e400", "step_size")):
        forged = put(header, ("step_size",), 12345.5)
        forged["content_sha256"] = content_sha256(forged, tensors)
        text = json.dumps(forged).replace("12345.5", literal)
        save_file(tensors, path, {"slsgu": text})
        with pytest.raises(ArtifactError, match=word):
            Patch.load(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_header_nested_a_thousand_deep(kind: str, opening: str, made: dict[str, Path]) -> None:
    path = made[kind]
    header, tensors = read_raw(path)
    deep = opening * 1000 + "1" + {"[": "]", '{"a":': "}"}[opening] * 1000
    for text in (deep, json.dumps(header)[:-1] + f', "deep": {deep}}}'):
        save_file(tensors, path, {"slsgu": text})
        try:
            answer = use(kind, path)
        except ArtifactError as error:
            assert "nested" in str(error)
        else:
            assert kind in ("partial", "retain") and "nested" in str(answer)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_slsgu_does_not_write(kind: str, made: dict[str, Path]) -> None:
    path = made[kind]
    header, tensors = read_raw(path)
    name = max(tensors, key=lambda each: tensors[each].numel())
    real = tensors[name].float()
    odd: dict[str, Tensor] = {
        "nan": real.clone().fill_(float("nan")),
        "inf": real.clone().fill_(float("inf")),
        "complex": real.to(torch.complex64),
        "integer": real.to(torch.int32),
        "boolean": real.bool(),
        "eight bits": real.to(torch.float8_e5m2),
    }
    for what, tensor in odd.items():
        try:
            forge(path, header, {**tensors, name: tensor})
        except RuntimeError:  # NaN is no argument, this torch cannot hash the dtype
            continue
        try:
            answer = use(kind, path)
        except ArtifactError as error:
            assert str(path) in str(error) and name in str(error), what
        else:
            assert kind in ("partial", "retain"), what
            assert "not going on" in str(answer) or "None]" in str(answer), what


def test_a_file_larger_than_memory_is_refused_at_once(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsgu.utils.artifact.free_bytes", lambda: 1000)
    with pytest.raises(ArtifactError, match=r"1,000 are free in memory"):
        Patch.load(made["patch"])


def test_sums_of_other_layers_are_not_gone_on_with(
    tiny: Clip, photos: Path, tmp_path: Path
) -> None:
    plan = plan_for(tiny, photos)
    path = tmp_path / "partial.safetensors"
    name = compute_gradients(plan, Ledger()).layers[0].name
    for gradients, texts in (({name: torch.ones(1)}, None), ({}, torch.ones(1, 1))):
        sums = LossGradient(gradients, texts, 0.5, 4, 4, False)
        Partial(path, plan.key, Ledger(), passes={"forget": sums}).save()
        try:
            found = compute_gradients(plan, Ledger(), partial=path)
        except SlsguError as error:
            assert "other captions" in str(error) and texts is not None
        else:
            assert found.counts["forget"] > 4 and texts is None


def test_header_and_content_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Control."""
    path = tmp_path / "x.safetensors"
    header = {"a": [1, None, {"b": "\u2028\x1b"}], "c": 1e300}
    write_artifact(path, {"t": torch.arange(3.0)}, kind="k", schema=1, header=header)
    read, tensors = read_artifact(path, kind="k", schema=1, what="x")
    assert read == header and tensors["t"].tolist() == [0, 1, 2]
    assert parse_json("[" * 32 + "]" * 32)


Reader = Callable[[Path], object]


@pytest.mark.parametrize("read", [Patch.load, Gradients.load])
def test_what_is_no_regular_file(read: Reader, tmp_path: Path) -> None:
    import os

    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(ArtifactError):
            read(path)
