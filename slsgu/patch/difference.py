"""The patch that turns one model into another of the same architecture."""

from __future__ import annotations

import torch
from torch import nn

from slsgu.errors import ModelError
from slsgu.patch.patch import Patch


def difference(model: nn.Module, edited: nn.Module) -> Patch:
    """What has to be added to a model to make it the other one: every parameter that differs.

    Raises:
        ModelError: the two are not of one architecture, differ in what is no parameter (statistics
            of BatchNorm, say), or do not differ.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> sorted(difference(a, b).layers)
    ['bias', 'weight']
    """
    before, after = model.state_dict(), edited.state_dict()
    shapes = [{name: t.shape for name, t in state.items()} for state in (before, after)]
    if shapes[0] != shapes[1]:
        names = sorted(n for n in {**before, **after} if shapes[0].get(n) != shapes[1].get(n))
        raise ModelError(
            f"the two models are not of one architecture: they differ in {', '.join(names[:3])}"
            + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")
        )
    parameters = dict(model.named_parameters())
    moved = [n for n, t in before.items() if not torch.equal(t.cpu(), after[n].cpu())]
    if not moved:
        raise ModelError("the two models are the same: there is no edit to look at")
    if others := [name for name in moved if name not in parameters]:
        raise ModelError(
            f"the two models differ in {', '.join(others[:3])}, which is not a weight that an edit "
            "changes: give two models with the same statistics"
        )
    original = {name: before[name].detach().float().cpu().clone() for name in moved}
    delta = {name: after[name].detach().float().cpu() - original[name] for name in moved}
    return Patch(delta, original)
