"""Numbers and other people's texts, as people read them."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_JOINERS = frozenset("\u00ad\u061c\u200c\u200d\u200e\u200f")  # of Persian, Hebrew, Hindi, emoji


def share(value: float, *, digits: int = 1) -> str:
    """A ratio: as a percentage, or as a factor where it is large.

    >>> share(0.1187), share(0.00042, digits=2), share(9.9), share(2.877e28)
    ('11.9% of', '0.04% of', '990.0% of', '2.88e+28 times')
    """
    return f"{value:.{digits}%} of" if value < 10 else f"{value:.3g} times"


def listed(parts: Sequence[str]) -> str:
    """Clauses in one sentence: two are joined by "and"; between more of them stand semicolons, so
    that a reader sees where one ends.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a; b; and c')
    """
    if len(parts) < 3:
        return " and ".join(parts)
    return "; ".join([*parts[:-1], f"and {parts[-1]}"])


def some(names: Sequence[str], count: int = 10) -> str:
    """The first few names, and how many more there are.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def printable(text: str) -> str:
    """A text from somebody else's file without what a terminal would take for a command or for
    another line, or would show in another order than it stands there.

    Letters, marks and spaces of every script stay as they are.

    >>> printable("a ship\\x1b[2J") == "a ship\\N{REPLACEMENT CHARACTER}[2J"
    True
    """
    if text.isprintable():  # nearly always
        return text
    return "".join("\ufffd" if _is_command(c) else c for c in text)


def printed(value: Any) -> Any:
    """JSON values in which every text, those of keys included, is `printable`.

    >>> printed({"a\\x1b": ["b\\u202e", 1]}) == {"a\ufffd": ["b\ufffd", 1]}
    True
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): printed(inside) for key, inside in value.items()}
    return [printed(inside) for inside in value] if isinstance(value, list | tuple) else value


def in_a_line(text: str, most: int = 1000) -> str:
    """A text of somebody else's as one line that can be read.

    >>> in_a_line("a\\n  b\\x1b[2J") == "a b\N{REPLACEMENT CHARACTER}[2J"
    True
    """
    return printable(_cut(" ".join(text.split()), most))


def markdown(text: str) -> str:
    """Somebody's text as Markdown that shows it: no markup, no links, one line, one cell.

    >>> markdown("a|b"), markdown("<b>"), markdown("[x](y)")
    ('a\\\\|b', '&lt;b&gt;', '\\\\[x\\\\](y)')
    """
    text = html.escape(printable(text), quote=False)
    text = re.sub(r"([\\`*_{}\[\]#|!~])", r"\\\1", text)
    # Some readers make a link of an address that stands alone.
    return re.sub(r"(?i)(www)\.", r"\1&#46;", text.replace("://", "&#58;//"))


def shortened(text: str) -> str:
    """A message in which no value of a user takes more than two screens, however long it was: what
    stands at the beginning and at the end is kept, and the number of characters between.

    >>> len(shortened("no class 'a" + "a" * 1_000_000 + "': see the list")) < 5000
    True
    >>> shortened("short") == "short"
    True
    """
    if len(text) <= min(_LONGEST_LINE, _LONGEST):  # nearly always
        return text
    lines = [_cut(line, _LONGEST_LINE) for line in text.split("\n")]
    return _cut("\n".join(lines), _LONGEST)


_LONGEST_LINE, _LONGEST = 4_000, 20_000  # characters: two screens, and ten


def _cut(text: str, most: int) -> str:
    """The beginning and the end of a text that is too long."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} [... {len(text) - most:,} characters ...] {text[-most // 3 :]}"


def _is_command(character: str) -> bool:
    """Whether a character is no part of a text in a line: a control character, half a surrogate
    pair, a separator of lines or paragraphs, or a format character such as a bidirectional
    override; not those that join letters."""
    category = unicodedata.category(character)
    if category == "Cf":
        return character not in _JOINERS and not "\U000e0020" <= character <= "\U000e007f"  # flags
    return category in ("Cc", "Cs", "Zl", "Zp")
