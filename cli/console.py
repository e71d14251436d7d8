"""What the commands print: progress and notes to stderr, results to stdout."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from slsgu.utils.files import json_text
from slsgu.utils.progress import Advance, Progress

from . import STARTED

if TYPE_CHECKING:
    from slsgu.data.ledger import Ledger


_GAP = "  "  # between columns
LISTED = 50  # skipped images that are named one by one; report and result.json have all


class Console(Progress):
    """Bars and lines on stderr; bars only where someone is watching.

    Args:
        quiet: say nothing, as all but the first of several processes.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def say(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, err=True)

    def say_left_out(self, ledger: Ledger) -> None:
        """Name and count the pictures that were not used."""
        skipped, overlaps = ledger.skipped, ledger.overlaps
        for item in skipped[:LISTED]:
            self.say(f"skipped: {item.name}: {item.reason}")
        if len(skipped) > LISTED:
            self.say(f"skipped: and {len(skipped) - LISTED} more")
        if skipped:
            self.say(f"{len(skipped)} image(s) cannot be read and were skipped")
        if overlaps:
            self.say(
                f"{len(overlaps)} image(s) have the same pixels as one in another split or in the "
                "forget set and were left out"
            )

    def say_not_copied(self, names: Sequence[str]) -> None:
        """Name the files beside a model that stay behind: they could bring the knowledge back."""
        if names:
            self.say(f"not copied, since it may hold weights: {', '.join(names)}")

    @contextlib.contextmanager
    def bar(self, what: str, total: int) -> Iterator[Advance]:
        with tqdm(
            desc=f"{what:<16}",
            total=total,
            file=sys.stderr,
            disable=self._quiet or not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        ) as bar:

            def advance(count: int) -> None:
                bar.update(count)

            yield advance


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document on stdout; in one line without an `indent`."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    text = json_text(value, "cannot print", indent=indent, ensure_ascii=encoding != "utf8")
    click.echo("".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text))


def _escaped(character: str) -> str:
    """A character of a JSON string that a terminal would obey, as JSON's own escape."""
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]


def echo_table(rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Columns padded to fit; the first `left` columns are flush left, the rest flush right. The
    first row is the heading. What is wider than the terminal is printed in parts, one below the
    other, each with the first column; a file or a pipe gets it whole."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, part in enumerate(_parts(widths, _terminal_width())):
        if number:
            click.echo()
        for index, row in enumerate(rows):
            cells = [row[i].ljust(widths[i]) if i < left else row[i].rjust(widths[i]) for i in part]
            click.echo(_GAP.join(cells).rstrip())
            if index == 0:
                click.echo(_GAP.join("-" * widths[i] for i in part))


def _terminal_width() -> int | None:
    """How many characters a line of the terminal has; None where nobody is watching."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _parts(widths: Sequence[int], most: int | None) -> list[list[int]]:
    """The columns that stand beside each other, so that no line is longer than `most`.

    >>> _parts([6, 3, 3, 3], 17), _parts([6, 3, 3, 3], None), _parts([6, 3, 3], 4)
    ([[0, 1, 2], [0, 3]], [[0, 1, 2, 3]], [[0, 1], [0, 2]])
    """
    parts = [[0]]
    for column in range(1, len(widths)):
        wide = sum(widths[i] + len(_GAP) for i in parts[-1]) + widths[column]
        if most is not None and wide > most and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(column)
    return parts


def percent(value: float | None) -> str:
    """A fraction as a percentage with one decimal; a dash where it is not defined."""
    return "-" if value is None else f"{value:.1%}"


def interval(bounds: tuple[float, float] | None) -> str:
    """An interval of fractions as percentages."""
    return "" if bounds is None else f"[{bounds[0]:.1%}, {bounds[1]:.1%}]"


def elapsed() -> float:
    """Seconds since the command that runs now began, also those before its first output."""
    started: float = click.get_current_context().meta[STARTED]
    return time.perf_counter() - started


def command_line() -> str:
    """The command as it was typed, ready to paste."""
    return shlex.join(["slsgu", *sys.argv[1:]])
