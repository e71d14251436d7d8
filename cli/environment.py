"""Variables of the environment that other libraries read: as they are imported, or as they first
use a GPU."""

from __future__ import annotations

import os
import re

READ_BY = {
    "tqdm": ("TQDM_",),
    "torch": ("TORCH", "PYTORCH_"),
    "numpy": ("NPY_", "OPENBLAS_"),
    "PIL": ("PILLOW_",),
    "huggingface_hub": ("HF_", "HUGGING"),
    "transformers": ("TRANSFORMERS_", "HF_"),
    "webdataset": ("WDS_", "GOPEN_"),
}
"""By library, how the names of its variables begin."""

ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_NAME, _VALUE = r"\s*[^\s,:;=\[\]]+\s*", r"\s*(?:[^\s,:;=\[\]]+|\[[^\[\]]*\])\s*"
_SETTINGS = re.compile(rf"\s*|{_NAME}:{_VALUE}(?:,{_NAME}:{_VALUE})*,?\s*")


def malformed_variable() -> str | None:
    """Which variable of torch's memory is not written as torch needs it, in words. To read it,
    torch ends the process at once, with a list of addresses for a message.

    Returns:
        A message; None where there is none.
    """
    for name in ALLOCATOR:
        if not _SETTINGS.fullmatch(os.environ.get(name, "")):
            return (
                f"{name} is {os.environ[name]!r} in the environment, which torch cannot read: "
                "write NAME:VALUE, such as expandable_segments:True, with commas between several, "
                "or unset it"
            )
    return None


def variables_at_fault(error: Exception) -> str | None:
    """Which variables of the environment have kept a library from being imported, in words.

    Args:
        error: with which the import, or the first use of a GPU, has ended.

    Returns:
        A message; None where the error is of another kind, or no variable is set.
    """
    given = ", ".join(f"{name}={os.environ[name]!r}" for name in ALLOCATOR if os.environ.get(name))
    if given and re.search(r"CachingAllocator option|allocator config\.", str(error)):
        reason = str(error).splitlines()[0]  # torch reads it when a GPU is first used
        return f"torch refuses {given} in the environment ({reason}): correct or unset it"
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
