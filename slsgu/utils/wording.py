"""Numbers and other people's texts, as people read them."""

from __future__ import annotations


def share(value: float, *, digits: int = 1) -> str:
    """A ratio: as a percentage, or as a factor where it is large.

    >>> share(0.1187), share(0.00042, digits=2), share(9.9), share(2.877e28)
    ('11.9% of', '0.04% of', '990.0% of', '2.88e+28 times')
    """
    return f"{value:.{digits}%} of" if value < 10 else f"{value:.3g} times"


def printable(text: str) -> str:
    """A text from somebody else's file without what a terminal would take for a command, or for
    another line.

    >>> printable("a ship\\x1b[2J") == "a ship\\N{REPLACEMENT CHARACTER}[2J"
    True
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
