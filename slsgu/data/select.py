"""Choose records by their captions, and keep them as a shard of their own."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from slsgu.concepts.taxonomy import normalise
from slsgu.data.images import ending
from slsgu.data.sources.records import LeftOut, Record, RecordSource
from slsgu.errors import DataError
from slsgu.utils.files import replacing


def matching(source: RecordSource, phrases: Iterable[str]) -> Iterator[Record]:
    """The records whose caption names one of some phrases, as whole words, without regard to
    case, dashes and underscores.

    >>> [bool(_pattern(["elon musk"]).search(normalise(text)))
    ...  for text in ("Elon Musk, 2019", "the elon-musk of frogs", "elon muskrat")]
    [True, True, False]
    """
    pattern = _pattern(phrases)
    for record in source.records():
        if record.caption is not None and pattern.search(normalise(record.caption)):
            yield record


def write_shard(
    records: Iterable[Record], path: Path, left_out: LeftOut | None = None
) -> list[Record]:
    """Write a WebDataset shard, whole or not at all. The same records give the same bytes.

    Args:
        left_out: learns which pictures cannot be read; None refuses them.

    Returns:
        The records that were written.

    Raises:
        DataError: there are none, or a picture is refused.
    """
    written: list[Record] = []
    with replacing(path) as part, tarfile.open(part, "w") as tar:
        for record in records:
            try:
                data = record.picture.data()
                why = "it is not a picture"
            except OSError as error:
                data, why = b"", f"the image cannot be read ({error.strerror or error})"
            picture = ending(data)
            if picture is None:
                if left_out is None:
                    raise DataError(f"{record.name}: {why}")
                left_out.add(record.name, why)
                continue
            members = {picture: data}
            for kind, text in (("txt", record.caption), ("cls", record.label)):
                if text is not None:
                    members[kind] = text.encode()
            for kind, data in members.items():
                info = tarfile.TarInfo(f"{len(written):09d}.{kind}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            written.append(record)
        if not written:
            why = "; ".join(left_out.notes()) if left_out is not None else ""
            raise DataError(f"nothing to write to {path}: {why or 'there are no records'}")
    return written


def _pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    words = "|".join(re.escape(normalise(phrase)) for phrase in phrases)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)")
