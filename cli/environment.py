"""Variables of the environment that other libraries read while they are imported."""

from __future__ import annotations

import os

READ_BY = {"tqdm": ("TQDM_",), "torch": ("TORCH", "PYTORCH_")}
"""By library, how the names of its variables begin."""


def variables_at_fault(error: Exception) -> str | None:
    """Which variables of the environment have kept a library from being imported, in words.

    Args:
        error: with which the import has ended.

    Returns:
        A message; None where the error is of another kind, or no variable is set.
    """
    inside = None
    step = error.__traceback__
    while step is not None:
        name = str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        # Its first line is run while the library is imported, and never again.
        if step.tb_frame.f_code.co_name == "<module>" and name in READ_BY:
            inside = name
        step = step.tb_next
    if inside is None:
        return None
    names = sorted(name for name in os.environ if name.startswith(READ_BY[inside]))
    quoted = [name for name in names if os.environ[name] and os.environ[name] in str(error)]
    given = ", ".join(f"{name}={os.environ[name]!r}" for name in quoted or names)
    if not given:
        return None
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
    return (
        f"{inside} does not start with {given} in the environment ({reason}): correct or unset it"
    )
