"""Plans on tiny models, and what counts as the same gradient."""

from __future__ import annotations

from pathlib import Path

import torch

from slsgu.models.clip import Clip
from slsgu.task.plan import Plan, make_plan
from slsgu.task.settings import Settings


def plan_for(clip: Clip, photos: Path, concept: str = "beagle", **choices: object) -> Plan:
    settings = Settings(**{"batch_size": 8, "contrastive_batch": 16, **choices})  # type: ignore[arg-type]
    return make_plan(
        clip,
        [concept],
        data=photos / "images",
        taxonomy=photos / "pets.yaml",
        settings=settings,
    )


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> bool:
    assert one.keys() == other.keys()
    return all(
        float((one[name] - other[name]).norm()) <= tolerance * (float(other[name].norm()) + 1e-7)
        for name in other
    )
