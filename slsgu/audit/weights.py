"""Weights: does the edit survive what people do to weights?

Protocol: zero-shot accuracy on the test images of the forgotten leaves, among all leaves of the
taxonomy. All matrices of both towers are rounded to bf16, or to 256 levels with one scale for each
row (int8, symmetric); before the patch and after it alike. Or the edited model is averaged with the
original, which gets 10, 20 or 50 % of the weight.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from slsgu.audit.pool import readings_of
from slsgu.audit.probe import ProbeReading
from slsgu.audit.subject import Images, Subject, View
from slsgu.concepts.taxonomy import Concept
from slsgu.evaluation.replay import edited

NAME = "weights"
SHARES = (0.1, 0.2, 0.5)


def weights(subject: Subject) -> Iterator[ProbeReading]:
    """Read the accuracy by name after each change of the weights."""
    samples = subject.questions.samples
    if not samples:
        yield ProbeReading(NAME, "bf16", note="there is no test image of what was to be forgotten")
        return
    empty = ProbeReading(NAME, "", len(samples), 1 / len(subject.task.taxonomy.leaves))
    roundings: dict[str, Callable[[Tensor], Tensor]] = {"bf16": to_bf16, "int8": to_int8}
    for name, rounding in roundings.items():
        values = _rounded(subject, rounding)
        yield readings_of(subject, replace(empty, setting=f"rounded to {name}"), values.get)
    plain = {
        name: _correct(subject, view, subject.questions.embeddings(name))
        for name, view in subject.views.items()
    }
    for share in SHARES:
        edit = (1 - share) * subject.patch
        averaged = View(subject.task.clip, edit, subject.views["before"])
        values = {**plain, "after": _correct(subject, averaged, _again(subject, averaged))}
        setting = f"averaged with {share:.0%} of the original"
        yield readings_of(subject, replace(empty, setting=setting), values.get)


def to_bf16(weight: Tensor) -> Tensor:
    """The weight as bfloat16 holds it."""
    return weight.to(torch.bfloat16).to(weight)


def to_int8(weight: Tensor) -> Tensor:
    """The weight on 255 levels, with one scale for each row.

    >>> bool(torch.equal(to_int8(torch.tensor([[-127.0, 5.0]])), torch.tensor([[-127.0, 5.0]])))
    True
    """
    rows = weight.flatten(1)
    scale = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
    return ((rows / scale).round().clamp(-127, 127) * scale).view_as(weight)


def _rounded(subject: Subject, rounding: Callable[[Tensor], Tensor]) -> Mapping[str, Tensor]:
    """What every view finds with its matrices rounded."""
    found = {}
    for name, view in subject.views.items():
        with view.in_place(), contextlib.ExitStack() as stack:
            for parameter in view.clip.model.parameters():
                if parameter.ndim >= 2:
                    stack.enter_context(edited(parameter, rounding(parameter.data)))
            plain = View(view.clip)
            found[name] = _correct(subject, plain, _again(subject, plain))
    return found


def _again(subject: Subject, view: View) -> Tensor:
    """The questions through a model whose weights are as they are now [M, d]."""
    samples = subject.questions.samples
    clip, parts = view.clip, []
    size = subject.task.reading.batch_size
    with torch.no_grad(), view.in_place():
        for start in range(0, len(samples), size):
            pixels = [clip.preprocess(x.read()) for x in samples[start : start + size]]
            parts.append(clip.encode_image(torch.stack(pixels)))
    return torch.cat(parts)


def _correct(subject: Subject, view: View, images: Tensor) -> Tensor:
    classes = subject.task.taxonomy.leaves
    texts = view.class_embeddings(classes, subject.task.templates)
    return by_name(subject.questions, images, texts, classes)


def by_name(
    questions: Images, images: Tensor, texts: Tensor, classes: tuple[Concept, ...]
) -> Tensor:
    """Whether each question is nearest to its own name [M].

    Args:
        images: embeddings of the questions [M, d].
        texts: class embeddings [C, d].
    """
    labels = torch.tensor([classes.index(x.leaf) for x in questions.samples if x.leaf])
    predicted = (images @ texts.T).argmax(dim=1)
    return predicted == labels.to(predicted)
