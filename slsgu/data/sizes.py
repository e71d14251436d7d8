"""How many bytes the file of a picture may have."""

from __future__ import annotations

MOST_BYTES = 1 << 30
"""Bytes of the largest picture that is read: more than `slsgu.data.images.MAX_PIXELS` take in any
format. A file can claim terabytes and hold next to nothing."""


def too_large(size: int) -> str | None:
    """What is the matter with a picture of so many bytes, if anything."""
    if size > MOST_BYTES:
        return f"the picture has {size:,} bytes; more than {MOST_BYTES:,} are not read"
    return None
