"""What the command line asks of the C library and of OpenMP before torch is loaded.

The defaults of both are made for other programs. glibc gives large freed blocks back to the
system, which must clear them page by page when the next batch asks for the same again: up to half
of the time of a gradient pass on photographs. And OpenMP's threads wait for each other in a loop
that does nothing: beside another busy process, the one that is waited for does not get a processor.

`settle` is for a program of its own, never for a library: what it sets holds for the whole
process, and for those that it starts. A value that the user has set in the environment stays.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # of glibc's malloc.h
NEVER = -1  # as a threshold, the largest there is
TOP_PAD = 64 << 20  # bytes by which the heap grows at least; untouched, they take no memory
MMAP_MAX = 65536  # glibc's own
OWN_BLOCK = 1 << 16  # bytes from which on an allocation is a block of its own
LARGE = 256 << 20  # bytes of weights from which on freed memory is better given back
WAIT_POLICY = "OMP_WAIT_POLICY"

KEEP_FREED = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_TOP_PAD: TOP_PAD}
GIVE_BACK = {
    M_MMAP_MAX: MMAP_MAX,
    M_MMAP_THRESHOLD: OWN_BLOCK,
    M_TRIM_THRESHOLD: OWN_BLOCK,
    M_TOP_PAD: OWN_BLOCK,
}

# What a user can say about each value, in variables of glibc's own and in GLIBC_TUNABLES. Whoever
# chooses which blocks are mapped has chosen how many may be.
_SAID_BY = {
    M_TRIM_THRESHOLD: ("trim_threshold",),
    M_TOP_PAD: ("top_pad",),
    M_MMAP_THRESHOLD: ("mmap_threshold", "mmap_max"),
    M_MMAP_MAX: ("mmap_max", "mmap_threshold"),
}


def settle(environment: MutableMapping[str, str] | None = None) -> None:
    """Keep freed memory for reuse, and let threads that wait sleep. Call it before torch is
    imported, since OpenMP looks only once.

    Args:
        environment: of this process; None is its own.
    """
    environment = os.environ if environment is None else environment
    environment.setdefault(WAIT_POLICY, "passive")
    keep_freed_memory(environment)


def keep_freed_memory(environment: Mapping[str, str] | None = None) -> None:
    """Let glibc keep freed blocks, however large, for the next ones that are asked for, for the
    rest of the process. Elsewhere (musl, macOS) nothing happens."""
    _set(KEEP_FREED, os.environ if environment is None else environment)


def give_freed_memory_back(environment: Mapping[str, str] | None = None) -> None:
    """Let glibc return freed tensors to the system at once, for the rest of the process.

    Blocks that are kept come in pieces that the next tensors often do not fit: a gradient pass of
    ViT-B-32 then peaks a fifth higher. Asking the system each time costs that pass one to two
    percent of its time, and a small model far more. What was freed before goes back too. Elsewhere
    (musl, macOS) nothing happens.
    """
    _set(GIVE_BACK, os.environ if environment is None else environment)
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _set(values: Mapping[int, int], environment: Mapping[str, str]) -> None:
    """Set what the user has not set."""
    if (library := _glibc()) is None:
        return
    for parameter, value in values.items():
        if not any(_is_set(name, environment) for name in _SAID_BY[parameter]):
            library.mallopt(parameter, value)


def _glibc() -> Any:
    """The C library; None if it is another, whose `mallopt` does nothing or is not there."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None


def _is_set(name: str, environment: Mapping[str, str]) -> bool:
    """Whether the user has set one of malloc's values."""
    tunables = environment.get("GLIBC_TUNABLES", "")
    return f"MALLOC_{name.upper()}_" in environment or f"glibc.malloc.{name}=" in tunables
