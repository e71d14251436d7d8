"""Image-text pairs in tables: CSV and TSV with OpenCLIP's columns, and JSON lines.

    filepath,title
    cars/0001.jpg,an Oudi A1 at the lake

Columns have OpenCLIP's names, `filepath` and `title`, or one of those that others use. Paths are
relative to the table's folder. Tables are often sorted by class, and whoever has enough stops, so
rows come in an order that the names of their images decide.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slsgu.data.sources.lines import LONGEST, Lines, begin
from slsgu.data.sources.records import FilePicture, LeftOut, Record
from slsgu.data.sources.scan import shown
from slsgu.data.splits.partition import rank
from slsgu.errors import DataError
from slsgu.utils.reading import open_regular
from slsgu.utils.wording import printable

COLUMNS = {
    "image": ("filepath", "image", "path", "file_name"),
    "caption": ("title", "caption", "text"),
    "label": ("label", "class", "cls"),
}
SUFFIXES = (".csv", ".tsv", ".jsonl")

Row = Mapping[str, Any]


class TableSource:
    """The rows of a table.

    A table may be larger than memory. Of each row 32 bytes are kept, for its place in the file and
    in the order; the row itself is read again when its turn comes. Only the names of what is left
    out pile up.

    Args:
        path: a file that ends in one of `SUFFIXES`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._called = shown(path)
        self.left_out = LeftOut()

    def records(self) -> Iterator[Record]:
        any_image = False
        missing: tuple[int, str] | None = None
        for line, row in self._in_order():
            name, caption, label = (_value(row, what) for what in ("image", "caption", "label"))
            where = f"{self._called} line {line}"
            if name is None:
                self.left_out.add(where, "it names no image")
                continue
            path = self.path.parent / name
            if caption is None and label is None:
                self.left_out.add(where, "the caption is empty")
            elif why := _why_no_file(path):
                missing = min(missing or (line, shown(path)), (line, shown(path)))
                self.left_out.add(shown(Path(name)), why)
            else:
                any_image = True
                yield Record(shown(Path(name)), FilePicture(path), caption, label)
        if missing and not any_image:
            line, first = missing
            raise DataError(
                f"none of the images that {self._called} names exists; the first is {first}, in "
                f"line {line} (paths are relative to the folder of the table)"
            )

    def _in_order(self) -> Iterator[tuple[int, Row]]:
        """The rows, each with its line, in the order of their ranks."""
        ranks, offsets, numbers = array("d"), array("q"), array("q")
        with open_regular(self.path, "table", error=DataError) as file:
            try:
                lines = begin(file)
                jsonl = self.path.suffix.lower() == ".jsonl"
                form = _JsonLines() if jsonl else _Separated(lines, self._called, self.path.parent)
                for number, offset, row in form.rows(lines, self._called, self.left_out):
                    ranks.append(_rank(row))
                    offsets.append(offset)
                    numbers.append(number)
                for index in map(int, np.argsort(np.asarray(ranks), kind="stable")):
                    again = form.row(Lines(file, offset=offsets[index], number=numbers[index]))
                    if _rank(again) != ranks[index]:
                        raise ValueError("the file has changed since it was first read")
                    yield numbers[index], again
            except (OSError, ValueError, csv.Error) as error:
                reason = getattr(error, "strerror", None) or error
                raise DataError(f"cannot read {self._called}: {reason}") from None

    def describe(self) -> dict[str, Any]:
        return {"kind": self.path.suffix.lower().lstrip("."), "root": shown(Path(self.path.name))}


class _JsonLines:
    """An object in each line."""

    def rows(self, lines: Lines, called: str, left_out: LeftOut) -> Iterator[tuple[int, int, Row]]:
        """Every row, with its line and its place in bytes."""
        while (text := lines.get()) is not None:
            where = f"{called} line {lines.number}"
            number, offset = lines.number, lines.offset
            lines.drop()
            if not text.strip():
                continue
            try:
                row = json.loads(text, object_pairs_hook=_row)
            except (ValueError, RecursionError) as error:
                repeated = isinstance(error, RepeatedError)
                left_out.add(where, str(error) if repeated else "the line is not JSON")
                continue
            if isinstance(row, dict):
                yield number, offset, row
            else:
                left_out.add(
                    where, 'the line is not an object such as {"filepath": "...", "title": "..."}'
                )

    def row(self, lines: Lines) -> Row:
        """The row that begins with the first line."""
        row = json.loads(lines.get() or "null", object_pairs_hook=_row)
        return row if isinstance(row, dict) else {}


class _Separated:
    """Fields between commas or tabs; the first row names them.

    Args:
        lines: of the file; the first row is read.
        folder: of the table.

    Raises:
        DataError: no column is known.
    """

    def __init__(self, lines: Lines, called: str, folder: Path) -> None:
        # OpenCLIP's own default is a tab, whatever the file is called.
        self._delimiter = "\t" if "\t" in (lines.get() or "") else ","
        self._folder = folder
        self._names, count = self._fields(lines)
        if count:
            lines.drop(count)
        self._check_columns(called)

    def rows(self, lines: Lines, called: str, left_out: LeftOut) -> Iterator[tuple[int, int, Row]]:
        """Every row, with its last line and its place in bytes."""
        while lines.get() is not None:
            where = f"{called} line {lines.number}"
            try:
                fields, count = self._fields(lines)
                if any(self._is_row(lines.get(i) or "") for i in range(1, count)):
                    raise csv.Error("a quote is not closed in its line")
            except csv.Error as error:
                left_out.add(where, f"the quotes around a field do not match ({error})")
                lines.drop()  # what follows is read as rows of its own
                continue
            offset = lines.offset
            lines.drop(count)
            if any(fields[len(self._names) :]):
                left_out.add(
                    where, "it has more fields than columns (put quotes around the caption)"
                )
            elif fields:
                yield lines.number - 1, offset, dict(zip(self._names, fields, strict=False))

    def row(self, lines: Lines) -> Row:
        """The row that begins with the first line."""
        return dict(zip(self._names, self._fields(lines)[0], strict=False))

    def _fields(self, lines: Lines) -> tuple[list[str], int]:
        """The fields of the row that begins with the first line, and how many lines it takes.

        Raises:
            csv.Error: its quotes do not match.
        """

        def ahead() -> Iterator[str]:
            size = 0
            for index in itertools.count():
                if (text := lines.get(index)) is None:
                    return
                size += len(text)
                if size > LONGEST:
                    raise csv.Error("the row does not end")
                yield text

        reader = csv.reader(ahead(), delimiter=self._delimiter, strict=True)
        return next(reader, []), reader.line_num

    def _is_row(self, text: str) -> bool:
        """Whether a line that a quoted field runs over is a row, by the image that it names."""
        try:
            fields = next(csv.reader([text], delimiter=self._delimiter, strict=True), [])
        except csv.Error:
            return False
        name = _value(dict(zip(self._names, fields, strict=False)), "image")
        return name is not None and _why_no_file(self._folder / name) is None

    def _check_columns(self, called: str) -> None:
        columns = printable(", ".join(self._names)) or "none"
        if len(self._names) == 1 and set(";|") & set(self._names[0]):
            columns += " (commas or tabs must separate them)"
        titles = set(map(_title, self._names))
        if (twice := _repeated(map(_title, self._names))) is not None:
            raise DataError(
                f"{called} has several columns called {twice}, and only one can be meant: rename "
                f"or remove the others; its columns: {columns}"
            )
        if not titles & set(COLUMNS["image"]):
            raise DataError(
                f"{called} has no column of image paths, {' or '.join(COLUMNS['image'])}; "
                f"its columns: {columns}"
            )
        if not titles & {*COLUMNS["caption"], *COLUMNS["label"]}:
            raise DataError(
                f"{called} has no column of captions, {' or '.join(COLUMNS['caption'])}; its "
                f"columns: {columns}"
            )


def _rank(row: Row) -> float:
    """The place of a row in the order, by the image that it names."""
    return rank((_value(row, "image") or "").encode("utf-8", "surrogatepass"), 0)


class RepeatedError(ValueError):
    """An object says the same twice, and only one can be meant."""


def _row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (twice := _repeated(_title(key) for key, _ in pairs)) is not None:
        raise RepeatedError(f"{twice} stands in it twice")
    return dict(pairs)


def _repeated(titles: Iterable[str]) -> str | None:
    """The first name of a column of images, captions or classes that stands there twice."""
    count = Counter(titles)
    return next((name for names in COLUMNS.values() for name in names if count[name] > 1), None)


def _title(column: Any) -> str:
    """A column's name as `COLUMNS` has it: `Title`, as spreadsheets write it, is `title`."""
    return str(column).strip().lower()


def _why_no_file(path: Path) -> str | None:
    """What is the matter with a path; None if it is a file."""
    with contextlib.suppress(OSError, ValueError):  # no name that a file could have
        if path.is_file():
            return None
        if path.exists():
            return "it is a folder or a device, not a file"
    return "no such file"


def _value(row: Row, what: str) -> str | None:
    """The first value that says something among a row's columns of one kind."""
    cells = {
        _title(column): cell
        for column, cell in row.items()
        if isinstance(cell, str | int | float) and not isinstance(cell, bool)
    }
    for column in COLUMNS[what]:
        text = str(cells.get(column, "")).strip()
        if text and what != "image":  # half a surrogate pair (JSON can hold it) is no text
            text = text.encode("utf-8", "replace").decode()
        if text:
            return text
    return None
