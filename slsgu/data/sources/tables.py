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
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slsgu.data.sources.records import FilePicture, LeftOut, Record
from slsgu.data.sources.scan import shown
from slsgu.data.splits.partition import rank
from slsgu.errors import DataError
from slsgu.utils.wording import printable

COLUMNS = {
    "image": ("filepath", "image", "path", "file_name"),
    "caption": ("title", "caption", "text"),
    "label": ("label", "class", "cls"),
}
SUFFIXES = (".csv", ".tsv", ".jsonl")


class TableSource:
    """The rows of a table.

    Args:
        path: a file that ends in one of `SUFFIXES`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._called = shown(path)
        self.left_out = LeftOut()

    def records(self) -> Iterator[Record]:
        read = self._json_lines if self.path.suffix.lower() == ".jsonl" else self._rows
        found = False
        missing: list[tuple[int, str]] = []
        rows = [
            (line, _value(row, "image"), _value(row, "caption"), _value(row, "label"))
            for line, row in read()
        ]
        rows.sort(key=lambda row: rank((row[1] or "").encode("utf-8", "surrogatepass"), 0))
        for line, name, caption, label in rows:
            where = f"{self._called} line {line}"
            if name is None:
                self.left_out.add(where, "no image is named")
                continue
            path = self.path.parent / name
            if caption is None and label is None:
                self.left_out.add(where, "the caption has no text")
            elif why := _why_no_file(path):
                missing.append((line, shown(path)))
                self.left_out.add(shown(Path(name)), why)
            else:
                found = True
                yield Record(shown(Path(name)), FilePicture(path), caption, label)
        if missing and not found:
            line, first = min(missing)
            raise DataError(
                f"none of the images that {self._called} names is there; the first is {first}, in "
                f"line {line} (paths are relative to the folder of the table)"
            )

    def describe(self) -> dict[str, Any]:
        return {"kind": self.path.suffix.lower().lstrip("."), "root": shown(Path(self.path.name))}

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                lines = file.readlines()
            # OpenCLIP's own default is a tab, whatever the file is called.
            delimiter = "\t" if lines and "\t" in lines[0] else ","
            names, at = _fields(lines, 0, delimiter)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._unreadable(error) from None
        self._check_columns(names)
        while at < len(lines):
            where = f"{self._called} line {at + 1}"
            try:
                fields, end = _fields(lines, at, delimiter)
                if any(self._is_row(lines, i, delimiter, names) for i in range(at + 1, end)):
                    raise csv.Error("a quote is not closed in its line")
            except csv.Error as error:
                self.left_out.add(where, f"the quotes of a field do not match ({error})")
                at += 1  # what follows is read as rows of its own
                continue
            at = end
            if any(fields[len(names) :]):
                self.left_out.add(
                    where, "there are more fields than columns (put quotes around a caption)"
                )
            elif fields:
                yield end, dict(zip(names, fields, strict=False))

    def _is_row(self, lines: Sequence[str], at: int, delimiter: str, names: Sequence[str]) -> bool:
        """Whether a line that a quoted field runs over is a row, by the image that it names."""
        try:
            fields, end = _fields(lines, at, delimiter)
        except csv.Error:
            return False
        name = _value(dict(zip(names, fields, strict=False)), "image")
        return end == at + 1 and name is not None and _why_no_file(self.path.parent / name) is None

    def _check_columns(self, names: Sequence[str]) -> None:
        columns = printable(", ".join(names)) or "none"
        if len(names) == 1 and set(";|") & set(names[0]):
            columns += " (commas or tabs must separate them)"
        known = set(map(_title, names))
        if not known & set(COLUMNS["image"]):
            raise DataError(
                f"{self._called} has no column of image paths, {' or '.join(COLUMNS['image'])}; "
                f"its columns: {columns}"
            )
        if not known & {*COLUMNS["caption"], *COLUMNS["label"]}:
            raise DataError(
                f"{self._called} has no column of captions, {' or '.join(COLUMNS['caption'])}; its "
                f"columns: {columns}"
            )

    def _json_lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, start=1):
                    if not line.strip():
                        continue
                    where = f"{self._called} line {number}"
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError):
                        self.left_out.add(where, "the line is no JSON")
                        continue
                    if isinstance(row, dict):
                        yield number, row
                    else:
                        self.left_out.add(
                            where, 'the line is no object, {"filepath": "...", "title": "..."}'
                        )
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> DataError:
        hint = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        return DataError(f"cannot read {self._called}: {error}{hint}")


def _fields(lines: Sequence[str], at: int, delimiter: str) -> tuple[list[str], int]:
    """The fields of the row that begins in a line, and the line that follows it.

    Raises:
        csv.Error: its quotes do not match.
    """
    rest = (lines[i] for i in range(at, len(lines)))
    reader = csv.reader(rest, delimiter=delimiter, strict=True)
    return next(reader, []), at + max(reader.line_num, 1)


def _title(column: Any) -> str:
    """A column's name as `COLUMNS` has it: `Title`, as spreadsheets write it, is `title`."""
    return str(column).strip().lower()


def _why_no_file(path: Path) -> str | None:
    """What is the matter with a path; None if it is a file."""
    with contextlib.suppress(OSError, ValueError):  # no name that a file could have
        if path.is_file():
            return None
        if path.exists():
            return "a folder or device, no file"
    return "no such file"


def _value(row: Mapping[str, Any], what: str) -> str | None:
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
