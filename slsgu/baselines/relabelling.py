"""Relabelling, alone and on the most salient weights (SalUn), and maximum entropy (ME+GD)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from slsgu.baselines.iterative import Iterative
from slsgu.baselines.losses import descent, evenness, other_labels
from slsgu.baselines.material import Material
from slsgu.baselines.objectives import climb, keep_parents, mean_over
from slsgu.baselines.salience import salient
from slsgu.baselines.step import Scores, Step

SHARE = 0.1  # of the entries, that may move: alpha of Table 9


def relabel(step: Step) -> Tensor:
    """Eq. 6: descent on a class that is not the image's own, drawn anew in each step."""

    def term(scores: Scores) -> Tensor:
        drawn = other_labels(scores.labels, scores.now.shape[1], step.generator)
        return descent(scores.now, drawn)

    return mean_over(step.forgotten, term)


def even_out(step: Step) -> Tensor:
    """Table 9, ME+GD: every class as likely as any other (eq. 11), the parents as they are."""
    return mean_over(step.forgotten, lambda s: evenness(s.now)) + keep_parents(step)


def most_salient(material: Material) -> tuple[Mapping[str, Tensor], int]:
    """Eq. 10, with alpha as the share of entries that SalUn's code makes of it."""
    return salient(material, climb, share=SHARE)


RELABEL = Iterative("relabel", relabel, "eq. 6, drawn anew in each step")
SALUN = Iterative(
    "salun",
    relabel,
    "eq. 6 and 10: the tenth of the entries with the largest gradient; alpha is a share",
    mask=most_salient,
)
ME_GD = Iterative("me-gd", even_out, "eq. 11 and 3, parents of the same images")
