"""A patch from two checkpoints that differ in few tensors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from slsgu.errors import LayerMismatchError
from slsgu.patch.patch import Patch
from slsgu.utils.wording import printable

MOST_TENSORS = 16
"""More than these is a fine-tuned model, not a patch: a block of a transformer has 12."""

# What training counts and averages beside the weights. No parameter: a live model has no such
# layer to patch.
_STATISTIC = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked)$")


def difference(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, most: int | None = MOST_TENSORS
) -> Patch:
    """The patch that makes one state dict of another. It has no metadata.

    A tensor counts as unchanged if storing it in the precision of `after` explains the difference.
    Weights, biases and embeddings may differ; what is no parameter may not.

    Args:
        before: the state dict that the patch will fit.
        after: the one that it leads to.
        most: tensors that may differ; None allows all.

    Raises:
        LayerMismatchError: the two are not of one architecture, hold the same weights, or differ
            in more than a patch can say.
    """
    _refuse_others(before, after)
    changed = [name for name, tensor in before.items() if not _equal(tensor, after[name])]
    if not changed:
        raise LayerMismatchError(
            "the two models hold the same weights: there is no edit between them"
        )
    if odd := [name for name in changed if _is_no_weight(name, before[name], after[name])]:
        raise LayerMismatchError(
            f"the checkpoints differ in {_named(odd)}, which is no weight but a count or a "
            "statistic of training, and which a patch cannot change"
        )
    if most is not None and len(changed) > most:
        raise LayerMismatchError(
            f"the checkpoints differ in {len(changed)} of {len(before)} tensors ({_named(changed)})"
            f", and a patch is for at most {most}: this looks like two trained models. "
            "Keep the checkpoint itself"
        )
    for name in changed:
        for which, tensor in (("first", before[name]), ("second", after[name])):
            if not bool(tensor.isfinite().all()):
                raise LayerMismatchError(
                    f"{printable(name)} of the {which} checkpoint holds values that are not finite"
                )
    delta = {name: _step(before[name], after[name]) for name in changed}
    return Patch(delta, {name: before[name].detach().clone() for name in changed})


def farthest(patch: Patch, after: Mapping[str, Tensor]) -> float:
    """By how much a weight differs at most from `after` once the patch is applied; 0 where it is
    that model to the bit.

    No float32 step leads from 1 to exactly 1e-10, so it is not always 0.
    """
    most = 0.0
    for name in patch.layers:
        stored = patch.patched(name).to(after[name].dtype)
        most = max(most, float((stored.double() - after[name].double()).abs().max()))
    return most


def _step(before: Tensor, after: Tensor) -> Tensor:
    """The float32 step between two tensors, corrected once for what addition rounds away."""
    start, end = before.detach().float(), after.detach().float()
    step = end - start
    return step + (end - (start + step))


def _equal(before: Tensor, after: Tensor) -> bool:
    if before.is_floating_point() != after.is_floating_point():
        return False
    return torch.equal(before.to(after.dtype), after)


def _is_no_weight(name: str, *tensors: Tensor) -> bool:
    whole = any(not tensor.is_floating_point() for tensor in tensors)
    return whole or _STATISTIC.search(name) is not None


def _refuse_others(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Refuse checkpoints of two architectures."""
    for lack, there in (("second", before.keys() - after), ("first", after.keys() - before)):
        if there:
            raise LayerMismatchError(
                f"the {lack} checkpoint lacks {len(there)} tensor(s) of the other "
                f"({_named(there)}): a patch is between two checkpoints of one architecture, with "
                "the same names"
            )
    shapes = [name for name in before if before[name].shape != after[name].shape]
    if shapes:
        one, other = (list(tensors[shapes[0]].shape) for tensors in (before, after))
        raise LayerMismatchError(
            f"{len(shapes)} tensor(s) have other shapes in the two checkpoints, such as "
            f"{printable(shapes[0])}, {one} and {other}: a patch is between two checkpoints of one "
            "architecture"
        )


def _named(names: Collection[str]) -> str:
    """The first three of some names."""
    first = [printable(name) for name in sorted(names)[:3]]
    return ", ".join(first) + (", ..." if len(names) > 3 else "")
