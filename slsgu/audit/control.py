"""The never-knew reference from a control: a model that was trained without the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

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
    leaves, forget = task.taxonomy.leaves, set(task.request.forget_leaves)
    kept = [n for n, x in enumerate(images.samples) if x.leaf and x.leaf not in forget]
    if not kept:
        return
    others = images.chosen(kept)
    labels = torch.tensor([leaves.index(x.leaf) for x in others.samples if x.leaf is not None])
    shares = []
    for name in ("before", "control"):
        classes = views[name].class_embeddings(leaves, task.templates)
        found = (others.embeddings(name) @ classes.T).argmax(dim=1).cpu()
        shares.append(float((found == labels).float().mean()))
    if shares[1] < HALF * shares[0]:
        raise ModelError(
            f"the control {views['control'].clip.name} names {shares[1]:.1%} of the images of "
            f"everything else right, the model {shares[0]:.1%}: it is no model like this one that "
            "only lacks the concept. Give one of the same recipe and data, without the concept"
        )


def control_title(control: Clip) -> str:
    """What the reference from a control model is called, in words."""
    return f"a model that was trained without the concept ({control.name})"
