"""How the library reports what it is doing: a value that callers pass in. Silent by default."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Advance = Callable[[int], None]


class Progress:
    """Receives lines and bars. The command line prints them to stderr; this one is silent."""

    def say(self, text: str) -> None:
        """One line about a decision or a finding."""

    @contextlib.contextmanager
    def bar(self, what: str, total: int) -> Iterator[Advance]:
        """A bar over `total` units; the value is called with how many more are done."""
        yield lambda count: None


SILENT = Progress()
