"""Samples that keep their pictures between requests, for scripts that make many."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

import slsgu
from slsgu.concepts.taxonomy import Concept
from slsgu.data.samples import Sample
from slsgu.data.splits.splits import Splits


@dataclass(frozen=True)
class Held:
    """A sample that keeps its picture once it was read."""

    sample: Sample
    shelf: dict[str, Image.Image]

    @property
    def leaf(self) -> Concept | None:
        return self.sample.leaf

    @property
    def caption(self) -> str | None:
        return self.sample.caption

    @property
    def name(self) -> str:
        return self.sample.name

    @property
    def fingerprint(self) -> str:
        return self.sample.fingerprint

    def read(self) -> Image.Image:
        if self.fingerprint not in self.shelf:
            self.shelf[self.fingerprint] = self.sample.read()
        return self.shelf[self.fingerprint]


def hold(splits: Splits, shelf: dict[str, Image.Image]) -> Splits:
    held = {
        name: tuple(Held(sample, shelf) for sample in splits.of(name))
        for name in ("gradient", "search", "test")
    }
    return replace(splits, **held)


def holding(plan: slsgu.Plan, shelf: dict[str, Image.Image]) -> slsgu.Plan:
    """A plan whose pictures are read once, whatever else is asked of them."""
    return replace(plan, task=replace(plan.task, splits=hold(plan.task.splits, shelf)))
