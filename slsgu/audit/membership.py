"""Membership: does the edited model show which images the edit was made from?

Protocol: the score of an image is minus its cross-entropy loss under its true name among all leaves
of the taxonomy (logit scale of the model), as a threshold attack uses it. The gradient images of
the forgotten leaves stand against the test images of the same leaves. What is given is the area
under the curve of telling the two apart, from whichever side: 0.5 is a guess. Before the patch it
says how alike the two sets are; what the patch adds is what counts. It is read only where the patch
says that it was made on the images of this task.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Images, Subject
from slsgu.patch.header import made_from_texts

NAME = "membership"
SETTING = "loss threshold, gradient images against unseen ones"
FEWEST = 5  # images on either side
NOBODY_KNOWS = "nobody knows which images the edit was made from"
NO_IMAGES = "no image went into the edit, which was made from texts"


def membership(subject: Subject) -> Iterator[ProbeReading]:
    """Read the area under the curve, where images went into the edit."""
    if made_from_texts(subject.patch.parts):
        yield ProbeReading(NAME, SETTING, note=NO_IMAGES, kind="trace")
        return
    if subject.task.splits.sha256 not in {part.get("data") for part in subject.patch.parts}:
        yield ProbeReading(NAME, SETTING, note=NOBODY_KNOWS, kind="trace")
        return
    used = {x.fingerprint for x in subject.task.forget_samples if x.leaf is not None}
    samples = subject.examples.samples
    rows = [i for i, x in enumerate(samples) if x.fingerprint in used]
    members, others = subject.examples.chosen(rows), subject.questions
    if min(len(members.samples), len(others.samples)) < FEWEST:
        note = f"there are fewer than {FEWEST} images on either side"
        yield ProbeReading(NAME, SETTING, note=note, kind="trace")
        return
    counts = {"positive": len(members.samples), "negative": len(others.samples)}
    total = sum(counts.values())
    yield readings_of(
        subject,
        ProbeReading(NAME, SETTING, total, 0.5, kind="trace", extra=counts),
        lambda view: _either_side(
            area(losses(subject, view, members), losses(subject, view, others))
        ),
    )


def losses(subject: Subject, view: str, images: Images) -> Tensor:
    """The loss of each image under its true name [N]."""
    classes = subject.task.taxonomy.leaves
    model = subject.views[view].clip.model
    texts = subject.views[view].class_embeddings(classes, subject.task.templates)
    labels = torch.tensor([classes.index(x.leaf) for x in images.samples if x.leaf])
    scale = model.get_parameter("logit_scale").detach().exp()
    logits = scale * images.embeddings(view) @ texts.T
    return cross_entropy(logits, labels.to(logits.device), reduction="none")


def area(members: Tensor, others: Tensor) -> float:
    """The chance that a member has the smaller loss of the two; ties count half.

    >>> area(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    pairs = members[:, None] - others[None, :]
    return float((pairs < 0).double().mean() + 0.5 * (pairs == 0).double().mean())


def _either_side(value: float) -> float:
    """An attacker may also guess that members have the larger loss."""
    return max(value, 1 - value)
