"""What our docstrings have and Markdown, or a reader of Google docstrings, does not.

Examples (`>>>`) become blocks of code: Markdown would take them for quotations. An entry for
several names (`tower, layer, step: fixed by an expert`) becomes one for each name.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n\S.*)*", re.M)
SEVERAL = re.compile(r"^    (\w+(?:, \w+)+):(.*(?:\n {8,}\S.*)*)$", re.M)


class Docstrings(griffe.Extension):
    """An extension of griffe, which reads the docstrings."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = tidy(obj.docstring.value)


def tidy(text: str) -> str:
    """A docstring as griffe reads it best.

    >>> print(tidy("Args:\\n    a, b: numbers"))
    Args:
        a: numbers
        b: numbers
    """
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.M)
    text = DOCTEST.sub(r"```pycon\n\g<0>\n```", text)  # one in a section is indented
    return SEVERAL.sub(
        lambda entry: "\n".join(f"    {name}:{entry[2]}" for name in entry[1].split(", ")), text
    )
