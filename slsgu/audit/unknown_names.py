"""The names of concepts that a model does not know, among as many names as the task has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slsgu.audit import words
from slsgu.audit.subject import Images, View
from slsgu.concepts.taxonomy import Concept, normalise

if TYPE_CHECKING:
    from slsgu.task.task import Task


def by_name(images: Images, view: View, task: Task) -> Iterator[tuple[str, Tensor]]:
    """Whether each image is found by the name of its class, as the task's own are, by setting [N].
    An unknown concept stands among all names of the setting, too."""
    leaves = task.taxonomy.leaves
    owners = [x.leaf for x in images.samples if x.leaf is not None]
    concepts = list(dict.fromkeys(owners))
    own = torch.tensor([concepts.index(leaf) for leaf in owners])
    usual = view.class_embeddings(leaves, task.templates)
    asked = view.class_embeddings(concepts, task.templates)
    ranks = _ranks(images, usual, [x.name for x in leaves], asked[own], owners)
    yield words.BY_NAME, (ranks <= 1).float()
    names, template = words.many_names(task.taxonomy), task.templates[0]
    many = view.embed_texts([template.replace("{}", name) for name in names])
    asked = view.embed_texts([template.replace("{}", x.name) for x in concepts])
    ranks = _ranks(images, many, names, asked[own], owners)
    for first, setting in words.FIRSTS:
        yield words.among(setting, len(names)), (ranks <= first).float()


def _ranks(
    images: Images, texts: Tensor, names: Sequence[str], asked: Tensor, owners: Sequence[Concept]
) -> Tensor:
    """Which place the name of each image's class has [N].

    Args:
        texts: embeddings of names [C, d].
        asked: the embedding of each image's own name [N, d].
        owners: the class of each image; a name of it among the others is no rival.
    """
    scores = images.before @ texts.T
    called = [normalise(name) for name in names]
    same = {x: torch.tensor([name == normalise(x.name) for name in called]) for x in set(owners)}
    rival = ~torch.stack([same[x] for x in owners]).to(scores.device)
    own = (images.before * asked).sum(dim=1, keepdim=True)
    return (1 + ((scores > own) & rival).sum(dim=1)).cpu()
