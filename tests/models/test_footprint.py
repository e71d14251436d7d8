"""How many images go through a model at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import slsgu
from slsgu.models import footprint
from slsgu.models.clip import Clip
from slsgu.models.footprint import activation_bytes, images_at_once


def blank(clip: Clip, count: int) -> torch.Tensor:
    return torch.zeros(count, 3, *clip.image_size)


def test_activations_grow_with_the_images(tiny: Clip) -> None:
    one, four = (activation_bytes(tiny, blank(tiny, count)) for count in (1, 4))
    assert 0 < one and 3.5 * one < four < 4.5 * one
    assert not any(p.requires_grad for p in tiny.model.parameters())


def test_a_batch_stays_within_its_bytes(tiny: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images_at_once(tiny, most=64) == 64  # control: a small model is not held back
    one = activation_bytes(tiny, blank(tiny, 1))
    for room, expected in ((20.0, 16), (16.0, 16), (15.9, 8), (0.1, 1)):
        monkeypatch.setattr(footprint, "ACTIVATIONS", room * one)
        assert images_at_once(tiny, most=64) == expected
        assert images_at_once(replace(tiny, device=torch.device("cuda")), most=64) == 64


def test_the_embedded_model_has_the_batches_that_it_always_had() -> None:
    assert images_at_once(slsgu.load(device="cpu"), most=64) == 64


def test_a_size_that_is_given_stands(tiny: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "ACTIVATIONS", 1)
    assert slsgu.MachineSettings(batch_size=24).sized_for(tiny).images_at_once == 24
    assert slsgu.MachineSettings().sized_for(tiny).images_at_once == 1  # control
    assert slsgu.MachineSettings(batch_size=24).micro_batch(64) == 16
