"""The never-knew reference from a control: a model that was trained without the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from slsgu.audit.verdict import KNOWS
from slsgu.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slsgu.audit.subject import Images, View
    from slsgu.models.clip import Clip
    from slsgu.task.task import Task

HALF = 0.5  # of what a model knows of everything else, which its control must know, too


def refuse_other_control(images: Images, views: Mapping[str, View], task: Task) -> None:
    """Refuse a control that knows less than half of what the model knows of everything else.

    Args:
        images: test images, seen by the model ("before") and by the control ("control").
        views: the two, by these names.
        task: what is to be forgotten.

    Raises:
        ModelError: it is not a model like this one without the concept.
    """
    named = _named(images, views, task, forgotten=False)
    if named is None:
        return
    before, control = named
    if control < HALF * before:
        raise ModelError(
            f"the control {views['control'].clip.name} names {control:.1%} of the images of "
            f"everything else right, the model {before:.1%}: it is no model like this one that "
            "only lacks the concept. Give one of the same recipe and data, without the concept"
        )


def refuse_knowing_control(images: Images, views: Mapping[str, View], task: Task) -> None:
    """Refuse a control that names half as many images of the concept as the model does, or more.

    Args:
        images: test images, seen by the model ("before") and by the control ("control").
        views: the two, by these names.
        task: what is to be forgotten.

    Raises:
        ModelError: it was trained with the concept.
    """
    named = _named(images, views, task, forgotten=True)
    if named is None:
        return
    before, control = named
    if before and control >= KNOWS * before:
        raise ModelError(
            f"the control {views['control'].clip.name} names {control:.1%} of the images of "
            f"{task.request.title} right, the model {before:.1%}: it was trained with the concept, "
            "or on too little to tell. Give one that was trained without it"
        )


def _named(
    images: Images, views: Mapping[str, View], task: Task, *, forgotten: bool
) -> tuple[float, float] | None:
    """The share of the concept's images, or of those of everything else, that are named right among
    all leaves, by the model and by the control; None where there are none."""
    leaves, forget = task.taxonomy.leaves, set(task.request.forget_leaves)
    rows = [n for n, x in enumerate(images.samples) if x.leaf and (x.leaf in forget) == forgotten]
    if not rows:
        return None
    images = images.chosen(rows)
    labels = torch.tensor([leaves.index(x.leaf) for x in images.samples if x.leaf is not None])

    def share(name: str) -> float:
        classes = views[name].class_embeddings(leaves, task.templates)
        found = (images.embeddings(name) @ classes.T).argmax(dim=1).cpu()
        return float((found == labels).float().mean())

    return share("before"), share("control")


def control_title(control: Clip) -> str:
    """What the reference from a control model is called, in words."""
    return f"a model that was trained without the concept ({control.name})"
