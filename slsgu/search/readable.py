"""Only layers that the system reads which the patch is for (`--for`): others would change nothing
there."""

from __future__ import annotations

from collections.abc import Callable

from slsgu.errors import LayerMismatchError
from slsgu.interop.targets import find_target
from slsgu.models.layers import Layer, inventory
from slsgu.task.plan import Plan


def readable(plan: Plan) -> Callable[[Layer], bool]:
    """Whether a layer may be a candidate; any may without `--for`.

    Raises:
        SlsguError: there is no such system.
    """
    if plan.settings.system is None:
        return lambda layer: True
    target, model = find_target(plan.settings.system), plan.task.clip.model
    return lambda layer: target.reads_layer(layer, model)


def check_readable(plan: Plan) -> None:
    """Refuse choices that leave no layer, or name one that is not read. Costs no pass.

    Raises:
        SlsguError: there is no such system.
        LayerMismatchError: it does not read the layer, or the tower, that was named.
    """
    settings = plan.settings
    if settings.system is None:
        return
    reads, target = readable(plan), find_target(settings.system)
    layers = inventory(plan.task.clip.model, norms=True)
    read = [x.name for x in layers if reads(x) and x.kind == "matrix"]
    if settings.layer is not None:
        unread = [x.name for x in layers if x.name == settings.layer and not reads(x)]
        if unread:
            raise LayerMismatchError(target.refusal(unread, read))
    if not read:
        raise LayerMismatchError(
            f"{target.title} reads no layer of this model: it reads {target.reads_of}"
        )
    if settings.tower is not None and target.tower not in (None, settings.tower):
        raise LayerMismatchError(
            f"{target.title} reads nothing of the {settings.tower} tower, but {target.reads_of}: "
            "leave out --tower"
        )
