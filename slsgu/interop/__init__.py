"""Systems that CLIP weights live in, and what they read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slsgu.interop.switch import toggle as toggle


def __getattr__(name: str) -> Any:
    if name != "toggle":
        raise AttributeError(f"module 'slsgu.interop' has no attribute {name!r}")
    from slsgu.interop.switch import toggle

    return toggle
