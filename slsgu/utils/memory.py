"""How much memory is free, so that caches can be kept within it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

SHARE = 0.5  # of the free memory that caches may take
UNKNOWN = 2 << 30  # bytes assumed where the system does not say


def cache_bytes(device: torch.device) -> int:
    """Bytes that caches of activations may take on a device: half of what is free now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(SHARE * free)
    return int(SHARE * free_bytes())


def free_bytes(root: Path = Path("/")) -> int:
    """Free main memory in bytes: what Linux calls available, or what is left of the limit of the
    control group (a container's), whichever is less.

    Args:
        root: where `proc` and `sys` are.
    """
    amounts = []
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii")
        if match := re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE):
            amounts.append(1024 * int(match[1]))
        group = root / "sys/fs/cgroup"
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            amounts.append(max(int(limit) - used, 0))
    except (OSError, ValueError):
        pass
    return min(amounts, default=UNKNOWN)
