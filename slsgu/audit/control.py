"""The never-knew reference from a control: a model that was trained without the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from slsgu.audit.subject import Subject
from slsgu.errors import ModelError

if TYPE_CHECKING:
    from slsgu.models.clip import Clip

HALF = 0.5  # of what a model knows of everything else, which its control must know, too


def refuse_other_control(subject: Subject) -> None:
    """Refuse a control that knows less than half of what the model knows of everything else.

    Raises:
        ModelError: it is not a model like this one without the concept.
    """
    task = subject.task
    leaves, forget = task.taxonomy.leaves, set(task.request.forget_leaves)
    kept = [n for n, x in enumerate(subject.tests.samples) if x.leaf and x.leaf not in forget]
    if subject.control is None or not kept:
        return
    images = subject.tests.chosen(kept)
    labels = torch.tensor([leaves.index(x.leaf) for x in images.samples if x.leaf is not None])
    shares = []
    for name in ("before", "control"):
        classes = subject.views[name].class_embeddings(leaves, task.templates)
        found = (images.embeddings(name) @ classes.T).argmax(dim=1).cpu()
        shares.append(float((found == labels).float().mean()))
    if shares[1] < HALF * shares[0]:
        raise ModelError(
            f"the control {subject.control.name} names {shares[1]:.1%} of the images of everything "
            f"else right, the model {shares[0]:.1%}: it is no model like this one that only lacks "
            "the concept. Give one of the same recipe and data, without the concept"
        )


def control_title(control: Clip) -> str:
    """What the reference from a control model is called, in words."""
    return f"a model that was trained without the concept ({control.name})"
