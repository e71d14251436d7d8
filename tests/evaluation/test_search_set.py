"""The embedded search split: what it says, and what it holds in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import slsgu
from slsgu.data.ledger import Ledger
from slsgu.evaluation import search_set
from slsgu.evaluation.search_set import SearchSet
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.models.clip import Clip


def plan_of(clip: Clip, photos: Path, templates: int = 1) -> slsgu.Plan:
    plan = slsgu.make_plan(
        clip,
        ["dog"],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
        settings=slsgu.Settings(force=True),
    )
    wording = tuple(f"{'very ' * number}nice {{}}" for number in range(templates))
    return replace(plan, task=replace(plan.task, templates=wording))


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor that a record holds in its fields, their fields and so on."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Tensor):
            yield each
        elif is_dataclass(each) and not isinstance(each, type):
            pending += [getattr(each, field.name) for field in fields(each)]
        elif isinstance(each, Mapping):
            pending += each.values()
        elif isinstance(each, list | tuple):
            pending += each


def test_no_tensor_grows_with_images_times_prompts(taught: Clip, photos: Path) -> None:
    read = SearchSet.read(plan_of(taught, photos, templates=60), Ledger())
    images, prompts = len(read.exam.labels), len(read.book.texts)
    held = [tensor for tensor in tensors(read) if tensor is not read.replay.base[0]]
    assert images >= 10 and prompts >= 300 and held
    assert all(images * prompts not in (t.numel(), t.T.numel()) for t in held)
    assert max(t.numel() for t in held) < images * prompts


def test_a_block_of_caption_rows_stays_small(
    taught: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many forget images, as few are laid out at a time as fit in memory with the prompts
    of ImageNet in 80 templates."""
    read = SearchSet.read(plan_of(taught, photos), Ledger())
    images, prompts = read.replay.base
    forget = images[torch.from_numpy(read.exam.forget)]
    times = 1 + 1000 // len(forget)
    exam: Any = SimpleNamespace(forget=np.ones(times * len(forget), dtype=bool))
    many = replace(read, exam=exam, forget_samples=read.forget_samples * times)
    stacked: list[int] = []
    stack = torch.stack
    monkeypatch.setattr(
        torch, "stack", lambda rows, *rest: stacked.append(len(rows)) or stack(rows, *rest)
    )
    found = many.loss(forget.repeat(times, 1), prompts)
    assert sum(stacked) == times * len(forget) > 1000
    assert max(stacked) * 80 * 1000 * prompts.element_size() <= 32 * 2**20
    assert found == pytest.approx(read.loss(images, prompts), rel=1e-6)  # control


def test_captions_laid_out_in_parts_give_the_same_loss(
    taught: Clip, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SearchSet.read(plan_of(taught, photos), Ledger())
    images, prompts = read.replay.base
    rows = torch.from_numpy(read.exam.forget)
    dense = torch.stack([read.captions.weights(s, read.book) for s in read.forget_samples])
    loss = FORGET_LOSSES[read.captions.loss].of_images
    expected = float(loss(images[rows], prompts, dense.to(images)).double().mean())
    stacked: list[int] = []
    stack = torch.stack
    monkeypatch.setattr(search_set, "CAPTIONED", 3)
    monkeypatch.setattr(
        torch, "stack", lambda rows, *rest: stacked.append(len(rows)) or stack(rows, *rest)
    )
    assert read.loss(images, prompts) == pytest.approx(expected, rel=1e-6)
    assert max(stacked) == 3 and sum(stacked) == len(read.forget_samples) > 3
