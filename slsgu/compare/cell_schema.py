"""What the file of a cell may say: types, finite numbers, shares within [0, 1], and figures that
fit each other. Whoever writes such a file chooses what stands in a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from slsgu.utils.schema import (
    Check,
    MisfitError,
    anything,
    count,
    list_of,
    map_of,
    number,
    or_none,
    record,
    text,
)
from slsgu.utils.wording import printable

MOST_SECONDS = 1e9
COUNTS = ("moved_entries", "moved_layers")
SHARES = (
    "forget_fine", "forget_coarse", "retain_fine", "retain_coarse", "quality", "utility", "q_u",
    "forget_at_5", "elsewhere", "five_shot", "linear_probe", "distance", "relearned_forget_fine",
    "relearned_five_shot", "relearned_linear_probe",
)  # fmt: skip
ALSO = "also_"  # begins the figure of a data set that the request does not mention


def share(value: Any, key: str) -> None:
    """An accuracy, a distance of two."""
    number(value, key)
    if not 0 <= value <= 1:
        raise MisfitError(f"{key} is {value}, and not a share from 0 to 1")


def seconds(value: Any, key: str) -> None:
    """A wall time."""
    number(value, key)
    if not 0 <= value <= MOST_SECONDS:
        raise MisfitError(f"{key} is {value}, and not a time in seconds")


def words(value: Any, key: str) -> None:
    """A text that can be printed, and written to a file."""
    text(value, key)
    if value != (shown := printable(value)):
        raise MisfitError(f"{key} is {shown[:60]}, with characters that cannot be printed")


def _score(value: Any, key: str) -> None:
    """The figures of an edit; none where there is no edit."""
    map_of(anything)(value, key)
    for name, figure in value.items():
        words(name, f"a name in {key}")
        if name in COUNTS:
            count(figure, f"{key}.{name}")
        elif name in SHARES or name.startswith(ALSO):
            or_none(share)(figure, f"{key}.{name}")
        else:
            raise MisfitError(f"{key}.{name[:60]} is no figure that is measured")


_TRIED = record(
    {"value": number, "q_u": share, "seconds": seconds, "gradients": count},
    {"q_u_at_end": or_none(share)},
    closed=True,
)
_PARTS = record(
    {
        "method": words,
        "seed": count,
        "value": or_none(number),
        "tuning": list_of(_TRIED),
        "score": _score,
        "gradients": count,
        "seconds": seconds,
        "variant": words,
        "settings": map_of(anything),
        "failed": words,
    },
    {"note": words},
    closed=True,
)


def cell_of(method: str, seed: int, figures: Collection[str] = ()) -> Check:
    """The schema of the cell of a method and a seed.

    Args:
        figures: which its edit must have, besides `q_u`.
    """

    def check(value: Any, key: str) -> None:
        _PARTS(value, key)
        for name, wanted in (("method", method), ("seed", seed)):
            if value[name] != wanted:
                raise MisfitError(f"{name} is {value[name]}, and not {wanted}")
        if value["failed"]:
            if value["score"]:
                raise MisfitError("score holds figures, and failed says that there is no edit")
            return
        for name in ("q_u", *figures):
            if name not in value["score"]:
                raise MisfitError(f"score.{printable(name)} is missing")
        _refuse_odd_q_u(value["score"])
        tried = [each["value"] for each in value["tuning"]]
        if value["value"] not in (tried or ([None] if seed == 0 else [value["value"]])):
            raise MisfitError(f"value is {value['value']}, and tuning has not tried it")

    return check


def _refuse_odd_q_u(score: Mapping[str, Any]) -> None:
    """Q-U is the harmonic mean of quality and utility."""
    quality, utility, q_u = score.get("quality"), score.get("utility"), score["q_u"]
    if quality is None or utility is None or q_u is None:
        return
    mean = 2 * quality * utility / (quality + utility) if quality + utility else 0.0
    if abs(mean - q_u) > 1e-6:
        raise MisfitError(f"score.q_u is {q_u}, and not that of its quality and utility")
