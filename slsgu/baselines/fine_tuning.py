"""Methods of the single-gradient paper that train on images of what is kept: fine-tuning (FT),
ascent with fine-tuning (GAFT), the same on salient weights (SalUn); and the task vector."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from slsgu.baselines.iterative import Iterative
from slsgu.baselines.losses import ascent, descent
from slsgu.baselines.material import Material
from slsgu.baselines.objectives import climb, mean_over
from slsgu.baselines.salience import salient
from slsgu.baselines.step import Step
from slsgu.losses.retain import multi_positive

MEDIAN = 0.5  # the share of entries above the median
FURTHER = -1.5  # -alpha of Table 9: how far a task vector is taken back


def keep(step: Step) -> Tensor:
    """The contrastive loss of images of what is kept; same captions share the target."""
    assert step.retain is not None and step.images is not None
    scale = step.texts.new_tensor(step.scale)
    return multi_positive(step.images, step.texts, step.retain.labels, scale)


def climb_and_keep(step: Step) -> Tensor:
    """Eq. 1 of the single-gradient paper, with alpha = 1."""
    return keep(step) + climb(step)


def learn_more(step: Step) -> Tensor:
    """Table 9, task vector: the class better, its parents a little worse (0.05)."""
    return mean_over(step.forgotten, lambda s: descent(s.now, s.labels)) + 0.05 * mean_over(
        step.coarse, lambda s: ascent(s.now, s.labels)
    )


def above_median(material: Material) -> tuple[Mapping[str, Tensor], int]:
    """The half of the entries with the largest forget gradient."""
    return salient(material, climb, share=MEDIAN)


FT = Iterative(
    "ft", keep, "retain images alone, captions that are the same share the target",
    forget=False, retain=True,
)  # fmt: skip
GAFT = Iterative(
    "gaft", climb_and_keep, "eq. 1 of the single-gradient paper, alpha = 1", retain=True
)
SALUN_FT = Iterative(
    "salun-ft", climb_and_keep, "GAFT on the half of the entries with the largest gradient",
    retain=True, mask=above_median,
)  # fmt: skip
TASK_VECTOR = Iterative(
    "task-vector", learn_more,
    "eq. 8 and 9, alpha = 1.5; stopped by what is left once it is taken back",
    scale=FURTHER,
)  # fmt: skip
