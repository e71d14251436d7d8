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
    forget = set(task.request.forget_leaves)
    kept = [n for n, x in enumerate(images.samples) if x.leaf and x.leaf not in forget]
    if not kept:
        return
    before, control = _named(images.chosen(kept), views, task)
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
    forget = set(task.request.forget_leaves)
    asked = [n for n, x in enumerate(images.samples) if x.leaf in forget]
    if not asked:
        return
    before, control = _named(images.chosen(asked), views, task)
    if before and control >= KNOWS * before:
        raise ModelError(
            f"the control {views['control'].clip.name} names {control:.1%} of the images of "
            f"{task.request.title} right, the model {before:.1%}: it was trained with the concept, "
            "or on too little to tell. Give one that was trained without it"
        )


def _named(images: Images, views: Mapping[str, View], task: Task) -> tuple[float, float]:
    """The share of images that are named right among all leaves, by the model and by the control;
    each has a class."""
    leaves = task.taxonomy.leaves
    labels = torch.tensor([leaves.index(x.leaf) for x in images.samples if x.leaf is not None])

    def share(name: str) -> float:
        classes = views[name].class_embeddings(leaves, task.templates)
        found = (images.embeddings(name) @ classes.T).argmax(dim=1).cpu()
        return float((found == labels).float().mean())

    return share("before"), share("control")


def control_title(control: Clip) -> str:
    """What the reference from a control model is called, in words."""
    return f"a model that was trained without the concept ({control.name})"
