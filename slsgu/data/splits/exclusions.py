"""Why a record is in no split, in words."""

from __future__ import annotations

from collections.abc import Iterator

from slsgu.data.sources.records import LeftOut, Record, RecordSource

COPY = "the same picture is in the set already"
BOTH = "the picture is to be forgotten"
TWO = "the same picture is under two classes that are kept"
NO_CLASS = "its label or caption does not name exactly one class"


def readable(source: RecordSource) -> Iterator[tuple[Record, bytes]]:
    """Records with the bytes of their pictures; one that cannot be read is left out."""
    for record in source.records():
        try:
            data = record.picture.data()
        except OSError as error:
            why = f"the image cannot be read ({error.strerror or error})"
            source.left_out.add(record.name, why)
        else:
            yield record, data


def because(*left_out: LeftOut) -> str:
    """The end of a message about too few images: what was left out, if anything."""
    notes = [note for each in left_out for note in each.notes()]
    return f": {'; '.join(notes)}" if notes else ""
