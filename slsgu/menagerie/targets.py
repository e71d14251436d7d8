"""Which concept is right for which picture, and the loss that says so."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.menagerie.captions import Phrases


class Targets:
    """Which concept is right for which leaf, at every level."""

    def __init__(self, taxonomy: Taxonomy, taught: Sequence[Phrases]) -> None:
        number = {entry.concept.path: i for i, entry in enumerate(taught)}
        self.leaves = [e.concept for e in taught if e.concept.is_leaf]
        self.levels: list[tuple[Tensor, Tensor]] = []  # (classes [K], class of each leaf [L])
        for depth in range(1, taxonomy.depth + 1):
            chosen = [taxonomy.ancestor(leaf, depth).path for leaf in self.leaves]
            classes = list(dict.fromkeys(chosen))
            self.levels.append(
                (
                    torch.tensor([number[p] for p in classes]),
                    torch.tensor([classes.index(p) for p in chosen]),
                )
            )
        # [L, C] leaf is at or under concept
        self.under = torch.zeros(len(self.leaves), len(taught))
        for row, leaf in enumerate(self.leaves):
            for concept in leaf.lineage:
                self.under[row, number[concept.path]] = 1.0

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of one set of phrases.

        Args:
            logits: ``[batch, concepts]``.
            labels: leaf of each picture, ``[batch]``.
        """
        by_level = [
            F.cross_entropy(logits[:, classes], right[labels]) for classes, right in self.levels
        ]
        positive = self.under[labels]  # [B, C]
        shared = positive / positive.sum(1, keepdim=True)
        over_all = -(shared * logits.log_softmax(1)).sum(1).mean()
        present = positive.sum(0) > 0
        weights = (positive / positive.sum(0).clamp(min=1))[:, present]
        to_image = -(weights * logits.log_softmax(0)[:, present]).sum(0).mean()
        return torch.stack(by_level).mean() + 0.25 * over_all + 0.25 * to_image

    @torch.no_grad()
    def accuracy(self, logits: Tensor, labels: Tensor) -> float:
        """Share of the pictures that are recognised at the finest level; arguments as `loss`."""
        classes, right = self.levels[-1]
        return (logits[:, classes].argmax(1) == right[labels]).float().mean().item()
