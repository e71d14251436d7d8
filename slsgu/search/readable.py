"""Only layers that the system reads which the patch is for (`--for`): others would change nothing
there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slsgu.errors import LayerMismatchError
from slsgu.interop.targets import find_target
from slsgu.models.layers import Layer, Tower, inventory
from slsgu.task.plan import Plan
from slsgu.task.settings import MethodSettings


def readable(system: str | None, layers: Sequence[Layer]) -> Callable[[Layer], bool]:
    """Whether a layer may be a candidate; any may without `--for`.

    Args:
        system: what the patch is for, by a name in `slsgu.interop.targets`; None for nothing.
        layers: all of the model, gains included.

    Raises:
        SlsguError: there is no such system.
    """
    if system is None:
        return lambda layer: True
    return frozenset(find_target(system).among(layers)).__contains__


def check_readable(plan: Plan) -> None:
    """Refuse choices that leave no layer, or name one that is not read. Costs no pass.

    Raises:
        SlsguError: there is no such system.
        LayerMismatchError: it does not read the layer, or the tower, that was named.
    """
    settings = plan.settings
    if settings.system is None:
        return
    target, layers = find_target(settings.system), inventory(plan.task.clip.model, norms=True)
    reads = readable(settings.system, layers)
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


def towers_searched(settings: MethodSettings) -> tuple[Tower, ...]:
    """The towers that candidates may be in."""
    target = None if settings.system is None else find_target(settings.system).tower
    only = settings.tower or target
    return ("vision", "language") if only is None else (only,)


def reads_projection(plan: Plan) -> bool:
    """Whether a last projection, which is cheap to search, may be a candidate."""
    settings = plan.settings
    layers = inventory(plan.task.clip.model)
    reads, towers = readable(settings.system, layers), towers_searched(settings)
    return any(layer.last and layer.tower in towers and reads(layer) for layer in layers)


def reads_states(settings: MethodSettings) -> bool:
    """Whether what a larger system reads is measured at every step."""
    return settings.system is not None and find_target(settings.system).tower is not None
