"""Where in a model of OpenCLIP a system reads it (`slsgu.interop.targets`)."""

from __future__ import annotations

from typing import Any

from torch import nn

from slsgu.errors import LayerMismatchError
from slsgu.interop.targets import find_target
from slsgu.models.layers import stages
from slsgu.models.states import StatePlace


def place_of(system: str | None, model: nn.Module) -> StatePlace | None:
    """Where a system reads a model.

    Args:
        system: a name in `slsgu.interop.targets.TARGETS`.
        model: of OpenCLIP, with blocks in the tower that the system reads.

    Returns:
        None for CLIP itself, which reads all of it.

    Raises:
        SlsguError: there is no such system.
        LayerMismatchError: the tower has fewer blocks than the system leaves out.
    """
    target = None if system is None else find_target(system)
    if target is None or target.tower is None:
        return None
    blocks = stages(model, target.tower)
    if len(blocks) <= target.unread_blocks:
        raise LayerMismatchError(
            f"{target.title} reads {target.reads_of}, and the {target.tower} tower of this model "
            f"has {len(blocks)} block(s)"
        )
    tower: Any = getattr(model, "text", model) if target.tower == "language" else model.visual
    norm = {"language": "ln_final", "vision": "ln_post"}[target.tower]
    stage = len(blocks) - 1 - target.unread_blocks
    return StatePlace(
        target.tower,
        stage,
        blocks[stage],
        norm=getattr(tower, norm) if target.norm else None,
        skipped=target.skipped,
        embeds=target.embeds,
    )
